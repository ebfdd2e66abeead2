"""Logs of released versions fold to what they folded to when they were written.

A failure here means that a version reads old logs otherwise than the one that wrote them: events
and their appliers are final once released. A change is a new event with an applier of its own.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, get_args

import pytest

from headrace_contracts.codec import PARTITION_EVENTS, RUN_EVENTS, decode_body, encode_body
from headrace_core.ids import RunId, TenantId
from headrace_core.log.chain import chain_hash
from headrace_core.partition.events import Message
from headrace_core.run.apply import APPLIERS
from headrace_core.run.freeze import state_hash
from headrace_core.run.replay import StoredTurn
from headrace_core.run.status import RUN_TERMINAL, RunStatus
from tests.replay.golden_log import (
    FOLDER,
    PARTITIONS,
    GoldenLog,
    GoldenPartition,
    folded,
    folded_partition,
    partition_hash,
    partition_kinds,
    read_golden,
    read_golden_partition,
    write_golden,
    write_golden_partition,
)
from tests.replay.scenes import SCENES

GOLDENS = sorted(FOLDER.glob("*.jsonl"))
OF_PARTITIONS = sorted(PARTITIONS.glob("*.jsonl"))
PINNED = frozenset(
    {
        *("RunStarted", "RunWaiting", "RunResumed", "RunSuspended", "RunSucceeded", "RunFailed"),
        *("RunCancelRequested", "RunCancelled", "RunCompensating", "RunCompensated"),
        *("StepReady", "StepAssigned", "StepWaiting", "StepRetryScheduled", "StepSucceeded"),
        *("StepFailed", "StepSkipped", "StepCancelled", "StepCompensating"),
        *("ItemsExpanded", "ItemsRefilled", "ApprovalRequested", "ApprovalDecided", "TimerFired"),
    }
)
"""Kinds of release 0.1 that goldens hold. Names are only ever added."""


@pytest.fixture(params=GOLDENS, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest) -> GoldenLog:
    return read_golden(request.param)


@pytest.fixture(params=OF_PARTITIONS, ids=lambda path: path.stem)
def of_partition(request: pytest.FixtureRequest) -> GoldenPartition:
    return read_golden_partition(request.param)


def test_every_record_folds_to_the_state_that_was_recorded(golden: GoldenLog) -> None:
    for record, state in folded(golden):
        assert state_hash(state) == record.state_hash, f"after event {state.sequence}"


def test_the_chain_runs_through_all_records_and_no_event_is_missing(golden: GoldenLog) -> None:
    chain, following = b"", 1
    for record in golden.records:
        assert record.sequence == following
        fields = (golden.tenant, golden.run, record.sequence, record.time_ms, record.body)
        chain = chain_hash(chain, *fields)
        assert chain == record.chain
        following += len(decode_body(record.body).run_events)


def test_events_are_written_with_the_very_bytes_that_were_read(golden: GoldenLog) -> None:
    for record in golden.records:
        assert encode_body(decode_body(record.body).run_events) == record.body


def test_a_golden_names_the_kinds_in_it_and_ends_where_nothing_follows(golden: GoldenLog) -> None:
    events = [event for one in golden.records for event in decode_body(one.body).run_events]
    assert sorted({type(event).__name__ for event in events}) == list(golden.kinds)
    *_, (_, state) = folded(golden)
    assert state.status in {*RUN_TERMINAL, RunStatus.SUSPENDED}


def test_every_pinned_kind_is_known_and_recorded() -> None:
    recorded = {kind for path in GOLDENS for kind in read_golden(path).kinds}
    assert {kind.__name__ for kind in APPLIERS} >= PINNED
    assert recorded >= PINNED


def test_a_partition_folds_to_the_states_that_were_recorded(of_partition: GoldenPartition) -> None:
    for record, state in folded_partition(of_partition):
        assert partition_hash(state) == record.state_hash, f"at {record.time_ms}"


def test_events_of_a_partition_are_written_with_the_very_bytes_that_were_read(
    of_partition: GoldenPartition,
) -> None:
    bodies = [(record.body, decode_body(record.body)) for record in of_partition.records]
    assert all(encode_body([], body.partition_events) == stored for stored, body in bodies)
    events = [event for _, body in bodies for event in body.partition_events]
    assert sorted(partition_kinds(events)) == list(of_partition.kinds)


def test_every_kind_of_event_and_of_message_is_recorded() -> None:
    """What is missing needs a case or a scene that leads to it: see tests/replay/scenes.py."""
    recorded = {kind for path in GOLDENS for kind in read_golden(path).kinds}
    recorded |= {kind for path in OF_PARTITIONS for kind in read_golden_partition(path).kinds}
    known: Iterable[Any] = (*RUN_EVENTS, *PARTITION_EVENTS, *get_args(Message))
    assert sorted({kind.__name__ for kind in known} - recorded) == []


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_still_plays_and_its_recording_is_there(name: str) -> None:
    """Today's decisions may differ from those that were recorded; they fold all the same."""
    world = SCENES[name]()
    for run, events in world.events.items():
        assert world.runs[run].sequence == len(events)
    for partition, owned in world.owned.items():
        assert world.refolded(partition) == owned.state
    assert list(FOLDER.glob(f"scenes-{name}-*.jsonl"))


def test_a_fold_that_went_otherwise_would_be_seen() -> None:
    golden = read_golden(FOLDER / "patterns-sequence-1.jsonl")
    changed = replace(golden.records[0], time_ms=golden.records[0].time_ms + 1)
    first, state = next(folded(replace(golden, records=[changed])))
    assert state_hash(state) != first.state_hash


def test_what_is_recorded_is_read_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    golden = read_golden(FOLDER / "patterns-sequence-1.jsonl")
    turns = [
        StoredTurn(0, one.time_ms, one.sequence, b"", decode_body(one.body).run_events)
        for one in golden.records
    ]
    path = tmp_path_factory.mktemp("golden") / "again.jsonl"
    write_golden(path, RunId(golden.run), TenantId(golden.tenant), turns)
    assert read_golden(path) == golden


def test_a_partition_that_folded_otherwise_would_be_seen(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    golden = read_golden_partition(OF_PARTITIONS[0])
    records = [(one.time_ms, decode_body(one.body).partition_events) for one in golden.records]
    path = tmp_path_factory.mktemp("golden") / "again.jsonl"
    write_golden_partition(path, golden.partition, records)
    assert read_golden_partition(path) == golden
    later = [(time_ms + 1, events) for time_ms, events in records]
    write_golden_partition(path, golden.partition, later)
    again = read_golden_partition(path)
    assert again.records[-1].state_hash != golden.records[-1].state_hash
