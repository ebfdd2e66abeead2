"""What happens to a step that fails, from the definition on: retry, fallback, `on_error`."""

from typing import Any

import pytest

from headrace_core.ids import StepKey
from headrace_core.partition.events import ChildCancel, MessageSent
from headrace_core.run.events import StepReady, StepSucceeded
from headrace_core.run.state import StepView
from headrace_core.run.status import CancelCause, RunStatus, StepStatus
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason, Rejection
from headrace_scheduler.domain.effects import CancelAttempt, CloseRow, FetchPayload, SetTimer
from headrace_scheduler.domain.recovery import effects_of_run
from tests.support.flow_run import Called, Fails, FlowRun, Outside, compiled, example
from tests.support.run_harness import RUN, TENANT

HEAD = "flow: v1\nname: sample\n"


def flow(steps: str, more: str = "") -> Plan:
    return compiled(f"{HEAD}{more}\nsteps:\n{steps}")


def failing(error: str) -> Outside:
    return lambda call: Fails(error)


def state(run: FlowRun, step: str) -> StepView:
    return run.state.steps[StepKey(step)]


def fire(run: FlowRun, kind: cmd.TimerKind) -> None:
    """The last timer of that kind, at its time."""
    timer = [one for one in run.effects if isinstance(one, SetTimer) and one.kind is kind][-1]
    run.now_ms = max(run.now_ms, timer.due_ms)
    rejection = run.when(
        cmd.FireTimer(run=RUN, step=timer.step, kind=timer.kind, due_ms=timer.due_ms)
    )
    assert rejection is None, rejection


# Conditions.


def test_a_condition_that_cannot_be_told_is_replaced_like_any_other_failure() -> None:
    plan = flow("""
  a:
    when: steps.none.output.x > 1
    needs: [none]
    set: {x: 1}
    on_error: {output: {x: 2}}
  none: {set: {}}
""")
    run = FlowRun(plan).begin()
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.output_of("a") == {"x": 2}
    assert state(run, "a").recovered


def test_a_condition_that_cannot_be_told_keeps_the_edges_that_led_to_it() -> None:
    plan = flow("""
  none: {set: {}}
  a: {needs: [none], when: steps.none.output.x > 1, set: {}}
""")
    run = FlowRun(plan).begin()
    assert run.why()[0] == "expr.error"
    assert [edge.source for edge in state(run, "a").edges] == ["none"]


def test_a_call_whose_condition_cannot_be_told_does_not_fall_back_to_another_call() -> None:
    """The condition may well be there to prevent the call."""
    plan = flow("""
  none: {set: {}}
  a:
    needs: [none]
    when: steps.none.output.x > 1
    uses: http.post@1
    with: {url: "https://a.example.com/"}
    fallback: [{uses: http.post@1, with: {url: "https://b.example.com/"}}]
""")
    run = FlowRun(plan, outside={"http.post": lambda call: {}}).begin()
    assert run.calls == []
    assert run.state.status is RunStatus.FAILED


# The error that a replacement is for.


@pytest.mark.parametrize(
    "instead",
    [
        'on_error: {output: "${{ steps.a.error.type }}: ${{ steps.a.error.message }}"}',
        'fallback: [{output: "${{ steps.a.error.type }}: ${{ steps.a.error.message }}"}]',
    ],
)
@pytest.mark.parametrize("attempts", [1, 2])
def test_a_replacement_can_say_what_it_stands_for(instead: str, attempts: int) -> None:
    plan = flow(f"""
  a:
    uses: http.get@1
    with: {{url: "https://a.example.com/"}}
    retry: {{max_attempts: {attempts}, backoff: {{initial: 0s}}}}
    {instead}
""")
    answers = [Fails("http.502", "first"), Fails("http.503", "last")][2 - attempts :]
    run = FlowRun(plan, outside={"http.get": lambda call: answers.pop(0)}).begin()
    assert run.output_of("a") == "http.503: last"
    assert run.refolded() == run.state


def test_what_a_step_has_recovered_from_stays_in_the_log() -> None:
    plan = flow('  a: {uses: http.get@1, with: {url: "https://a.example.com/"},'
                " retry: {max_attempts: 1}, on_error: {output: 0}}")  # fmt: skip
    run = FlowRun(plan, outside={"http.get": lambda call: Fails("http.500", "boom")}).begin()
    assert state(run, "a").recovered
    assert run.error_of("a") == ("http.500", "boom")
    ended = next(one for one in run.events if isinstance(one, StepSucceeded))
    assert ended.error is not None and ended.error.type == "http.500"


