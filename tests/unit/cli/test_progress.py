"""Live progress: what events change, as lines and as a table."""

from typing import Any

from headrace_cli.rendering.board import Board
from headrace_cli.rendering.progress import Change, Progress
from headrace_cli.rendering.progress_lines import progress_line
from headrace_cli.rendering.style import PLAIN, Style
from tests.unit.cli.documents import START_MS, at, event

LIFE: list[dict[str, Any]] = [
    event(1, "RunStarted", 0, flow="orders", version=3),
    event(2, "StepReady", 0, step="call", edges=[]),
    event(3, "StepAssigned", 0, step="call", attempt=1),
    event(
        4,
        "StepRetryScheduled",
        500,
        step="call",
        attempt=1,
        error={"type": "http.503", "message": "out of order"},
        due_at=at(1_500),
        counted=True,
    ),
    event(5, "StepAssigned", 1_500, step="call", attempt=2),
    event(6, "StepSucceeded", 2_000, step="call", attempt=2, output=1, port=None),
    event(7, "RunSucceeded", 2_000, output=1),
]


def lines_of(events: list[dict[str, Any]]) -> list[str]:
    progress = Progress("run_1")
    return [
        progress_line(change, progress.started_ms, PLAIN)
        for one in events
        for change in progress.take(one)
        if not change.is_minor
    ]


def test_a_line_per_change_says_when_what_and_why() -> None:
    assert lines_of(LIFE) == [
        "     0 ms  run                   running    orders@3",
        "     0 ms  call                  running",
        "   500 ms  call                  retried    http.503: out of order; again at 10:00:01.500",
        "   1.50 s  call                  running    attempt 2",
        "   2.00 s  call                  succeeded  2.00 s",
        "   2.00 s  run                   succeeded",
    ]


def test_an_event_that_comes_again_changes_nothing() -> None:
    progress = Progress("run_1")
    for one in LIFE:
        progress.take(one)
    assert [change for one in LIFE for change in progress.take(one)] == []
    assert progress.outcome == "succeeded"


def test_an_attempt_that_was_lost_is_not_called_a_retry() -> None:
    lost = {**LIFE[3], "counted": False, "error": {"type": "executor.lost", "message": "gone"}}
    assert " lost " in lines_of([*LIFE[:3], lost])[-1]


def test_a_fan_out_says_every_tenth_how_far_it_is_and_names_failed_items() -> None:
    events = [
        event(1, "RunStarted", 0, flow="orders", version=3),
        event(2, "ItemsExpanded", 0, step="each", count=100),
    ]
    for index in range(100):
        failed = index == 41
        kind = "StepFailed" if failed else "StepSucceeded"
        error = {"error": {"type": "x.y", "message": "no"}} if failed else {}
        events.append(event(3 + index, kind, index, step=f"each[{index}]", **error))
    lines = lines_of(events)
    assert len([line for line in lines if " items" in line]) == 11
    assert lines[-1].endswith("100 of 100 items, 1 failed")
    assert [line for line in lines if "each[41]" in line] == [
        "    41 ms  each[41]              failed     x.y: no"
    ]


def test_steps_of_groups_and_passes_have_lines_and_those_of_items_only_what_matters() -> None:
    error = {"type": "x.y", "message": "no"}
    events = [
        event(1, "GroupOpened", 0, step="sync"),
        event(2, "StepSucceeded", 1, step="sync/read"),
        event(3, "PassStarted", 2, step="poll", number=2),
        event(4, "ItemsExpanded", 3, step="each", count=2),
        event(5, "StepReady", 4, step="each[0]/read", edges=[]),
        event(6, "ApprovalRequested", 5, step="each[0]/ask"),
        event(7, "StepFailed", 6, step="each[0]/read", error=error),
        event(8, "StepFailed", 7, step="each[0]", error=error),
    ]
    said = [line.split(maxsplit=2)[2] for line in lines_of(events)]
    assert [one.split("  ", 1)[0] for one in said] == [
        "sync/read",
        "poll",
        "each",
        "each[0]/ask",
        "each[0]/read",
        "each[0]",
        "each",
    ]
    assert said[1].endswith("pass 2")


def test_an_approval_says_with_which_command_it_is_decided() -> None:
    asked = event(2, "ApprovalRequested", 0, step="ask")
    assert lines_of([LIFE[0], asked])[-1].endswith(
        "for approval: headrace approve run_1 ask [--reject]"
    )


