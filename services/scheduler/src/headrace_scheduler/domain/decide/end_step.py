"""How a step ends: by success, or by failure after retry, fallback and `on_error`."""

from headrace_core.ids import StepKey, step_of
from headrace_core.payload import NOTHING, Stored
from headrace_core.policy.retry import delay_ms, is_retryable
from headrace_core.run.events import (
    StepError,
    StepFailed,
    StepReady,
    StepRetryScheduled,
    StepSucceeded,
    Usage,
)
from headrace_core.run.state import StepView
from headrace_core.run.status import StepStatus
from headrace_core.workflow.plan import Fallback, OnError, OnFailure, PlanStep
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decide.start_action import start_action
from headrace_scheduler.domain.decide.stopping import is_stopping, stop_open_steps
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import SetTimer
from headrace_scheduler.domain.values import seal_template


def step_succeeded(
    turn: RunTurn,
    key: StepKey,
    output: Stored = NOTHING,
    *,
    attempt: int = 0,
    port: str = "",
    recovered: bool = False,
    usage: Usage | None = None,
) -> None:
    turn.emit(
        StepSucceeded(
            step=key,
            attempt=attempt,
            output=output,
            port=port,
            recovered=recovered,
            usage=usage,
        )
    )
    turn.ended.append(key)


def attempt_failed(
    turn: RunTurn,
    key: StepKey,
    error: StepError,
    *,
    usage: Usage | None = None,
    retry_after_ms: int = 0,
) -> None:
    """One attempt has ended badly: try again if the policy says so, else the step fails."""
    step_id, _ = step_of(key)
    step, state = turn.plan.steps[step_id], turn.run.steps[key]
    tries = state.tries + 1
    if (
        tries < step.retry.max_attempts
        and is_retryable(step.retry, error.type)
        and not is_stopping(turn, step_id)
    ):
        wait_ms = delay_ms(step.retry, tries, turn.run_id, key, state.attempt, retry_after_ms)
        due_ms = turn.now_ms + wait_ms
        deadline = step_deadline(step, state)
        if deadline is None or due_ms < deadline:
            _retry(turn, step, state, error, due_ms, usage)
            return
    step_failed(turn, key, error, usage=usage)


def step_failed(
    turn: RunTurn, key: StepKey, error: StepError, *, usage: Usage | None = None
) -> None:
    """No further attempt: fallback entries in turn, then `on_error`, then the step has failed."""
    step_id, index = step_of(key)
    step, state = turn.plan.steps[step_id], turn.run.steps.get(key)
    attempt = state.attempt if state is not None else 0
    if state is not None and not is_stopping(turn, step_id):
        for entry in range(state.fallback, len(step.fallback)):
            if _fall_back(turn, step, state, entry, error, usage):
                return
    if index is None and step.on_error is OnError.OUTPUT:
        output, failure = seal_template(turn, step.on_error_output)
        if failure is None:
            step_succeeded(turn, key, output, attempt=attempt, recovered=True, usage=usage)
            return
        error = failure
    handled = index is None and step.catches
    before = turn.run.first_failed
    turn.emit(StepFailed(step=key, error=error, attempt=attempt, handled=handled, usage=usage))
    turn.ended.append(key)
    failed_first = before is None and turn.run.first_failed is not None
    if failed_first and turn.plan.on_failure is OnFailure.CANCEL:
        stop_open_steps(turn)


def step_deadline(step: PlanStep, state: StepView) -> int | None:
    if step.deadline_ms is None or not state.first_ready_ms:
        return None
    return state.first_ready_ms + step.deadline_ms


def make_ready(turn: RunTurn, step: PlanStep, key: StepKey) -> None:
    turn.emit(StepReady(step=key))
    start_action(turn, step, key)


def _retry(
    turn: RunTurn,
    step: PlanStep,
    state: StepView,
    error: StepError,
    due_ms: int,
    usage: Usage | None,
) -> None:
    turn.emit(
        StepRetryScheduled(
            step=state.key,
            attempt=state.attempt,
            error=error,
            due_ms=due_ms,
            fallback=state.fallback,
            usage=usage,
        )
    )
    if due_ms > turn.now_ms:
        turn.perform(SetTimer(due_ms, turn.run_id, state.key, TimerKind.STEP_DUE))
    else:
        make_ready(turn, step, state.key)


def _fall_back(
    turn: RunTurn,
    step: PlanStep,
    state: StepView,
    entry: int,
    error: StepError,
    usage: Usage | None,
) -> bool:
    """Whether this entry took over; one whose output cannot be evaluated does not."""
    fallback: Fallback = step.fallback[entry]
    if fallback.uses is None:
        output, failure = seal_template(turn, fallback.output, state.key)
        if failure is not None:
            return False
        step_succeeded(turn, state.key, output, attempt=state.attempt, recovered=True, usage=usage)
        return True
    if state.status is StepStatus.PENDING:
        return False
    turn.emit(
        StepRetryScheduled(
            step=state.key,
            attempt=state.attempt,
            error=error,
            due_ms=turn.now_ms,
            fallback=entry + 1,
            usage=usage,
        )
    )
    make_ready(turn, step, state.key)
    return True
