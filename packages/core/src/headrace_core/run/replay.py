"""Replay: the state of a run at any event, with the very fold that the scheduler lives by."""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace_core.ids import RunId, TenantId
from headrace_core.run.apply import apply, apply_turn, set_time
from headrace_core.run.events import RunEvent
from headrace_core.run.state import RunState


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """The run's part of one accepted record."""

    offset: int
    time_ms: int
    sequence: int
    chain: bytes
    events: tuple[RunEvent, ...]

    @property
    def last_sequence(self) -> int:
        return self.sequence + len(self.events) - 1


def replay(
    run: RunId, tenant: TenantId, turns: Iterable[StoredTurn], until: int | None = None
) -> RunState:
    """Fold to the end, or to event `until` (1, 2, 3, ...), which may lie inside a turn.

    Raises AssertionError if the turns have a gap, and ValueError if the run has no event `until`.
    """
    state = RunState(run, tenant)
    for turn in turns:
        if state.sequence == until:
            break
        assert turn.sequence == state.sequence + 1, "the journal has a gap"
        if until is None or turn.last_sequence <= until:
            apply_turn(state, turn.events, turn.time_ms, turn.chain)
            continue
        set_time(state, turn.time_ms)
        for event in turn.events[: until - state.sequence]:
            apply(state, event)
    if until is not None and state.sequence < until:
        raise ValueError(f"run {run} has {state.sequence} events, there is no event {until}")
    return state
