"""Logs of released versions fold to what they folded to when they were written.

A failure here means that a version reads old logs otherwise than the one that wrote them: events
and their appliers are final once released. A change is a new event with an applier of its own.
"""

from dataclasses import replace

import pytest

from headrace_contracts.codec import decode_body, encode_body
from headrace_core.ids import RunId, TenantId
from headrace_core.log.chain import chain_hash
from headrace_core.run.apply import APPLIERS
from headrace_core.run.freeze import state_hash
from headrace_core.run.replay import StoredTurn
from headrace_core.run.status import RUN_TERMINAL, RunStatus
from tests.replay.golden_log import FOLDER, GoldenLog, folded, read_golden, write_golden

GOLDENS = sorted(FOLDER.glob("*.jsonl"))
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