def test_a_step_that_succeeded_by_itself_has_no_error_any_more() -> None:
    plan = flow('  a: {uses: http.get@1, with: {url: "https://a.example.com/"},'
                " retry: {max_attempts: 2, backoff: {initial: 0s}}}")  # fmt: skip
    answers = [Fails("http.500"), {"status": 200}]
    run = FlowRun(plan, outside={"http.get": lambda call: answers.pop(0)}).begin()
    assert state(run, "a").status is StepStatus.SUCCEEDED
    assert state(run, "a").error is None


def test_a_fallback_call_is_told_what_it_stands_for() -> None:
    plan = flow("""
  a:
    uses: http.get@1
    with: {url: "https://a.example.com/"}
    retry: {max_attempts: 1}
    fallback: [{uses: data.echo@1, with: {value: "${{ steps.a.error.message }}"}}]
""")
    run = FlowRun(plan, outside={"http.get": lambda call: Fails("http.500", "boom")}).begin()
    assert run.output_of("a") == "boom"
    assert not state(run, "a").recovered, "the fallback's own output is no replacement"


# Fallback entries are calls of their own.


def counted(run: FlowRun, action: str) -> int:
    return len([call for call in run.calls if call.action == action])


def test_a_fallback_call_has_the_attempts_of_its_own_action() -> None:
    plan = flow("""
  a:
    uses: http.get@1
    with: {url: "https://a.example.com/"}
    fallback: [{uses: worker.pay@1}]
""")
    fails = {name: failing("http.500") for name in ("http.get", "pay")}
    run = FlowRun(plan, outside=fails).begin()
    while run.state.status is RunStatus.WAITING:
        run.pass_time()
    assert (counted(run, "http.get"), counted(run, "pay")) == (3, 1)


def test_a_fallback_call_that_may_be_repeated_is_repeated_though_the_first_may_not() -> None:
    plan = flow("""
  a:
    uses: worker.pay@1
    fallback: [{uses: http.get@1, with: {url: "https://a.example.com/"}}]
""")
    fails = {name: failing("http.500") for name in ("http.get", "pay")}
    run = FlowRun(plan, outside=fails).begin()
    while run.state.status is RunStatus.WAITING:
        run.pass_time()
    assert (counted(run, "pay"), counted(run, "http.get")) == (1, 3)


def test_a_fallback_call_with_an_effect_is_asked_for_its_row_when_the_run_is_cancelled() -> None:
    """The step's own call only reads; what is running is a payment."""
    plan = flow("""
  a:
    uses: http.get@1
    with: {url: "https://a.example.com/"}
    retry: {max_attempts: 1}
    fallback: [{uses: worker.pay@1}]
""")
    run = FlowRun(plan, outside={"http.get": lambda call: Fails("http.500")}).begin()
    run.assign("a")
    run.when(cmd.CancelRun(run=RUN, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="ann"))
    assert run.status("a") is StepStatus.RUNNING, "nobody knows yet whether it was paid"
    fire(run, cmd.TimerKind.CANCEL_GRACE)
    assert [one for one in run.effects if isinstance(one, CloseRow)] == [
        CloseRow(RUN, StepKey("a"), 2, 1)
    ]


EACH = """
  each:
    foreach: {{in: inputs.list, as: x}}
    uses: http.get@1
    with: {{url: "https://a.example.com/${{{{ x }}}}"}}
    retry: {{max_attempts: 1}}
    {0}
"""
LIST = "inputs: {list: {type: array}}"


def test_a_fan_out_falls_back_for_each_item_and_not_once_more_for_the_whole() -> None:
    entry = "fallback: [{uses: http.head@1, with: {url: 'https://b.example.com/${{ x }}'}}]"
    plan = flow(EACH.format(entry), LIST)
    fails = {name: failing("http.404") for name in ("http.get", "http.head")}
    run = FlowRun(plan, outside=fails).begin({"list": [1, 2]})
    assert run.status("each") is StepStatus.FAILED
    assert run.why()[0] == "http.404"
    assert [(call.step, call.action) for call in run.calls] == [
        ("each[0]", "http.get"),
        ("each[1]", "http.get"),
        ("each[0]", "http.head"),
        ("each[1]", "http.head"),
    ]


def test_an_item_that_fell_back_to_an_output_has_succeeded_with_it() -> None:
    plan = flow(EACH.format("fallback: [{output: '${{ x }}: ${{ steps.each.error.type }}'}]"), LIST)

    def get(call: Called) -> Any:
        return Fails("http.404") if call.step == "each[1]" else "fine"

    run = FlowRun(plan, outside={"http.get": get}).begin({"list": [1, 2, 3]})
    fan_out = state(run, "each").fan_out
    assert fan_out is not None
    outputs = [run.open(one.output) for one in fan_out.outcomes if one is not None]
    assert outputs == ["fine", "2: http.404", "fine"]


