"""Replay gives the state that the live fold had, at the end of each turn and inside it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_core.ids import ExecutorId, PlanHash, RunId, StepKey, TenantId
from headrace_core.log.chain import chain_hash
from headrace_core.payload import Stored
from headrace_core.run.apply import apply, apply_turn, set_time
from headrace_core.run.events import (
    RunEvent,
    RunStarted,
    RunSucceeded,
    StepAssigned,
    StepError,
    StepReady,
    StepRetryScheduled,
    StepSucceeded,
)
from headrace_core.run.freeze import freeze_run, state_hash
from headrace_core.run.replay import StoredTurn, replay
from headrace_core.run.state import RunState
from headrace_core.run.status import RunStatus, StepStatus

RUN, TENANT = RunId("run_1"), TenantId("acme")
A, B = StepKey("a"), StepKey("b")


def assigned(step: StepKey, attempt: int) -> StepAssigned:
    return StepAssigned(step=step, attempt=attempt, executor=ExecutorId("e"), token=attempt)


STARTED = RunStarted(
    flow="f",
    version=1,
    plan=PlanHash("p"),
    input=Stored(b"in"),
    trigger="manual",
    started_by="key",
)
LOST = StepError(type="executor.lost")
EVENTS: list[RunEvent] = [
    STARTED,
    StepReady(step=A),
    assigned(A, 1),
    StepRetryScheduled(step=A, attempt=1, error=LOST, due_ms=50, counted=False),
    StepReady(step=A),
    assigned(A, 2),
    StepSucceeded(step=A, attempt=2, output=Stored(b"out")),
    StepReady(step=B),
    assigned(B, 1),
    StepSucceeded(step=B, attempt=1),
    RunSucceeded(output=Stored(b"done")),
]


def turns_of(*sizes: int) -> list[StoredTurn]:
    """EVENTS cut into turns of these sizes and a rest, 10 ms apart."""
    turns: list[StoredTurn] = []
    chain, done = b"", 0
    for number, size in enumerate((*sizes, len(EVENTS))):
        events = tuple(EVENTS[done : done + size])
        if not events:
            break
        chain = chain_hash(chain, TENANT, RUN, done + 1, 10 * number, b"%d" % number)
        turns.append(StoredTurn(100 + number, 10 * number, done + 1, chain, events))
        done += len(events)
    return turns


def live(turns: list[StoredTurn], until: int) -> RunState:
    """Event by event, as the scheduler decides."""
    state = RunState(RUN, TENANT)
    for turn in turns:
        if state.sequence >= until:
            break
        set_time(state, turn.time_ms)
        for event in turn.events[: until - state.sequence]:
            apply(state, event)
        if state.sequence == turn.sequence + len(turn.events) - 1:
            apply_turn(state, (), turn.time_ms, turn.chain)
    return state


def test_a_whole_run_ends_as_it_ended() -> None:
    turns = turns_of(3, 1, 2, 3)
    state = replay(RUN, TENANT, turns)
    assert state.status is RunStatus.SUCCEEDED
    assert state.sequence == len(EVENTS)
    assert state.chain == turns[-1].chain
    assert state.ended_ms == 40
    assert {key: step.status for key, step in state.steps.items()} == {
        A: StepStatus.SUCCEEDED,
        B: StepStatus.SUCCEEDED,
    }


cuts = st.lists(st.integers(1, 4), max_size=8)


@given(cuts, st.integers(1, len(EVENTS)))
def test_the_state_at_any_event_is_the_state_that_was(sizes: list[int], until: int) -> None:
    turns = turns_of(*sizes)
    replayed = replay(RUN, TENANT, turns, until)
    assert replayed.sequence == until
    assert freeze_run(replayed) == freeze_run(live(turns, until))


@given(cuts, cuts)
def test_how_events_were_gathered_in_turns_changes_times_and_chain_alone(
    sizes: list[int], others: list[int]
) -> None:
    one, other = (replay(RUN, TENANT, turns_of(*cut)) for cut in (sizes, others))
    assert {key: step.status for key, step in one.steps.items()} == {
        key: step.status for key, step in other.steps.items()
    }
    assert (one.sequence, one.output) == (other.sequence, other.output)


def test_inside_a_turn_its_time_counts_but_not_its_chain() -> None:
    turns = turns_of(3, 4)
    state = replay(RUN, TENANT, turns, 5)
    assert state.time_ms == turns[1].time_ms
    assert state.chain == turns[0].chain
    assert state.steps[A].status is StepStatus.READY


def test_nothing_is_folded_of_later_turns() -> None:
    turns = turns_of(3, 4)
    assert state_hash(replay(RUN, TENANT, turns, 3)) == state_hash(replay(RUN, TENANT, turns[:1]))


def test_a_run_without_turns_is_a_run_that_has_not_started() -> None:
    assert replay(RUN, TENANT, []) == RunState(RUN, TENANT)


def test_an_event_that_the_run_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="run run_1 has 11 events, there is no event 12"):
        replay(RUN, TENANT, turns_of(3), 12)


def test_a_missing_turn_is_noticed() -> None:
    turns = turns_of(3, 4)
    with pytest.raises(AssertionError, match="the journal has a gap"):
        replay(RUN, TENANT, [turns[0], turns[2]])
    with pytest.raises(AssertionError, match="the journal has a gap"):
        replay(RUN, TENANT, turns[1:])
