"""Decisions about failure: retry, fallback, `on_error`, lost executors, unknown outcomes."""

from dataclasses import replace

from headrace_core.ids import StepKey
from headrace_core.run.events import StepRetryScheduled
from headrace_core.run.status import RunStatus, StepStatus
from headrace_core.workflow.plan import (
    Action,
    Effect,
    Fallback,
    Idempotency,
    Jitter,
    OnError,
    OnFailure,
    RetryPolicy,
    UsesKind,
)
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide.lose_attempt import LOST_MAX
from headrace_scheduler.domain.decision import Reason
from headrace_scheduler.domain.effects import CancelAttempt, CloseRow, SetTimer
from tests.support.run_harness import ECHO, RUN, Harness, plan_of, step, template

THREE = RetryPolicy(max_attempts=3, initial_ms=1_000, jitter=Jitter.NONE)
POST = Action(UsesKind.ACTION, "http.post", "http.post@1", "1", Effect.WRITE, Idempotency.NONE)


def due(run: Harness) -> SetTimer:
    return [one for one in run.effects if isinstance(one, SetTimer)][-1]


def fire(run: Harness, timer: SetTimer) -> None:
    run.now_ms = max(run.now_ms, timer.due_ms)
    run.when(cmd.FireTimer(run=RUN, step=timer.step, kind=timer.kind, due_ms=timer.due_ms))


def test_a_failed_attempt_waits_for_its_backoff_and_runs_again() -> None:
    run = Harness(plan_of(step("a", retry=THREE))).start()
    run.fail("a", "http.503")
    assert run.status("a") is StepStatus.WAITING
    assert run.state.status is RunStatus.WAITING
    assert due(run).due_ms == run.now_ms + 1_000
    early = cmd.FireTimer(run=RUN, step=due(run).step, kind=due(run).kind, due_ms=due(run).due_ms)
    assert run.when(early) is not None, "a timer is never early"
    fire(run, due(run))
    assert run.ready() == ["a"]
    run.succeed("a")
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.refolded() == run.state


def test_the_policy_ends_after_its_attempts_and_delays_grow() -> None:
    run = Harness(plan_of(step("a", retry=THREE))).start()
    delays: list[int] = []
    for _ in range(2):
        run.fail("a", "network")
        delays.append(due(run).due_ms - run.now_ms)
        fire(run, due(run))
    run.fail("a", "network")
    assert delays == [1_000, 2_000]
    assert run.status("a") is StepStatus.FAILED
    assert run.state.status is RunStatus.FAILED


def test_a_longer_retry_after_wins() -> None:
    run = Harness(plan_of(step("a", retry=THREE))).start()
    done = run.assign("a")
    run.when(replace(done, outcome=cmd.Outcome.FAILED, error=None, retry_after_ms=60_000))
    scheduled = next(event for event in run.events if isinstance(event, StepRetryScheduled))
    assert scheduled.due_ms == run.now_ms + 60_000


def test_errors_that_a_retry_cannot_mend_are_not_retried() -> None:
    for error in ("auth", "input.invalid", "http.404", "ai.refusal"):
        run = Harness(plan_of(step("a", retry=THREE))).start()
        run.fail("a", error)
        assert run.status("a") is StepStatus.FAILED, error
    for error in ("http.429", "http.500", "timeout.attempt"):
        run = Harness(plan_of(step("a", retry=THREE))).start()
        run.fail("a", error)
        assert run.status("a") is StepStatus.WAITING, error


def test_fallback_entries_are_tried_in_turn_and_an_output_ends_the_matter() -> None:
    entries = (Fallback(uses=ECHO), Fallback(output=template({"score": 50})))
    run = Harness(plan_of(step("a", fallback=entries))).start()
    run.fail("a")
    assert run.ready() == ["a"]
    assert run.state.steps[only_step(run)].fallback == 1
    run.fail("a")
    assert run.status("a") is StepStatus.SUCCEEDED
    state = run.state.steps[only_step(run)]
    assert state.recovered and run.opened(state.output) == {"score": 50}
    assert run.state.status is RunStatus.SUCCEEDED


def only_step(run: Harness) -> StepKey:
    return next(iter(run.state.steps))