def test_a_parked_run_is_suspended() -> None:
    progress = Progress("run_1")
    incident = {"type": "engine.fault", "message": "division by zero"}
    [change] = progress.take(event(1, "RunParked", 0, incident=incident))
    assert (change.status, progress.outcome) == ("suspended", "suspended")


def test_a_suspended_run_names_its_failed_step_and_a_repair_its_author() -> None:
    progress = Progress("run_1")
    incident = {"type": "http.500", "message": "no"}
    [change] = progress.take(event(1, "RunSuspended", 0, incident=incident, step="pay"))
    assert (change.step, change.status, progress.outcome) == ("run", "suspended", "suspended")
    repair = {"step": "pay", "repair": "input", "repaired_by": "ann", "input": {"amount": 2}}
    [change] = progress.take(event(2, "StepRepaired", 1, **repair))
    assert (change.status, change.remark) == ("repaired", 'input by ann {"amount": 2}')
    [change] = progress.take(event(3, "RunResumed", 1, resumed_by="ann"))
    assert (change.status, progress.outcome) == ("running", "")


def test_a_run_that_is_undone_says_why_and_what_is_undone_under_an_address_of_its_own() -> None:
    error = {"type": "card.declined", "message": "no"}
    undo = "call:compensate"
    undoing = [
        event(8, "RunCompensating", 3_000, error=error, step="call"),
        event(9, "StepCompensating", 3_000, step="call"),
        event(10, "StepAssigned", 3_000, step=undo, attempt=1),
        event(11, "StepSucceeded", 4_000, step=undo, attempt=1, output=1, port=None),
        event(12, "RunCompensated", 4_000),
    ]
    assert lines_of([*LIFE[:6], *undoing])[5:] == [
        "   3.00 s  run                   compensating  card.declined: no",
        "   3.00 s  call:compensate       running",
        "   4.00 s  call:compensate       succeeded  1.00 s",
        "   4.00 s  run                   compensated",
    ]


def test_an_escalation_says_who_is_asked_now() -> None:
    progress = Progress("run_1")
    request = {"assignees": ["ann", "bob"], "added": ["bob"]}
    escalated = event(1, "ApprovalEscalated", 0, step="ask", number=1, request=request)
    [change] = progress.take(escalated)
    assert change.remark == "escalated to bob: headrace approve run_1 ask [--reject]"


def board_of(events: list[dict[str, Any]]) -> Board:
    progress, board = Progress("run_1"), Board("run_1")
    for one in events:
        board.take(progress.take(one))
    return board


def test_the_table_shows_each_step_as_it_is_now() -> None:
    lines = board_of(LIFE[:5]).lines(START_MS + 1_800, PLAIN, 20)
    assert lines == [
        "run_1  running  1.80 s  orders@3",
        "  call  running        1.80 s  attempt 2",
    ]


def test_times_in_the_table_stand_still_when_a_step_has_ended() -> None:
    board = board_of(LIFE)
    assert board.lines(START_MS + 5_000, PLAIN, 20) == board.lines(START_MS + 9_000, PLAIN, 20)
    assert board.lines(START_MS + 5_000, PLAIN, 20)[1] == "  call  succeeded      2.00 s"


def test_a_table_higher_than_the_terminal_shows_what_is_open_and_what_failed() -> None:
    board = Board("run_1")
    for number in range(50):
        status = {7: "running", 30: "failed"}.get(number, "succeeded")
        board.take([Change(START_MS, f"s{number}", status)])
    lines = board.lines(START_MS, PLAIN, 8)
    assert len(lines) == 8
    assert lines[-1] == "  and 44 more"
    assert {"s7", "s30"} <= {line.split()[0] for line in lines}


def test_no_line_of_the_table_is_wider_than_the_terminal() -> None:
    board = board_of(LIFE[:4])
    board.take([Change(START_MS, "s" * 50, "failed", "because " * 40)])
    for width in (40, 80):
        assert max(map(len, board.lines(START_MS, Style(width=width), 20))) <= width


def test_a_start_of_a_fan_out_step_keeps_what_was_said_about_it() -> None:
    board = Board("run_1")
    board.take([Change(START_MS, "each", "running", "3 of 9 items")])
    board.take([Change(START_MS + 1, "each", "running")])
    assert board.lines(START_MS + 1, PLAIN, 20)[1].endswith("3 of 9 items")
