"""Chunks keep the log's own bytes, and the chain shows every change."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_core.errors import BrokenChain
from headrace_core.ids import StepKey
from headrace_core.payload import Stored
from headrace_core.run import events as ev
from headrace_history.domain.projections.journal import (
    CHUNK_BYTES_MAX,
    CHUNK_EVENTS_MAX,
    check_chain,
    chunks_of,
    unpack,
)
from headrace_history.domain.turns import JournalTurn
from tests.unit.history.recorded_runs import (
    TENANT,
    Turn,
    journal_turns,
    run_of,
    sequential_run,
    started,
    wandering_run,
)

RUN = run_of(1)


def unpacked(turns: list[JournalTurn]) -> list[JournalTurn]:
    return [turn for chunk in chunks_of(turns) for turn in unpack(chunk.data)]


@given(st.integers(0, 1 << 32))
def test_turns_come_out_of_chunks_as_they_went_in(seed: int) -> None:
    turns = journal_turns(RUN, wandering_run(seed))
    assert unpacked(turns) == turns


def test_a_chunk_holds_at_most_64_events_and_names_the_first_and_the_last() -> None:
    turns = journal_turns(RUN, sequential_run(100, b"payload"))
    chunks = list(chunks_of(turns))
    expected = 1
    for chunk in chunks:
        inside = list(unpack(chunk.data))
        assert chunk.first == expected == inside[0].sequence
        assert chunk.last == inside[-1].last_sequence
        assert chunk.offset == inside[0].offset
        assert chunk.last - chunk.first < CHUNK_EVENTS_MAX
        expected = chunk.last + 1
    assert len(chunks) == 5
    assert unpacked(turns) == turns


def test_a_turn_above_the_bounds_is_a_chunk_of_its_own() -> None:
    wide: Turn = tuple(ev.StepCancelled(step=StepKey(f"s{place}")) for place in range(200))
    large: Turn = (ev.RunSucceeded(output=Stored(bytes(CHUNK_BYTES_MAX + 1))),)
    turns = journal_turns(RUN, [(started(),), wide, large])
    assert [(chunk.first, chunk.last) for chunk in chunks_of(turns)] == [
        (1, 1),
        (2, 201),
        (202, 202),
    ]


def test_no_turns_are_no_chunk() -> None:
    assert list(chunks_of([])) == []


@pytest.mark.parametrize("data", [b"", b"\x02abc"])
def test_bytes_that_are_no_chunk_are_refused(data: bytes) -> None:
    with pytest.raises(BrokenChain, match="unknown format"):
        list(unpack(data))


def test_a_chunk_that_was_cut_off_is_refused() -> None:
    [chunk] = chunks_of(journal_turns(RUN, sequential_run(2)))
    for cut in (1, 20, 70):
        with pytest.raises(BrokenChain, match="inside a turn"):
            list(unpack(chunk.data[:-cut]))


def test_a_whole_chain_verifies_and_leads_to_its_end() -> None:
    turns = journal_turns(RUN, sequential_run(3))
    assert check_chain(RUN, TENANT, turns) == (11, turns[-1].chain)


CHANGES: dict[str, Callable[[JournalTurn], JournalTurn]] = {
    "body": lambda turn: replace(turn, body=turn.body + b"\x00"),
    "time": lambda turn: replace(turn, time_ms=turn.time_ms + 1),
    "hash": lambda turn: replace(turn, chain=bytes(32)),
    "number": lambda turn: replace(turn, sequence=turn.sequence + 1),
}


@pytest.mark.parametrize("what", CHANGES)
def test_any_change_to_a_turn_breaks_the_chain(what: str) -> None:
    turns = journal_turns(RUN, sequential_run(3))
    turns[1] = CHANGES[what](turns[1])
    with pytest.raises(BrokenChain):
        check_chain(RUN, TENANT, turns)


def test_a_missing_turn_breaks_the_chain() -> None:
    turns = journal_turns(RUN, sequential_run(3))
    with pytest.raises(BrokenChain, match="has 3 events"):
        check_chain(RUN, TENANT, [turns[0], *turns[2:]])
