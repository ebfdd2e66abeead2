"""What reaches a waiting step from outside: a signal to its very run, or a correlated event."""

from headrace_core.errors import KeyErased
from headrace_core.ids import RunId, StepKey
from headrace_core.partition.events import EventDelivery
from headrace_core.run.events import EventReceived, SignalReceived
from headrace_core.run.state import StepView
from headrace_core.run.status import RUN_TERMINAL, RunStatus, WaitingKind
from headrace_core.workflow.plan import EventWait
from headrace_scheduler.domain.commands import SignalRun, TakeMessage
from headrace_scheduler.domain.decide.advance import settle
from headrace_scheduler.domain.decide.end_step import step_failed, step_succeeded
from headrace_scheduler.domain.decide.leave_home import leave_home
from headrace_scheduler.domain.decide.wait_event import RECEIVED
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.erasure import erased_error
from headrace_scheduler.domain.values import event_matches


def signal_run(turn: RunTurn, command: SignalRun) -> Rejection | None:
    """Ends the wait for this topic that began first and whose `match` holds; `wait.event.key` is
    not asked, since the sender names the run itself."""
    run = turn.run
    if command.signal in run.received:
        return Rejection(Reason.REPEATED, "this signal was received before", turn.run_id)
    if run.status in RUN_TERMINAL or run.status is RunStatus.SUSPENDED:
        return Rejection(Reason.INVALID_STATE, f"the run is {run.status.text}: it takes no signal")
    waiting = _waits(turn)
    asked = [(key, wait) for key, wait in waiting if wait.topic == command.name]
    if not asked:
        topics = ", ".join(sorted({repr(wait.topic) for _, wait in waiting})) or "no event at all"
        message = f"nobody waits for signal {command.name!r}: the run waits for {topics}"
        return Rejection(Reason.INVALID_STATE, message)
    faults: list[str] = []
    for key, wait in asked:
        matches, fault = event_matches(turn, key, wait, turn.run_id, command.content)
        if matches:
            turn.emit(
                SignalReceived(
                    step=key, name=command.name, signal=command.signal, sent_by=command.sent_by
                )
            )
            step_succeeded(turn, key, command.content, port=RECEIVED)
            settle(turn)
            return None
        faults.append(f"of step {key!r} {fault or 'does not hold'}")
    message = f"the `match` {' and '.join(faults)}: nobody takes signal {command.name!r}"
    return Rejection(Reason.INVALID_STATE, message)


def take_event(turn: RunTurn, command: TakeMessage) -> None:
    """An event that does not match, or comes to a step that waits no more, changes nothing."""
    message = command.message
    assert isinstance(message, EventDelivery)
    state = turn.run.steps.get(message.step)
    if state is None or not _awaits(state, message):
        # It ended where it could not leave, or its leaving is under way: twice does no harm.
        leave_home(turn, message.step, message.correlation)
        return
    if message.event in turn.run.received:
        # One event ends one wait of a run, also where several steps ask for it in turn.
        return
    wait = turn.plan.step_at(state.key).wait
    assert wait is not None and wait.event is not None
    owner = RunId(message.event)
    try:
        if not event_matches(turn, state.key, wait.event, owner, message.content)[0]:
            return
        content = turn.vault.seal(turn.run_id, turn.vault.open(owner, message.content))
    except KeyErased as fault:
        step_failed(turn, state.key, erased_error(turn, fault))
        settle(turn)
        return
    turn.emit(EventReceived(step=state.key, event=message.event))
    step_succeeded(turn, state.key, content, port=RECEIVED)
    settle(turn)


def _awaits(state: StepView, message: EventDelivery) -> bool:
    return state.waiting is WaitingKind.EVENT and state.correlation == message.correlation


def _waits(turn: RunTurn) -> list[tuple[StepKey, EventWait]]:
    """In the order in which they began."""
    found: list[tuple[StepKey, EventWait]] = []
    for state in turn.run.steps.values():
        if state.waiting is WaitingKind.EVENT:
            wait = turn.plan.step_at(state.key).wait
            assert wait is not None and wait.event is not None
            found.append((state.key, wait.event))
    return found