def test_on_error_gives_an_output_and_the_step_has_recovered() -> None:
    output = template({"body": {}})
    run = Harness(plan_of(step("a", on_error=OnError.OUTPUT, on_error_output=output))).start()
    run.fail("a")
    assert run.state.steps[only_step(run)].recovered
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_late_result_is_rejected_and_changes_nothing() -> None:
    run = Harness(plan_of(step("a"))).start()
    done = run.assign("a")
    run.when(done)
    before = list(run.events)
    rejection = run.when(replace(done))
    assert rejection is not None and rejection.reason is Reason.LATE
    assert run.events == before


def test_a_result_with_another_attempts_token_is_rejected() -> None:
    run = Harness(plan_of(step("a"))).start()
    done = run.assign("a")
    rejection = run.when(replace(done, token=done.token + 1))
    assert rejection is not None and rejection.reason is Reason.LATE


def test_a_lost_attempt_is_assigned_again_and_not_counted() -> None:
    run = Harness(plan_of(step("a"))).start()
    done = run.assign("a")
    run.when(cmd.LoseAttempt(run=RUN, step=done.step, attempt=1))
    assert run.ready() == ["a"]
    assert run.state.steps[done.step].tries == 0
    assert run.when(done) is not None, "the lost attempt's own result is late"
    run.succeed("a")
    assert run.state.status is RunStatus.SUCCEEDED


def test_too_many_lost_executors_end_the_step_by_its_effect_row() -> None:
    run = Harness(plan_of(step("a", uses=POST))).start()
    for attempt in range(1, LOST_MAX + 2):
        done = run.assign("a")
        run.when(cmd.LoseAttempt(run=RUN, step=done.step, attempt=attempt))
    assert run.status("a") is StepStatus.RUNNING
    close = next(one for one in run.effects if isinstance(one, CloseRow))
    run.when(
        cmd.CloseByRow(
            run=RUN,
            step=close.step,
            attempt=close.attempt,
            verdict=cmd.RowVerdict.UNKNOWN,
        )
    )
    assert run.state.error is not None and run.state.error.type == "unknown_outcome"


def test_an_ambiguous_word_is_retried_while_attempts_are_left_and_then_unknown() -> None:
    two = RetryPolicy(max_attempts=2, initial_ms=0, jitter=Jitter.NONE)
    run = Harness(plan_of(step("a", uses=POST, retry=two))).start()
    run.fail("a", "network", cmd.Outcome.AMBIGUOUS)
    assert run.ready() == ["a"]
    run.fail("a", "network", cmd.Outcome.AMBIGUOUS)
    assert run.state.error is not None and run.state.error.type == "unknown_outcome"


def test_drain_finishes_what_can_still_run_and_then_fails() -> None:
    plan = plan_of(step("a"), step("b"), step("c", ["b"]))
    run = Harness(plan).start()
    run.fail("a")
    assert run.state.status is RunStatus.RUNNING
    run.succeed("b")
    run.succeed("c")
    assert run.state.status is RunStatus.FAILED
    assert run.state.failed_step == "a"


def test_on_failure_cancel_stops_the_others_but_not_what_handles_errors() -> None:
    plan = plan_of(
        step("a"),
        step("b"),
        step("c", ["b"]),
        step("rescue", ["a.error"]),
        on_failure=OnFailure.CANCEL,
    )
    run = Harness(plan).start()
    b = run.assign("b")
    run.fail("a")
    assert any(isinstance(one, CancelAttempt) and one.step == "b" for one in run.effects)
    assert run.status("b") is StepStatus.CANCELLED, "a transform has no effect to wait for"
    assert run.when(b) is not None
    assert run.status("c") is StepStatus.SKIPPED
    assert run.ready() == ["rescue"]
    run.succeed("rescue")
    assert run.state.status is RunStatus.FAILED


def test_the_deadline_over_all_attempts_ends_a_waiting_step() -> None:
    slow = RetryPolicy(max_attempts=5, initial_ms=100, jitter=Jitter.NONE)
    run = Harness(plan_of(step("a", retry=slow, deadline_ms=5_000))).start()
    deadline = next(
        one
        for one in run.effects
        if isinstance(one, SetTimer) and one.kind is cmd.TimerKind.STEP_DEADLINE
    )
    run.fail("a", "network")
    fire(run, deadline)
    assert run.state.error is not None and run.state.error.type == "timeout.deadline"
