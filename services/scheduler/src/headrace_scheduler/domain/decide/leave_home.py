"""Tell an event's home that a step waits for it no more, however the wait ended."""

from headrace_core.ids import Correlation, StepKey, partition_of, slot_of_correlation
from headrace_core.partition.events import WaiterLeave
from headrace_scheduler.domain.decision import RunTurn


def leave_home(turn: RunTurn, step: StepKey, correlation: Correlation) -> None:
    leave = WaiterLeave(tenant=turn.tenant, run=turn.run_id, step=step, correlation=correlation)
    turn.send(partition_of(slot_of_correlation(correlation), turn.partitions), leave)


def leave_if_waiting(turn: RunTurn, step: StepKey) -> None:
    """Asked of every step before it ends."""
    state = turn.run.steps.get(step)
    if state is not None and state.correlation:
        leave_home(turn, step, state.correlation)
