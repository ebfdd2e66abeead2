"""The timeline of a run as text."""

from headrace_cli.rendering.style import PLAIN, Style
from headrace_cli.rendering.timeline import render_timeline
from tests.unit.cli.documents import START_MS, at, attempt, run, step, wait

NOW_MS = START_MS + 60_000


def test_a_bar_per_step_shows_when_it_worked() -> None:
    shown = render_timeline(
        run(
            "succeeded",
            {
                "read": step(
                    "succeeded", ended_at=at(1_000), attempts=[attempt(1, 0, 1_000, "succeeded")]
                ),
                "write": step(
                    "succeeded",
                    ready_at=at(1_000),
                    ended_at=at(4_000),
                    attempts=[attempt(1, 1_000, 4_000, "succeeded")],
                ),
            },
            ended_at=at(4_000),
            duration_ms=4_000,
            output={"written": 3},
        ),
        PLAIN,
        NOW_MS,
    )
    assert shown == (
        "orders@3  succeeded in 4.00 s\n"
        "run      run_1\n"
        "started  2026-11-25 10:00:00 UTC by key:ci (api)\n"
        'input    {"order": 7}\n'
        'output   {"written": 3}\n'
        "\n"
        "      0 ──────────────────────── 4.00 s\n"
        "read  █████████                               1.00 s  succeeded\n"
        "write         █████████████████████████       3.00 s  succeeded\n"
    )


def test_attempts_and_waits_stand_below_a_step_that_had_several() -> None:
    call = step(
        "succeeded",
        ended_at=at(3_000),
        attempts=[attempt(1, 0, 500, "retried"), attempt(2, 2_500, 3_000, "succeeded")],
        waits=[wait("retry", 500, 2_500)],
    )
    lines = render_timeline(run("running", {"call": call}), PLAIN, START_MS + 4_000).splitlines()
    parts = [line.split()[0:2] for line in lines[-3:]]
    assert [part[0] for part in parts] == ["attempt", "retry", "attempt"]
    assert "retried http.503" in lines[-3]
    assert "░" in lines[-2]


def test_a_run_that_waits_is_drawn_up_to_now_and_a_suspended_one_up_to_its_stop() -> None:
    ask = step("waiting", waiting="approval", due_at=at(50_000), waits=[wait("approval", 0, None)])
    waiting = render_timeline(run("waiting", {"ask": ask}), PLAIN, NOW_MS)
    assert " 1 min 0 s" in waiting
    assert "waiting for approval until 10:00:50.000" in waiting
    suspended = render_timeline(run("suspended", {"ask": ask}), PLAIN, NOW_MS)
    assert " 4.00 s\n" in suspended


def test_a_due_time_of_another_day_has_its_day() -> None:
    ask = step("waiting", waiting="approval", due_at="2026-11-28T10:00:00.000Z")
    shown = render_timeline(run("waiting", {"ask": ask}), Style(width=120), NOW_MS)
    assert "until 2026-11-28 10:00:00 UTC" in shown


def test_tokens_are_shown_by_model() -> None:
    usage = [{"model": "small", "calls": 2, "input_tokens": 20, "output_tokens": 8}]
    shown = render_timeline(run("succeeded", {}, usage=usage), PLAIN, NOW_MS)
    assert "tokens   small: 20 read, 8 written\n" in shown
    assert "tokens" not in render_timeline(run("succeeded", {}, usage=[]), PLAIN, NOW_MS)


def test_an_error_names_its_step_and_cannot_steer_the_terminal() -> None:
    error = {"type": "http.503", "message": "out\x1b[2J of\norder", "step": "call"}
    shown = render_timeline(run("failed", {}, error=error), PLAIN, NOW_MS)
    assert "error    http.503: out [2J of order (step call)\n" in shown
    assert "\x1b" not in shown


def test_no_line_is_wider_than_the_terminal() -> None:
    long = {"type": "worker.failed", "message": "because " * 60}
    steps = {f"a-step-with-a-long-name-{n}": step("failed", error=long) for n in range(3)}
    for width in (80, 100, 200):
        style = Style(width=width)
        shown = render_timeline(run("failed", steps, input={"x": "y" * 500}), style, NOW_MS)
        assert max(map(len, shown.splitlines())) <= width


def test_many_steps_are_counted_not_drawn() -> None:
    steps = {f"s{number}": step("succeeded") for number in range(250)}
    shown = render_timeline(run("succeeded", steps), PLAIN, NOW_MS)
    assert "and 50 more steps: headrace show run_1 --json" in shown


def test_a_terminal_without_unicode_gets_ascii() -> None:
    one = step("succeeded", ended_at=at(1_000), attempts=[attempt(1, 0, 1_000, "succeeded")])
    shown = render_timeline(run("succeeded", {"one": one}), Style(unicode=False), NOW_MS)
    assert shown.isascii()
    assert "#" in shown
