"""What each word of an executor means for its step: FAILED and CANCELLED promise that nothing
happened, so a run may only say "failed" or "cancelled" on those."""

from dataclasses import replace

import pytest

from headrace_core.ids import StepKey
from headrace_core.run.events import StepError, StepRetryScheduled
from headrace_core.run.status import CancelCause, RunStatus, StepStatus
from headrace_core.workflow.plan import (
    Action,
    Effect,
    Fallback,
    Idempotency,
    Jitter,
    RetryPolicy,
    UsesKind,
)
from headrace_scheduler.app.dispatch import GRACE_S
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.commands import Outcome
from headrace_worker.dispatch_client import RECONNECT_MAX_S, REDIAL_MAX_S
from tests.support.run_harness import ECHO, RUN, TENANT, Harness, plan_of, step

POST = Action(UsesKind.ACTION, "http.post", "http.post@1", "1", Effect.WRITE, Idempotency.HEADER)
PASSING, LASTING = "http.503", "http.400"
ENDED_BADLY = (Outcome.FAILED, Outcome.AMBIGUOUS, Outcome.UNKNOWN)


def policy(attempts: int) -> RetryPolicy:
    return RetryPolicy(max_attempts=attempts, initial_ms=1_000, jitter=Jitter.NONE)


def ended(
    outcome: Outcome,
    error_type: str,
    attempts: int,
    *,
    cancelled: bool = False,
    retry_after_ms: int = 0,
    deadline_ms: int | None = None,
) -> Harness:
    """The run after the first attempt's word."""
    pay = step("pay", uses=POST, retry=policy(attempts), deadline_ms=deadline_ms)
    run = Harness(plan_of(pay)).start()
    done = run.assign("pay")
    if cancelled:
        run.when(
            cmd.CancelRun(run=RUN, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="me")
        )
    error = StepError(type=error_type, message=run.sealed("no"))
    word = replace(done, outcome=outcome, error=error, retry_after_ms=retry_after_ms)
    assert run.when(word) is None
    assert run.refolded() == run.state
    return run


def said(run: Harness) -> str:
    """How the step stands, with the error that it ended with."""
    state = run.state.steps[StepKey("pay")]
    if state.status is StepStatus.FAILED:
        assert run.state.error is not None
        return f"failed: {run.state.error.type}"
    return state.status.name.lower()


@pytest.mark.parametrize(
    ("outcome", "error_type", "attempts", "expected"),
    [
        (Outcome.FAILED, PASSING, 2, "waiting"),
        (Outcome.FAILED, PASSING, 1, "failed: http.503"),
        (Outcome.FAILED, LASTING, 2, "failed: http.400"),
        (Outcome.AMBIGUOUS, PASSING, 2, "waiting"),
        (Outcome.AMBIGUOUS, PASSING, 1, "failed: unknown_outcome"),
        (Outcome.AMBIGUOUS, LASTING, 2, "failed: unknown_outcome"),
        (Outcome.UNKNOWN, PASSING, 2, "failed: unknown_outcome"),
        (Outcome.UNKNOWN, PASSING, 1, "failed: unknown_outcome"),
        (Outcome.CANCELLED, "cancelled", 1, "ready"),
    ],
)
def test_a_word_leads_to_a_repeat_or_to_an_end_that_promises_no_more_than_it(
    outcome: Outcome, error_type: str, attempts: int, expected: str
) -> None:
    assert said(ended(outcome, error_type, attempts)) == expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.FAILED, "cancelled"),
        (Outcome.CANCELLED, "cancelled"),
        (Outcome.AMBIGUOUS, "failed"),
        (Outcome.UNKNOWN, "failed"),
        (Outcome.SUCCEEDED, "succeeded"),
    ],
)
def test_in_a_cancelled_run_only_what_did_not_happen_is_called_cancelled(
    outcome: Outcome, expected: str
) -> None:
    run = ended(outcome, PASSING, 3, cancelled=True)
    state = run.state.steps[StepKey("pay")]
    assert state.status.name.lower() == expected
    if expected == "failed":
        assert state.error is not None and state.error.type == "unknown_outcome"
    assert run.state.status is RunStatus.CANCELLED


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.AMBIGUOUS])
def test_a_wish_of_the_far_side_to_wait_is_kept_whatever_became_of_the_attempt(
    outcome: Outcome,
) -> None:
    run = ended(outcome, PASSING, 3, retry_after_ms=60_000)
    (scheduled,) = [one for one in run.events if isinstance(one, StepRetryScheduled)]
    assert scheduled.due_ms == run.now_ms + 60_000 and scheduled.counted


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.FAILED, "failed: http.503"),
        (Outcome.AMBIGUOUS, "failed: unknown_outcome"),
    ],
)
def test_a_repeat_that_would_come_after_the_deadline_is_none(
    outcome: Outcome, expected: str
) -> None:
    run = ended(outcome, PASSING, 3, retry_after_ms=60_000, deadline_ms=5_000)
    assert said(run) == expected


@pytest.mark.parametrize("outcome", ENDED_BADLY)
def test_a_fallback_takes_over_whatever_became_of_the_last_attempt(outcome: Outcome) -> None:
    plan = plan_of(step("pay", uses=POST, fallback=(Fallback(uses=ECHO),)))
    run = Harness(plan).start()
    run.fail("pay", PASSING, outcome)
    assert run.ready() == ["pay"]
    assert run.state.steps[StepKey("pay")].fallback == 1


def test_whoever_reconnects_is_back_before_a_takeover_gives_its_attempts_away() -> None:
    dialled_again_s = REDIAL_MAX_S * 1.2  # with gRPC's own jitter
    assert 2 * (dialled_again_s + RECONNECT_MAX_S) < GRACE_S
