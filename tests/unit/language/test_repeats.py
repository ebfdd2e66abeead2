"""`repeat`: a structured loop whose passes are all in the log."""

from headrace_core.ids import StepKey
from headrace_core.run.events import PassStarted, StepSucceeded, StepWaiting
from headrace_core.run.status import CancelCause, RunStatus, StepStatus, WaitingKind
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.effects import SetTimer
from headrace_scheduler.domain.recovery import effects_of_run
from tests.support.flow_run import FlowRun, compiled
from tests.support.run_harness import RUN, TENANT

POLL = """
flow: v1
name: poll
steps:
  poll:
    uses: worker.look@1
    with: {before: "${{ steps.poll.output }}"}
    repeat: {until: steps.poll.output.done, max: 3DELAY}
    REST
  after: {needs: [poll], set: {seen: "${{ steps.poll.output.at }}"}}
outputs: {seen: "${{ steps.after.output.seen }}"}
"""


def polling(delay: str = "", rest: str = "on_error: fail") -> FlowRun:
    text = POLL.replace("DELAY", f", delay: {delay}" if delay else "").replace("REST", rest)
    run = FlowRun(compiled(text))
    run.begin()
    return run


def test_a_step_is_repeated_until_its_condition_holds_and_each_pass_is_logged() -> None:
    run = polling()
    assert run.ready() == ["poll#1"]
    run.succeed("poll#1", {"done": False, "at": 1})
    assert run.ready() == ["poll#2"]
    run.succeed("poll#2", {"done": True, "at": 2})
    assert run.go_on().output == {"seen": 2}
    assert [one.number for one in run.events if isinstance(one, PassStarted)] == [1, 2]
    ended = [one.step for one in run.events if isinstance(one, StepSucceeded)]
    assert ended == ["poll#1", "poll#2", "poll", "after"]
    assert run.refolded() == run.state


def test_a_pass_sees_what_the_one_before_it_came_to_and_the_first_sees_nothing() -> None:
    run = FlowRun(
        compiled(
            """
            flow: v1
            name: count
            steps:
              count:
                uses: data.echo@1
                with:
                  value: "${{ steps.count.output == null ? 1 : steps.count.output + 1 }}"
                repeat: {until: steps.count.output >= 4, max: 10}
            outputs: {n: "${{ steps.count.output }}"}
            """
        )
    )
    run.begin()
    assert run.output == {"n": 4}


def test_passes_that_never_get_there_fail_the_step_after_the_last_one_allowed() -> None:
    run = polling()
    for number in (1, 2, 3):
        run.succeed(f"poll#{number}", {"done": False, "at": number})
    assert run.status("poll") is StepStatus.FAILED
    error_type, message = run.why()
    assert error_type == "repeat.exhausted"
    assert "3 passes" in message


def test_who_wants_the_last_pass_anyway_recovers_with_its_output() -> None:
    run = polling(rest='on_error: {output: {done: false, at: "${{ steps.poll.output.at }}"}}')
    for number in (1, 2, 3):
        run.succeed(f"poll#{number}", {"done": False, "at": number})
    assert run.go_on().output == {"seen": 3}


def test_a_delay_stands_between_two_passes_and_the_run_waits_meanwhile() -> None:
    run = polling(delay="30s")
    run.succeed("poll#1", {"done": False, "at": 1})
    assert run.ready() == []
    assert run.state.status is RunStatus.WAITING
    waiting = [one for one in run.events if isinstance(one, StepWaiting)]
    assert [(one.step, one.due_ms) for one in waiting] == [("poll", run.now_ms + 30_000)]
    again = [one for one in effects_of_run(run.state, run.plan) if isinstance(one, SetTimer)]
    assert [(one.step, one.due_ms) for one in again] == [("poll", run.now_ms + 30_000)]
    run.pass_time()
    assert run.ready() == ["poll#2"]
    run.succeed("poll#2", {"done": True, "at": 2})
    assert run.go_on().output == {"seen": 2}


def test_a_pass_has_the_attempts_of_the_step_and_its_failure_is_the_steps() -> None:
    run = polling(rest="retry: {max_attempts: 2, backoff: {initial: 0s}}")
    run.fail("poll#1")
    assert run.ready() == ["poll#1"], "the pass is tried again"
    run.fail("poll#1")
    assert run.status("poll") is StepStatus.FAILED
    assert run.state.status is RunStatus.FAILED
    assert run.why()[0] == "http.500"


def cancel(run: FlowRun) -> None:
    assert (
        run.when(
            cmd.CancelRun(run=RUN, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="eve")
        )
        is None
    )


def test_a_cancel_ends_the_pass_and_the_step_with_it() -> None:
    run = polling()
    run.succeed("poll#1", {"done": False, "at": 1})
    cancel(run)
    assert run.status("poll") is StepStatus.CANCELLED
    assert run.state.status is RunStatus.CANCELLED
    assert run.refolded() == run.state


def test_a_cancel_between_two_passes_starts_no_further_one() -> None:
    run = polling(delay="30s")
    run.succeed("poll#1", {"done": False, "at": 1})
    cancel(run)
    assert run.status("poll") is StepStatus.CANCELLED
    assert run.state.status is RunStatus.CANCELLED


def test_what_is_decided_in_place_is_repeated_in_one_turn() -> None:
    run = FlowRun(
        compiled(
            """
            flow: v1
            name: sum
            steps:
              sum:
                set: {n: "${{ steps.sum.output == null ? 1 : steps.sum.output.n * 2 }}"}
                repeat: {until: steps.sum.output.n > 100, max: 20}
            outputs: {n: "${{ steps.sum.output.n }}"}
            """
        )
    )
    run.begin()
    assert run.output == {"n": 128}
    assert run.state.steps.keys() == {"sum"}, "passes leave only the outcome behind"


def test_each_item_of_a_fan_out_is_repeated_by_itself() -> None:
    run = FlowRun(
        compiled(
            """
            flow: v1
            name: polls
            steps:
              poll:
                uses: worker.look@1
                with: {id: "${{ id }}"}
                foreach: {in: "['a', 'b']", as: id}
                repeat: {until: steps.poll.output.done, max: 2}
            outputs: {seen: "${{ steps.poll.items.map(one, one.output.is) }}"}
            """
        )
    )
    run.begin()
    assert run.ready() == ["poll[0]#1", "poll[1]#1"]
    run.succeed("poll[1]#1", {"done": False})
    run.succeed("poll[0]#1", {"done": True, "is": "A"})
    assert run.ready() == ["poll[1]#2"]
    run.succeed("poll[1]#2", {"done": True, "is": "B"})
    assert run.output == {"seen": ["A", "B"]}
    assert run.refolded() == run.state


def test_a_repeated_wait_is_over_when_its_last_time_has_come() -> None:
    run = FlowRun(
        compiled(
            """
            flow: v1
            name: ticks
            steps:
              tick: {wait: {for: 1m}, repeat: {until: "false", max: 2}, on_error: catch}
              after: {needs: [tick.error], set: {}}
            """
        )
    )
    run.begin()
    assert run.state.steps[StepKey("tick")].waiting is WaitingKind.PASS
    run.pass_time()
    run.pass_time()
    assert run.statuses() == {"tick": "failed", "after": "succeeded"}
