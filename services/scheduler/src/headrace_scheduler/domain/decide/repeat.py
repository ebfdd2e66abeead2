"""A repeated step: one pass after the other, each logged, until its condition holds."""

from headrace_core.ids import StepKey, pass_key
from headrace_core.payload import BlobMissingHere
from headrace_core.run.events import PassStarted, StepWaiting
from headrace_core.run.state import StepView
from headrace_core.run.status import STEP_TERMINAL, StepStatus, WaitingKind
from headrace_core.workflow.plan import PlanStep, StepKind
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decide.end_step import end_failed, step_succeeded
from headrace_scheduler.domain.decide.start_action import start_action
from headrace_scheduler.domain.decide.stopping import end_cancelled, is_stopping
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import FetchPayload, SetTimer
from headrace_scheduler.domain.failure import engine_error
from headrace_scheduler.domain.values import until_holds


def begin_pass(turn: RunTurn, key: StepKey, number: int) -> None:
    """`key` is the repeated step, or an item of it where it is a fan-out too."""
    turn.emit(PassStarted(step=key, number=number))
    started, step = pass_key(key, number), turn.plan.step_at(key)
    if step.kind is StepKind.USES and step.rate_limit is None:
        start_action(turn, step, started)
    else:
        turn.begun.append(started)


def go_on_if_ended(turn: RunTurn, step: PlanStep, state: StepView) -> None:
    """The newest pass has ended: the step ends with it, or there is a further one."""
    passes = state.passes
    assert passes is not None
    between = state.waiting is WaitingKind.TIMER
    if state.status in STEP_TERMINAL or passes.status is StepStatus.PENDING or between:
        return
    try:
        _go_on(turn, step, state, passes.status, passes.number)
    except BlobMissingHere as missing:
        turn.perform(FetchPayload(turn.run_id, missing.run, missing.stored))


def _go_on(turn: RunTurn, step: PlanStep, state: StepView, status: StepStatus, number: int) -> None:
    key, repeat = state.key, step.repeat
    assert repeat is not None
    if status is StepStatus.FAILED:
        assert state.error is not None
        end_failed(turn, key, state.error)
        return
    if status is StepStatus.CANCELLED:
        _end_stopped(turn, state)
        return
    holds, error = until_holds(turn, step, key)
    if error is not None:
        end_failed(turn, key, error)
    elif holds:
        step_succeeded(turn, key, state.output, port=state.port)
    elif is_stopping(turn, key):
        _end_stopped(turn, state)
    elif number >= repeat.max:
        message = f"`repeat.until` did not hold after {number} passes"
        end_failed(turn, key, engine_error(turn, "repeat.exhausted", message))
    elif repeat.delay_ms:
        due_ms = turn.now_ms + repeat.delay_ms
        turn.emit(StepWaiting(step=key, kind=WaitingKind.TIMER, due_ms=due_ms))
        turn.perform(SetTimer(due_ms, turn.run_id, key, TimerKind.STEP_DUE))
    else:
        begin_pass(turn, key, number + 1)


def _end_stopped(turn: RunTurn, state: StepView) -> None:
    if state.stop is not None and state.stop.error is not None:
        end_failed(turn, state.key, state.stop.error)
    else:
        end_cancelled(turn, state)