def test_a_list_that_cannot_be_told_takes_no_fallback_but_its_on_error() -> None:
    more = EACH.format("fallback: [{output: 1}]\n    on_error: {output: 2}")
    plan = flow(more.replace("as: x", "as: x, key: x"), LIST)
    assert FlowRun(plan).begin({"list": [1, 1]}).output_of("each") == 2


# Outcomes that are not known.


def pay(more: str = "") -> Plan:
    return flow(f"  a: {{uses: worker.pay@1, {more}}}")


def test_what_may_have_happened_and_is_not_to_be_repeated_is_unknown() -> None:
    """Its own error would say that nothing happened."""
    plan = pay("retry: {max_attempts: 5, on: [http.503]}")
    ambiguous = Fails("network", outcome=cmd.Outcome.AMBIGUOUS)
    run = FlowRun(plan, outside={"pay": lambda call: ambiguous}).begin()
    assert run.why()[0] == "unknown_outcome"


def test_what_may_have_happened_when_the_deadline_leaves_no_time_is_unknown() -> None:
    plan = pay("retry: {max_attempts: 5, backoff: {initial: 1h, jitter: none}}, deadline: 1m")
    ambiguous = Fails("network", outcome=cmd.Outcome.AMBIGUOUS)
    run = FlowRun(plan, outside={"pay": lambda call: ambiguous}).begin()
    assert run.why()[0] == "unknown_outcome"


# The deadline covers all that a step does.


READ = """
  a:
    uses: http.get@1
    with: {url: "https://a.example.com/"}
    deadline: 1m
    retry: {max_attempts: 9, backoff: {initial: 40s, factor: 1, jitter: none}}
"""


def test_an_attempt_given_back_after_the_deadline_is_not_given_out_again() -> None:
    run = FlowRun(pay("deadline: 1m")).begin()
    done = run.assign("a")
    fire(run, cmd.TimerKind.STEP_DEADLINE)
    assert run.status("a") is StepStatus.RUNNING, "its row has the word"
    run.when(
        cmd.CompleteStep(
            run=RUN,
            step=done.step,
            attempt=done.attempt,
            token=done.token,
            outcome=cmd.Outcome.CANCELLED,
        )
    )
    assert run.why()[0] == "timeout.deadline"


def test_an_attempt_lost_after_the_deadline_is_not_given_out_again() -> None:
    run = FlowRun(pay("deadline: 1m")).begin()
    done = run.assign("a")
    fire(run, cmd.TimerKind.STEP_DEADLINE)
    run.when(cmd.LoseAttempt(run=RUN, step=done.step, attempt=done.attempt))
    assert run.ready() == []
    assert [one for one in run.effects if isinstance(one, CloseRow)][-1].step == "a"


def test_after_the_deadline_no_further_call_begins_but_a_plain_answer_is_given() -> None:
    fallback = "    fallback: [{uses: http.head@1, with: {url: 'https://b.example.com/'}},"
    fallback += " {output: late}]\n"
    run = FlowRun(flow(READ + fallback), outside={"http.get": lambda call: Fails("http.500")})
    run.begin()
    run.pass_time()
    assert counted(run, "http.get") == 2, "a third attempt would begin after the deadline"
    assert run.action_of(StepKey("a")) == "http.head"
    fire(run, cmd.TimerKind.STEP_DEADLINE)
    assert run.output_of("a") == "late"
    never = FlowRun(flow(READ + fallback)).begin()
    fire(never, cmd.TimerKind.STEP_DEADLINE)
    assert never.output_of("a") == "late"


# Sub-flows are calls too.


def test_a_sub_flow_that_takes_longer_than_its_timeout_is_cancelled_and_the_attempt_fails() -> None:
    inner = compiled("flow: v1\nname: hello\nsteps: {w: {wait: {for: 1h}}}")
    outer = calling(inner, "timeout: 1m, retry: {max_attempts: 2, backoff: {initial: 0s}}")
    run = FlowRun(outer, called={inner.hash: inner}).begin()
    assert run.state.status is RunStatus.WAITING
    begun_ms, first = run.now_ms, state(run, "a").child
    assert first is not None
    run.pass_time()
    assert run.now_ms == begun_ms + 60_000
    sent = [one.message for one in run.partition_events if isinstance(one, MessageSent)]
    assert ChildCancel(run=first, tenant=TENANT) in sent
    assert state(run, "a").child not in (None, first), "the second attempt is a run of its own"
    run.pass_time()
    assert run.why()[0] == "timeout.attempt"
    assert run.refolded() == run.state


def test_a_sub_flow_in_time_is_not_disturbed_by_its_timeout() -> None:
    hello = example("hello")
    run = FlowRun(calling(hello, "timeout: 1m"), called={hello.hash: hello}).begin()
    assert run.output_of("a") == {"greeting": "Hello, world!"}


