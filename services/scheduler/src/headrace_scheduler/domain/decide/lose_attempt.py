"""Attempts that nobody reports. This is suspicion only, and safe when wrong: the effect row
decides what the next attempt may do."""

from headrace_core.run.events import StepError, StepRetryScheduled
from headrace_core.run.state import StepView
from headrace_core.run.status import STEP_TERMINAL, StepStatus
from headrace_scheduler.domain.commands import (
    CloseByRow,
    LoseAttempt,
    MissHeartbeat,
    RowVerdict,
)
from headrace_scheduler.domain.decide.advance import settle
from headrace_scheduler.domain.decide.end_step import (
    attempt_failed,
    end_by_deadline,
    is_too_late,
    make_ready,
    retry_due_ms,
    step_failed,
    step_succeeded,
    too_late,
)
from headrace_scheduler.domain.decide.stopping import (
    end_cancelled,
    has_effect,
    is_stopping,
    stop_step,
)
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.effects import CancelAttempt, CloseRow
from headrace_scheduler.domain.failure import engine_error

HEARTBEAT = "timeout.heartbeat"
LOST_MAX = 10
"""So often an attempt may be lost without using up the policy's attempts."""


def lose_attempt(turn: RunTurn, command: LoseAttempt) -> Rejection | None:
    state = turn.run.steps.get(command.step)
    if state is None or state.status is not StepStatus.RUNNING or state.attempt != command.attempt:
        return Rejection(Reason.LATE, f"attempt {command.attempt} is closed")
    step = turn.plan.step_at(command.step)
    may_go_on = not is_stopping(turn, state.key) and not is_too_late(turn, step, state)
    if state.lost < LOST_MAX and may_go_on:
        try_elsewhere(turn, state)
    elif has_effect(step, state):
        turn.perform(CloseRow(turn.run_id, command.step, command.attempt, state.fallback))
    else:
        _end_without_effect(turn, state)
    settle(turn)
    return None


def miss_heartbeat(turn: RunTurn, command: MissHeartbeat) -> Rejection | None:
    """The silent attempt is cut off. A further one is an attempt like after any failure; where
    none follows, the effect row has the word, since the attempt itself has not given one."""
    state = turn.run.steps.get(command.step)
    if state is None or state.status is not StepStatus.RUNNING or state.attempt != command.attempt:
        return Rejection(Reason.LATE, f"attempt {command.attempt} is closed")
    step = turn.plan.step_at(command.step)
    turn.perform(CancelAttempt(turn.run_id, state.key, state.attempt, state.executor))
    error = _too_silent(turn, state)
    if retry_due_ms(turn, command.step, error) is not None:
        attempt_failed(turn, command.step, error)
    elif has_effect(step, state):
        close = CloseRow(turn.run_id, state.key, state.attempt, state.fallback, HEARTBEAT)
        turn.perform(close)
    elif is_stopping(turn, command.step):
        end_cancelled(turn, state)
    else:
        step_failed(turn, command.step, error)
    settle(turn)
    return None


def _too_silent(turn: RunTurn, state: StepView) -> StepError:
    message = f"attempt {state.attempt} gave no sign of life within the step's heartbeat"
    return engine_error(turn, HEARTBEAT, message)


def try_elsewhere(turn: RunTurn, state: StepView) -> None:
    """Assigned again under the next attempt number, not counted against the policy."""
    error = engine_error(turn, "executor.lost", f"executor {state.executor} is gone")
    turn.emit(
        StepRetryScheduled(
            step=state.key,
            attempt=state.attempt,
            error=error,
            due_ms=turn.now_ms,
            counted=False,
            fallback=state.fallback,
        )
    )
    make_ready(turn, turn.plan.step_at(state.key), state.key)


def close_by_row(turn: RunTurn, command: CloseByRow) -> Rejection | None:
    """The last attempt's effect row is closed: what it says is true for ever."""
    state = turn.run.steps.get(command.step)
    if state is None or state.status in STEP_TERMINAL:
        return Rejection(Reason.LATE, f"step {command.step!r} has ended")
    if state.attempt != command.attempt:
        return _close_newer(turn, state)
    if command.verdict is RowVerdict.DONE:
        step_succeeded(turn, command.step, command.output, attempt=command.attempt)
    elif command.verdict is RowVerdict.UNKNOWN:
        error = engine_error(
            turn,
            "unknown_outcome",
            "the executor did not answer and had claimed the effect: look outside, then decide",
        )
        step_failed(turn, command.step, error)
    else:
        _end_without_effect(turn, state, command.cause)
    settle(turn)
    return None


def _close_newer(turn: RunTurn, state: StepView) -> Rejection | None:
    """While its row was closed the step was given out once more: what has to end still has to."""
    step = turn.plan.step_at(state.key)
    if not is_stopping(turn, state.key) and not is_too_late(turn, step, state):
        return Rejection(Reason.LATE, f"step {state.key!r} has gone on")
    if is_stopping(turn, state.key):
        stop_step(turn, state, step)
    else:
        end_by_deadline(turn, step, state)
    settle(turn)
    return None


def _end_without_effect(turn: RunTurn, state: StepView, cause: str = "") -> None:
    if is_stopping(turn, state.key):
        end_cancelled(turn, state)
    elif is_too_late(turn, turn.plan.step_at(state.key), state):
        step_failed(turn, state.key, too_late(turn, state))
    elif cause == HEARTBEAT:
        step_failed(turn, state.key, _too_silent(turn, state))
    else:
        error = engine_error(
            turn, "executor.lost", f"{state.lost + 1} executors were lost while they ran this step"
        )
        step_failed(turn, state.key, error)
