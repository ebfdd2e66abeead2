"""A timer's time has come. A timer that lost its meaning is rejected and leaves no trace."""

from typing import assert_never

from headrace_core.ids import step_of
from headrace_core.run.events import StepError, TimerFired
from headrace_core.run.state import StepView
from headrace_core.run.status import (
    RUN_TERMINAL,
    STEP_TERMINAL,
    CancelCause,
    StepStatus,
    WaitingKind,
)
from headrace_scheduler.domain.commands import FireTimer, TimerKind
from headrace_scheduler.domain.decide.advance import settle
from headrace_scheduler.domain.decide.cancel_run import request_cancel
from headrace_scheduler.domain.decide.end_step import (
    make_ready,
    step_deadline,
    step_failed,
    step_succeeded,
)
from headrace_scheduler.domain.decide.stopping import (
    CANCEL_GRACE_MS,
    end_after_grace,
    has_effect,
    stop_step,
)
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.effects import CancelAttempt, CloseRow
from headrace_scheduler.domain.failure import engine_error

_STALE = Rejection(Reason.LATE, "the timer has lost its meaning")


def fire_timer(turn: RunTurn, command: FireTimer) -> Rejection | None:
    if turn.run.status in RUN_TERMINAL or command.due_ms > turn.now_ms:
        return _STALE
    match command.kind:
        case TimerKind.STEP_DUE:
            rejection = _step_due(turn, command)
        case TimerKind.STEP_DEADLINE:
            rejection = _step_deadline(turn, command)
        case TimerKind.RUN_TIMEOUT:
            if turn.run.cancel is not None:
                return _STALE
            request_cancel(turn, CancelCause.RUN_TIMEOUT, "headrace")
            rejection = None
        case TimerKind.CANCEL_GRACE:
            rejection = _cancel_grace(turn)
        case _:
            assert_never(command.kind)
    if rejection is None:
        settle(turn)
    return rejection


def _step_due(turn: RunTurn, command: FireTimer) -> Rejection | None:
    state = turn.run.steps.get(command.step)
    if state is None or state.status is not StepStatus.WAITING or state.due_ms != command.due_ms:
        return _STALE
    step = turn.plan.steps[step_of(state.key)[0]]
    if state.waiting is WaitingKind.BACKOFF:
        make_ready(turn, step, state.key)
    elif state.waiting is WaitingKind.TIMER:
        turn.emit(TimerFired(step=state.key))
        step_succeeded(turn, state.key)
    elif state.waiting is WaitingKind.APPROVAL:
        assert step.approval is not None
        turn.emit(TimerFired(step=state.key))
        step_succeeded(turn, state.key, port=step.approval.on_expire.value)
    else:
        return _STALE
    return None


def _step_deadline(turn: RunTurn, command: FireTimer) -> Rejection | None:
    state = turn.run.steps.get(command.step)
    if state is None or state.status in STEP_TERMINAL:
        return _STALE
    step = turn.plan.steps[step_of(state.key)[0]]
    deadline = step_deadline(step, state)
    if deadline is None or deadline > turn.now_ms:
        return _STALE
    if state.status is StepStatus.RUNNING:
        turn.perform(CancelAttempt(turn.run_id, state.key, state.attempt, state.executor))
    if state.attempt and has_effect(step):
        turn.perform(CloseRow(turn.run_id, state.key, state.attempt, state.fallback))
    else:
        if state.waiting is WaitingKind.CHILD:
            stop_step(turn, state, step)
        step_failed(turn, state.key, _too_late(turn, state))
    return None


def _too_late(turn: RunTurn, state: StepView) -> StepError:
    message = f"the deadline over all attempts has passed in attempt {state.attempt}"
    return engine_error(turn, "timeout.deadline", message)


def _cancel_grace(turn: RunTurn) -> Rejection | None:
    run = turn.run
    if run.cancel is None or turn.now_ms < run.cancel_requested_ms + CANCEL_GRACE_MS:
        return _STALE
    end_after_grace(turn)
    return None