def calling(inner: Plan, more: str) -> Plan:
    text = f"{HEAD}steps:\n  a: {{uses: flow/hello@stable, {more}}}\n"
    flows = {("hello", "stable"): FlowDescriptor("hello", 1, inner.hash, inner.inputs)}
    return compiled(text, Catalogue(flows=flows))


def test_edges_are_logged_once_whatever_fails() -> None:
    run = FlowRun(flow("  a: {set: {}}\n  b: {needs: [a], fail: {message: no}}")).begin()
    ready = [one for one in run.events if isinstance(one, StepReady) and one.step == "b"]
    assert [edge.source for one in ready for edge in one.edges] == ["a"]


# Races with rows, takeovers and payloads that are away.


def close_row(run: FlowRun, attempt: int, verdict: cmd.RowVerdict) -> Rejection | None:
    return run.when(cmd.CloseByRow(run=RUN, step=StepKey("a"), attempt=attempt, verdict=verdict))


def test_a_step_given_out_again_while_its_row_was_closed_still_ends_by_its_deadline() -> None:
    run = FlowRun(pay("deadline: 1m")).begin()
    first = run.assign("a")
    run.when(cmd.LoseAttempt(run=RUN, step=first.step, attempt=1))
    fire(run, cmd.TimerKind.STEP_DEADLINE)
    assert run.ready() == ["a"], "the row of the first attempt has the word"
    run.assign("a")
    assert close_row(run, 1, cmd.RowVerdict.NO_EFFECT) is None
    assert run.status("a") is StepStatus.RUNNING
    assert [one.attempt for one in run.effects if isinstance(one, CloseRow)] == [1, 2]
    close_row(run, 2, cmd.RowVerdict.NO_EFFECT)
    assert run.why()[0] == "timeout.deadline"


def test_the_row_of_an_attempt_that_is_over_says_nothing_about_the_next() -> None:
    run = FlowRun(pay("deadline: 1m")).begin()
    first = run.assign("a")
    run.when(cmd.LoseAttempt(run=RUN, step=first.step, attempt=1))
    run.assign("a")
    rejection = close_row(run, 1, cmd.RowVerdict.DONE)
    assert rejection is not None and rejection.reason is Reason.LATE
    assert run.status("a") is StepStatus.RUNNING


def test_a_new_owner_gives_each_item_its_deadline_and_the_fan_out_none() -> None:
    run = FlowRun(flow(EACH.format("deadline: 1m"), LIST)).begin({"list": [1, 2]})
    again = [one for one in effects_of_run(run.state, run.plan) if isinstance(one, SetTimer)]
    assert sorted(one.step for one in again) == ["each[0]", "each[1]"]
    stale = cmd.FireTimer(
        run=RUN,
        step=StepKey("each"),
        kind=cmd.TimerKind.STEP_DEADLINE,
        due_ms=run.now_ms + 60_000,
    )
    run.now_ms += 60_000
    assert run.when(stale) is not None
    assert run.status("each") is StepStatus.WAITING


def test_a_new_owner_stops_what_the_last_one_had_to_stop() -> None:
    plan = flow("  a: {uses: worker.pay@1}\n  b: {uses: worker.ship@1}", "on_failure: cancel")
    run = FlowRun(plan).begin()
    run.assign("b")
    run.fail("a")
    assert run.status("b") is StepStatus.RUNNING, "its row has the word"
    run.effects.clear()
    run.when(cmd.ContinueRun(run=RUN))
    assert [one.step for one in run.effects if isinstance(one, CancelAttempt)] == ["b"]


LARGE = "x" * 70_000


@pytest.mark.parametrize(
    "failing_step",
    [
        "set: {x: '${{ steps.big.output.nothing }}'}",
        "fail: {message: no}",
        "when: steps.big.output.nothing, set: {}",
        "uses: worker.pay@1",
        "foreach: {in: '[1, 2]', as: x}, uses: worker.pay@1",
        "foreach: {in: '[1, 2]', as: x, key: 'string(1)'}, uses: worker.pay@1",
    ],
)
def test_a_replacement_waits_for_what_it_is_made_of(failing_step: str) -> None:
    plan = flow(
        "  big: {uses: worker.big@1}\n"
        f"  a: {{needs: [big], {failing_step}, "
        "on_error: {output: '${{ steps.big.output.text }}'}}"
    )

    def big(call: Called) -> Any:
        return {"text": LARGE}

    outside = {"big": big, "pay": failing("http.500")}
    run = FlowRun(plan, outside=outside).begin()
    for _ in range(3):
        for fetch in [one for one in run.effects if isinstance(one, FetchPayload)]:
            run.vault.fetch(fetch.stored)
        run.when(cmd.ContinueRun(run=RUN))
        run.go_on()
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.output_of("a") == LARGE
    assert run.refolded() == run.state
