"""The answer to a step that asked when it may call."""

from headrace_core.ids import StepKey
from headrace_core.partition.events import RateGrant
from headrace_core.run.events import StepReady, StepWaiting
from headrace_core.run.state import StepView
from headrace_core.run.status import StepStatus, WaitingKind
from headrace_scheduler.domain.commands import TakeMessage, TimerKind
from headrace_scheduler.domain.decide.advance import settle
from headrace_scheduler.domain.decide.rate_limit import ask_rate
from headrace_scheduler.domain.decide.start_action import call
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import SetTimer

LATE_MS = 500
"""So late a call may begin without asking again: more than a busy moment, less than a takeover."""


def take_rate(turn: RunTurn, command: TakeMessage) -> None:
    """A step that has ended meanwhile, or has its time already, leaves the answer unused."""
    message = command.message
    assert isinstance(message, RateGrant)
    state = turn.run.steps.get(message.step)
    if (
        state is None
        or state.status is not StepStatus.WAITING
        or state.waiting is not WaitingKind.RATE
        or state.due_ms is not None
    ):
        return
    if message.at_ms <= turn.now_ms:
        _call(turn, message.step)
    else:
        turn.emit(StepWaiting(step=message.step, kind=WaitingKind.RATE, due_ms=message.at_ms))
        turn.perform(SetTimer(message.at_ms, turn.run_id, message.step, TimerKind.STEP_DUE))
    settle(turn)


def rate_is_due(turn: RunTurn, state: StepView) -> None:
    """The time that was given has come. If it has long passed, other calls were late as well and
    would all begin now: each is given a new time."""
    step = turn.plan.step_at(state.key)
    assert state.due_ms is not None and step.rate_limit is not None
    if turn.now_ms - state.due_ms > LATE_MS:
        ask_rate(turn, step.rate_limit, state.key, state.rate_key)
    else:
        _call(turn, state.key)


def _call(turn: RunTurn, key: StepKey) -> None:
    turn.emit(StepReady(step=key))
    call(turn, turn.plan.step_at(key), key)
