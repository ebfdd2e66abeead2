"""Sub-flows: a step that starts a run of its own and waits for its answer."""

import json

from headrace_core.errors import KeyErased
from headrace_core.ids import PlanHash, RunId, StepKey, partition_of, slot_of
from headrace_core.partition.events import ChildEnded, ChildStart
from headrace_core.run.events import (
    Parent,
    RunStarted,
    StepError,
    StepWaiting,
)
from headrace_core.run.state import StepView
from headrace_core.run.status import CancelCause, RunStatus, StepStatus, WaitingKind
from headrace_core.workflow.plan import PlanStep
from headrace_scheduler.domain.commands import CancelRun, StartChild, TakeMessage, TimerKind
from headrace_scheduler.domain.decide.advance import settle
from headrace_scheduler.domain.decide.cancel_run import cancel_run
from headrace_scheduler.domain.decide.concurrency import open_run
from headrace_scheduler.domain.decide.end_step import (
    attempt_failed,
    step_failed,
    step_succeeded,
)
from headrace_scheduler.domain.decide.start_action import action_of, child_of, child_ordinal
from headrace_scheduler.domain.decide.stopping import end_cancelled, is_stopping
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.effects import SetTimer
from headrace_scheduler.domain.erasure import erased_error
from headrace_scheduler.domain.failure import engine_error


def start_child(turn: RunTurn, command: StartChild) -> Rejection | None:
    """The input is evaluated and sealed: ask the child's partition to start it."""
    state = turn.run.steps.get(command.step)
    if state is None or state.status is not StepStatus.READY:
        return Rejection(Reason.LATE, f"step {command.step!r} has gone on")
    step = turn.plan.step_at(command.step)
    if command.error is not None:
        step_failed(turn, command.step, command.error)
        settle(turn)
        return None
    action = action_of(step, state)
    child = child_of(turn.run_id, state)
    parent = Parent(
        run=turn.run_id,
        step=command.step,
        attempt=child_ordinal(state),
        detached=step.detach,
    )
    message = ChildStart(
        run=child,
        tenant=turn.tenant,
        flow=action.name,
        version=command.version,
        plan=PlanHash(action.locked),
        input=command.input,
        parent=parent,
        priority=turn.run.priority,
    )
    turn.send(partition_of(slot_of(child), turn.partitions), message)
    _wait_for(turn, step, command.step, child)
    settle(turn)
    return None


def _wait_for(turn: RunTurn, step: PlanStep, key: StepKey, child: RunId) -> None:
    """A detached child is on its way with this turn: there is nothing to wait for."""
    if step.detach:
        turn.emit(StepWaiting(step=key, kind=WaitingKind.CHILD, child=child))
        output = json.dumps({"run": child}, separators=(",", ":")).encode()
        try:
            step_succeeded(turn, key, turn.vault.seal(turn.run_id, output))
        except KeyErased as fault:
            step_failed(turn, key, erased_error(turn, fault))
        return
    due_ms = turn.now_ms + step.timeout_ms if step.timeout_ms is not None else None
    turn.emit(StepWaiting(step=key, kind=WaitingKind.CHILD, child=child, due_ms=due_ms))
    if due_ms is not None:
        turn.perform(SetTimer(due_ms, turn.run_id, key, TimerKind.STEP_DUE))


def begin_child(turn: RunTurn, command: TakeMessage) -> None:
    """A run started by another one, in the turn that takes the message."""
    message = command.message
    assert isinstance(message, ChildStart)
    timeout_at_ms = turn.now_ms + turn.plan.timeout_ms if turn.plan.timeout_ms is not None else None
    started = RunStarted(
        flow=message.flow,
        version=message.version,
        plan=message.plan,
        input=message.input,
        trigger="flow",
        started_by=f"{message.parent.run}/{message.parent.step}",
        priority=message.priority,
        timeout_at_ms=timeout_at_ms,
        parent=message.parent,
    )
    open_run(turn, started)


def cancel_by_parent(turn: RunTurn, command: TakeMessage) -> None:
    stop = CancelRun(
        run=turn.run_id,
        tenant=turn.tenant,
        cause=CancelCause.PARENT,
        requested_by="parent",
    )
    cancel_run(turn, stop)


def take_answer(turn: RunTurn, command: TakeMessage) -> None:
    """The child has ended. An answer that nobody waits for is recorded and changes nothing."""
    message = command.message
    assert isinstance(message, ChildEnded)
    key = message.parent.step
    state = turn.run.steps.get(key)
    if (
        state is None
        or state.waiting is not WaitingKind.CHILD
        or state.child != message.child
        or state.status is not StepStatus.WAITING
    ):
        return
    if message.status is RunStatus.SUCCEEDED:
        _take_output(turn, key, message)
    elif is_stopping(turn, key):
        end_cancelled(turn, state)
    else:
        attempt_failed(turn, key, _child_error(turn, message, state))
    settle(turn)


def _take_output(turn: RunTurn, key: StepKey, message: ChildEnded) -> None:
    try:
        output = turn.vault.seal(turn.run_id, turn.vault.open(message.child, message.output))
    except KeyErased as fault:
        step_failed(turn, key, erased_error(turn, fault))
    else:
        step_succeeded(turn, key, output)


def _child_error(turn: RunTurn, message: ChildEnded, state: StepView) -> StepError:
    if message.error is None:
        return engine_error(turn, "child.cancelled", f"sub-flow run {message.child} was cancelled")
    try:
        text = turn.vault.open(message.child, message.error.message)
        return StepError(type=message.error.type, message=turn.vault.seal(turn.run_id, text))
    except KeyErased:
        return StepError(type=message.error.type)
