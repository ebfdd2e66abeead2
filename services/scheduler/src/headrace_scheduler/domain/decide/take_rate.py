"""The answer to a step that asked when it may call."""

from headrace_core.ids import StepKey
from headrace_core.partition.events import MessageReceived, RateGrant
from headrace_core.run.events import StepReady, StepWaiting
from headrace_core.run.status import StepStatus, WaitingKind
from headrace_scheduler.domain.commands import TakeMessage, TimerKind
from headrace_scheduler.domain.decide.advance import settle
from headrace_scheduler.domain.decide.start_action import call
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import SetTimer


def take_rate(turn: RunTurn, command: TakeMessage) -> None:
    """A step that has ended meanwhile, or has its time already, leaves the answer unused."""
    message = command.message
    assert isinstance(message, RateGrant)
    turn.emit_partition(MessageReceived(source=command.source, number=command.number))
    state = turn.run.steps.get(message.step)
    if (
        state is None
        or state.status is not StepStatus.WAITING
        or state.waiting is not WaitingKind.RATE
        or state.due_ms is not None
    ):
        return
    if message.at_ms <= turn.now_ms:
        call_at_rate(turn, message.step)
    else:
        turn.emit(StepWaiting(step=message.step, kind=WaitingKind.RATE, due_ms=message.at_ms))
        turn.perform(SetTimer(message.at_ms, turn.run_id, message.step, TimerKind.STEP_DUE))
    settle(turn)


def call_at_rate(turn: RunTurn, key: StepKey) -> None:
    """The time that was given has come."""
    turn.emit(StepReady(step=key))
    call(turn, turn.plan.step_at(key), key)
