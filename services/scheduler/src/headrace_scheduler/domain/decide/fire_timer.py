"""A timer's time has come. A timer that lost its meaning is rejected and leaves no trace."""

from typing import assert_never

from headrace_core.ids import StepKey
from headrace_core.run.events import TimerFired
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
from headrace_scheduler.domain.decide.decide_approval import escalate
from headrace_scheduler.domain.decide.end_step import (
    attempt_failed,
    end_by_deadline,
    is_too_late,
    make_ready,
    step_succeeded,
    too_late,
)
from headrace_scheduler.domain.decide.repeat import begin_pass
from headrace_scheduler.domain.decide.stopping import (
    CANCEL_GRACE_MS,
    cancel_child,
    end_after_grace,
    has_parts,
    is_stopping,
    stop_parts,
)
from headrace_scheduler.domain.decide.take_rate import rate_is_due
from headrace_scheduler.domain.decide.wait_event import EXPIRED
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.failure import engine_error

_STALE = Rejection(Reason.LATE, "the timer has lost its meaning")


def fire_timer(turn: RunTurn, command: FireTimer) -> Rejection | None:
    if turn.run.status in RUN_TERMINAL or command.due_ms > turn.now_ms:
        return _STALE
    match command.kind:
        case TimerKind.STEP_DUE:
            rejection = _step_due(turn, command)
        case TimerKind.STEP_HEARTBEAT:
            # The owner's pulses are asked instead: they say what was missed.
            return _STALE
        case TimerKind.APPROVAL_ESCALATION:
            rejection = escalate(turn, command)
        case TimerKind.STEP_DEADLINE:
            rejection = _step_deadline(turn, command)
        case TimerKind.RUN_TIMEOUT:
            if turn.run.cancel is not None or turn.run.failure is not None:
                return _STALE
            request_cancel(turn, CancelCause.RUN_TIMEOUT, "headrace")
            rejection = None
        case TimerKind.CANCEL_GRACE:
            rejection = _cancel_grace(turn, command)
        case _:
            assert_never(command.kind)
    if rejection is None:
        settle(turn)
    return rejection


def _step_due(turn: RunTurn, command: FireTimer) -> Rejection | None:
    state = turn.run.steps.get(command.step)
    if state is None or state.status is not StepStatus.WAITING or state.due_ms != command.due_ms:
        return _STALE
    step = turn.plan.step_at(state.key)
    if state.waiting is WaitingKind.BACKOFF:
        make_ready(turn, step, state.key)
    elif state.waiting is WaitingKind.RATE:
        rate_is_due(turn, state)
    elif state.waiting is WaitingKind.TIMER:
        turn.emit(TimerFired(step=state.key))
        if state.passes is not None:
            begin_pass(turn, state.key, state.passes.number + 1)
        else:
            step_succeeded(turn, state.key)
    elif state.waiting is WaitingKind.STEPS:
        return _group_too_slow(turn, state)
    elif state.waiting is WaitingKind.APPROVAL:
        assert step.approval is not None
        turn.emit(TimerFired(step=state.key))
        step_succeeded(turn, state.key, port=step.approval.on_expire.value)
    elif state.waiting is WaitingKind.EVENT:
        turn.emit(TimerFired(step=state.key))
        step_succeeded(turn, state.key, port=EXPIRED)
    elif state.waiting is WaitingKind.CHILD:
        return _child_too_slow(turn, state)
    else:
        return _STALE
    return None


def _group_too_slow(turn: RunTurn, state: StepView) -> Rejection | None:
    if is_stopping(turn, state.key):
        return _STALE
    turn.emit(TimerFired(step=state.key))
    message = "the steps of the group did not end within its timeout"
    stop_parts(turn, state, engine_error(turn, "timeout.attempt", message))
    return None


def _child_too_slow(turn: RunTurn, state: StepView) -> Rejection | None:
    """A sub-flow's run is an attempt like any other. It is not waited for: another attempt is a
    run of its own, and the answer of this one comes too late to be heard."""
    if is_stopping(turn, state.key):
        # It was cancelled before; its answer ends the step.
        return _STALE
    cancel_child(turn, state)
    message = f"sub-flow run {state.child} did not end within the timeout"
    attempt_failed(turn, state.key, engine_error(turn, "timeout.attempt", message))
    return None


def _step_deadline(turn: RunTurn, command: FireTimer) -> Rejection | None:
    state = turn.run.steps.get(command.step)
    if state is None or state.status in STEP_TERMINAL:
        return _STALE
    step = turn.plan.step_at(state.key)
    if not is_too_late(turn, step, state):
        return _STALE
    if state.group is not None:
        if is_stopping(turn, state.key):
            return _STALE
        stop_parts(turn, state, too_late(turn, state))
        return None
    if has_parts(state):
        # Each item and each pass has a deadline of its own.
        return _STALE
    end_by_deadline(turn, step, state)
    return None


def _cancel_grace(turn: RunTurn, command: FireTimer) -> Rejection | None:
    run = turn.run
    if command.step:
        return _stop_grace(turn, command.step)
    if run.cancel is None or turn.now_ms < run.cancel_requested_ms + CANCEL_GRACE_MS:
        return _STALE
    end_after_grace(turn)
    return None


def _stop_grace(turn: RunTurn, key: StepKey) -> Rejection | None:
    state = turn.run.steps.get(key)
    if state is None or state.status in STEP_TERMINAL or state.stop is None:
        return _STALE
    if turn.now_ms < state.stop.at_ms + CANCEL_GRACE_MS:
        return _STALE
    end_after_grace(turn, key)
    return None
