"""How a step ends: by success, or by failure after retry, fallback and `on_error`."""

from headrace_core.ids import StepKey, group_of, owner_of
from headrace_core.payload import NOTHING, Stored
from headrace_core.policy.retry import delay_ms, is_retryable
from headrace_core.run.events import (
    EdgeTaken,
    RunSuspended,
    StepError,
    StepFailed,
    StepReady,
    StepRetryScheduled,
    StepSucceeded,
    Usage,
)
from headrace_core.run.state import StepView
from headrace_core.run.status import RunStatus, StepStatus, WaitingKind
from headrace_core.workflow.plan import OnError, OnFailure, PlanStep
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decide.compensate import is_compensable
from headrace_scheduler.domain.decide.leave_home import leave_if_waiting
from headrace_scheduler.domain.decide.letters import is_handled, letter_about, undone_operation
from headrace_scheduler.domain.decide.start_action import start_action
from headrace_scheduler.domain.decide.stopping import (
    cancel_child,
    first_failed_beside,
    has_effect,
    is_stopping,
    stop_open_steps,
)
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import CancelAttempt, CloseRow, SetTimer
from headrace_scheduler.domain.failure import engine_error
from headrace_scheduler.domain.values import seal_template


def step_succeeded(
    turn: RunTurn,
    key: StepKey,
    output: Stored = NOTHING,
    *,
    attempt: int = 0,
    port: str = "",
    recovered_from: StepError | None = None,
    usage: Usage | None = None,
) -> None:
    leave_if_waiting(turn, key)
    turn.emit(
        StepSucceeded(
            step=key,
            attempt=attempt,
            output=output,
            port=port,
            recovered=recovered_from is not None,
            usage=usage,
            error=recovered_from,
            compensable=is_compensable(turn, key),
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
    due_ms = retry_due_ms(turn, key, error, retry_after_ms)
    if due_ms is None:
        step_failed(turn, key, error, usage=usage)
        return
    step, state = turn.plan.step_at(key), turn.run.steps[key]
    _retry(turn, step, state, error, due_ms, usage)


def retry_due_ms(
    turn: RunTurn, key: StepKey, error: StepError, retry_after_ms: int = 0
) -> int | None:
    """When the open attempt would be repeated if it ended with this error; None for never."""
    step, state = turn.plan.step_at(key), turn.run.steps[key]
    # A fallback call has the attempts of its own action.
    policy = step.fallback[state.fallback - 1].retry if state.fallback else step.retry
    tries = state.tries + 1
    if (
        tries >= policy.max_attempts
        or not is_retryable(policy, error.type)
        or is_stopping(turn, key)
    ):
        return None
    wait_ms = delay_ms(policy, tries, turn.run_id, key, state.attempt, retry_after_ms)
    due_ms = turn.now_ms + wait_ms
    deadline = step_deadline(step, state)
    return due_ms if deadline is None or due_ms < deadline else None


def step_failed(
    turn: RunTurn, key: StepKey, error: StepError, *, usage: Usage | None = None
) -> None:
    """No further attempt: fallback entries in turn, then `on_error`, then the step has failed."""
    step, state = turn.plan.step_at(key), turn.run.steps[key]
    if not is_stopping(turn, key):
        for entry in range(state.fallback, len(step.fallback)):
            if _fall_back(turn, step, state, entry, error, usage):
                return
    end_failed(turn, key, error, usage=usage)


def end_failed(
    turn: RunTurn, key: StepKey, error: StepError, *, usage: Usage | None = None
) -> None:
    """No fallback either: `on_error`, then the step has failed."""
    instead, final = on_error_output(turn, turn.plan.step_at(key), key, error)
    if instead is None:
        _fail(turn, key, final, usage)
        return
    attempt = turn.run.steps[key].attempt
    step_succeeded(turn, key, instead, attempt=attempt, recovered_from=error, usage=usage)


def open_failed(
    turn: RunTurn,
    step: PlanStep,
    key: StepKey,
    edges: tuple[EdgeTaken, ...] | None,
    error: StepError,
) -> None:
    """A step that fails before anything of it has begun: its condition, its list or what its kind
    asks for cannot be told. No fallback stands in: the condition may be there to prevent it.
    Without `edges` it is an item or a pass, which is ready already."""
    # Evaluated first: a payload that is not at hand leaves the step as it was.
    instead, final = on_error_output(turn, step, key, error)
    if edges is not None:
        turn.emit(StepReady(step=key, edges=edges))
    if instead is None:
        _fail(turn, key, final, None)
    else:
        step_succeeded(turn, key, instead, recovered_from=error)


def on_error_output(
    turn: RunTurn, step: PlanStep, key: StepKey, error: StepError
) -> tuple[Stored | None, StepError]:
    """What takes the place of the step's output, or None and the error with which it fails."""
    if owner_of(key) is not None or step.on_error is not OnError.OUTPUT:
        return None, error
    output, failure = seal_template(turn, step.on_error_output, key, error)
    return (output, error) if failure is None else (None, failure)


def _fail(turn: RunTurn, key: StepKey, error: StepError, usage: Usage | None) -> None:
    state = turn.run.steps[key]
    handled = is_handled(turn, state)
    operation = undone_operation(turn, state)
    attempt = state.attempt
    before = first_failed_beside(turn, key)
    leave_if_waiting(turn, key)
    turn.emit(StepFailed(step=key, error=error, attempt=attempt, handled=handled, usage=usage))
    if operation:
        turn.emit(letter_about(turn, key, attempt, operation, error))
    turn.ended.append(key)
    failed_first = before is None and first_failed_beside(turn, key) is not None
    if not failed_first:
        return
    if turn.plan.on_failure is OnFailure.CANCEL:
        stop_open_steps(turn)
    elif turn.plan.on_failure is OnFailure.SUSPEND and may_suspend(turn) and group_of(key) is None:
        # Inside of a group the others go on to their end: it is the group that is repaired.
        turn.emit(RunSuspended(incident=error, step=key))


def may_suspend(turn: RunTurn) -> bool:
    return turn.run.cancel is None and turn.run.status is not RunStatus.SUSPENDED


def step_deadline(step: PlanStep, state: StepView) -> int | None:
    if step.deadline_ms is None or not state.first_ready_ms:
        return None
    return state.first_ready_ms + step.deadline_ms


def end_by_deadline(turn: RunTurn, step: PlanStep, state: StepView) -> None:
    """The deadline has passed: whatever is open ends, by its row where that has the word."""
    if state.status is StepStatus.RUNNING:
        turn.perform(CancelAttempt(turn.run_id, state.key, state.attempt, state.executor))
    if state.attempt and has_effect(step, state):
        turn.perform(CloseRow(turn.run_id, state.key, state.attempt, state.fallback))
        return
    if state.waiting is WaitingKind.CHILD:
        cancel_child(turn, state)
    step_failed(turn, state.key, too_late(turn, state))


def is_too_late(turn: RunTurn, step: PlanStep, state: StepView) -> bool:
    """Whether the deadline over all that the step calls has passed."""
    deadline = step_deadline(step, state)
    return deadline is not None and deadline <= turn.now_ms


def too_late(turn: RunTurn, state: StepView) -> StepError:
    message = f"the deadline over all attempts has passed in attempt {state.attempt}"
    return engine_error(turn, "timeout.deadline", message)


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
    """Whether this entry took over. An output that cannot be evaluated does not, nor does a call
    that would begin after the deadline."""
    key, fallback = state.key, step.fallback[entry]
    if fallback.uses is None:
        output, failure = seal_template(turn, fallback.output, key, error)
        if failure is not None:
            return False
        step_succeeded(turn, key, output, attempt=state.attempt, recovered_from=error, usage=usage)
        return True
    if is_too_late(turn, step, state):
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
