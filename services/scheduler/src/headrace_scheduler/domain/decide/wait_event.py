"""A step that waits for an event asks the event's home for it."""

from headrace_core.ids import StepKey, partition_of, slot_of_correlation
from headrace_core.partition.events import WaiterJoin
from headrace_core.run.events import EdgeTaken, StepReady, StepWaiting
from headrace_core.run.status import WaitingKind
from headrace_core.workflow.plan import PlanStep
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decide.end_step import open_failed
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import SetTimer
from headrace_scheduler.domain.values import event_correlation

RECEIVED, EXPIRED = "received", "expired"


def open_event_wait(
    turn: RunTurn, step: PlanStep, key: StepKey, edges: tuple[EdgeTaken, ...] | None
) -> None:
    """Without `edges` it is an item or a pass, which is ready already."""
    wait = step.wait
    assert wait is not None and wait.event is not None
    correlation, error = event_correlation(turn, step, key)
    if error is not None:
        open_failed(turn, step, key, edges, error)
        return
    if edges is not None:
        turn.emit(StepReady(step=key, edges=edges))
    due_ms = turn.now_ms + wait.expires_ms if wait.expires_ms is not None else None
    turn.emit(StepWaiting(step=key, kind=WaitingKind.EVENT, due_ms=due_ms, correlation=correlation))
    if due_ms is not None:
        turn.perform(SetTimer(due_ms, turn.run_id, key, TimerKind.STEP_DUE))
    join = WaiterJoin(
        tenant=turn.tenant,
        run=turn.run_id,
        step=key,
        correlation=correlation,
        since_ms=turn.now_ms - wait.event.keep_ms,
    )
    turn.send(partition_of(slot_of_correlation(correlation), turn.partitions), join)
