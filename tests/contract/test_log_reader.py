"""What all readers share, on each engine: the filter, watermarks, chains and plain errors."""

from dataclasses import dataclass, replace

import pytest

from headrace.event.v1 import envelope_pb2 as pb
from headrace_contracts.codec import encode_body, encode_record
from headrace_core.errors import (
    BrokenChain,
    LogRewound,
    RangeDeleted,
    UnknownEvent,
    WrongLog,
)
from headrace_core.ids import RunId, TenantId
from headrace_core.log.chain import chain_hash
from headrace_core.log.record import Envelope
from headrace_core.run.events import RunResumed, RunWaiting
from headrace_runtime.eventlog.memory import MemoryLog, StaleAppend
from headrace_runtime.eventlog.port import Batch, EventLog
from headrace_runtime.eventlog.reader import (
    Accepted,
    ChainVerifier,
    LogReader,
    Watermark,
    claims_between,
    open_reader,
)
from tests.contract.log_owner import Owner, claim_record, value_record
from tests.contract.log_stores import LogStore

RUN, OTHER_RUN = RunId("run_0000000000000000000001"), RunId("run_0000000000000000000002")


async def read_all(reader: LogReader, limit: int = 2) -> list[Accepted]:
    accepted: list[Accepted] = []
    while batches := await reader.next(limit):
        for batch in batches:
            accepted += batch.records
    return accepted


def values(accepted: list[Accepted]) -> list[str]:
    return [one.record.body.decode() for one in accepted]


@dataclass
class Chain:
    """Records of one run, as its owner would write them."""

    log_id: bytes
    run: RunId | None = RUN
    end: bytes = b""
    sequence: int = 1

    def record(self, seq: int, body: bytes | None = None) -> bytes:
        stored = encode_body([RunWaiting()]) if body is None else body
        number = self.sequence if self.run else 0
        self.sequence += 1
        self.end = chain_hash(self.end, "acme", self.run or "", number, 7, stored)
        envelope = Envelope(
            log_id=self.log_id,
            partition=0,
            epoch=0,
            seq=seq,
            time_ms=7,
            tenant=TenantId("acme"),
            run=self.run,
            sequence=number,
            chain=self.end,
        )
        return encode_record(envelope, stored)


async def store_records(log: EventLog, log_id: bytes, records: list[bytes]) -> None:
    """As the only owner of partition 0."""
    epoch = await log.claim(0, claim_record(log_id, 0, "owner"))
    await log.append([Batch(0, epoch, epoch + 1, records)])


async def test_a_reader_sees_each_record_that_counts_once_and_in_order(
    owner: Owner, rival: Owner, log: EventLog
) -> None:
    for partition in (0, 1):
        await owner.claim(partition)
        await owner.append({partition: [f"a{partition}", f"b{partition}", f"c{partition}"]})
    await rival.claim(0)
    await owner.append({0: ["void"]})
    await rival.append({0: ["d0"]})
    reader = await open_reader(log)
    accepted = await read_all(reader)
    assert [v for v in values(accepted) if v.endswith("0")] == ["a0", "b0", "c0", "d0"]
    assert [v for v in values(accepted) if v.endswith("1")] == ["a1", "b1", "c1"]
    await rival.append({0: ["e0"]})
    assert values(await read_all(reader)) == ["e0"]


async def test_a_reader_goes_on_from_any_watermark(
    owner: Owner, rival: Owner, log: EventLog
) -> None:
    await owner.claim(0)
    await owner.append({0: ["a", "b"]})
    await rival.claim(0)
    await owner.append({0: ["void", "void too"]})
    await rival.append({0: ["c", "d"]})
    reader = await open_reader(log)
    whole = await read_all(reader, limit=100)
    stepping = await open_reader(log)
    while batches := await stepping.next(limit=1):
        taken = [accepted for batch in batches for accepted in batch.records]
        place = batches[0].watermark
        rest = await read_all(await open_reader(log, [place]), limit=100)
        assert [one.offset for one in whole if one.offset >= place.offset] == [
            one.offset for one in rest
        ]
        assert [one.offset for one in taken] == [
            one.offset for one in whole if one.offset == place.offset - 1
        ]


async def test_a_reader_follows_only_the_partitions_that_are_asked_for(
    owner: Owner, log: EventLog
) -> None:
    for partition in (0, 1, 2):
        await owner.claim(partition)
        await owner.append({partition: [f"v{partition}"]})
    reader = await open_reader(log)
    batches = await reader.next(partitions=[2, 0])
    assert [batch.watermark.partition for batch in batches] == [2, 0]
    assert reader.watermarks[1].offset == 0
    assert values(await read_all(reader)) == ["v1"]


async def test_a_watermark_of_another_log_is_refused(log: EventLog) -> None:
    with pytest.raises(WrongLog, match=f"is of log {b'x'.hex() * 16}"):
        await open_reader(log, [Watermark(log_id=b"x" * 16, partition=0)])


async def test_a_watermark_of_a_partition_that_is_not_there_is_refused(
    log: EventLog, log_id: bytes
) -> None:
    with pytest.raises(WrongLog, match="watermark of partition 7, this log has 4 partitions"):
        await open_reader(log, [Watermark(log_id=log_id, partition=7)])


async def test_a_record_of_another_log_stops_the_reader(log: EventLog, log_id: bytes) -> None:
    chain, foreign = Chain(log_id), Chain(b"y" * 16)
    await store_records(log, log_id, [chain.record(0), foreign.record(1)])
    reader = await open_reader(log)
    assert len((await reader.next())[0].records) == 1
    with pytest.raises(WrongLog, match="offset 2 of partition 0 belongs to log 7979"):
        await reader.next()


async def test_a_log_that_ends_before_the_watermark_was_rewound(
    store: LogStore, owner: Owner, log: EventLog
) -> None:
    await owner.claim(0)
    await owner.append({0: ["a", "b", "c"]})
    reader = await open_reader(log)
    await read_all(reader)
    await store.rewind(0, 2)
    with pytest.raises(LogRewound):
        await reader.next()
    with pytest.raises(LogRewound):
        await open_reader(log, [reader.watermarks[0]])


async def test_a_log_that_was_rewound_and_written_on_is_noticed_by_the_last_record(
    store: LogStore, owner: Owner, log: EventLog, log_id: bytes
) -> None:
    await owner.claim(0)
    await owner.append({0: ["a", "b", "c"]})
    reader = await open_reader(log)
    await read_all(reader)
    assert await open_reader(log, [reader.watermarks[0]])
    await store.rewind(0, 2)
    other = Owner("other", log, log_id, owner.notes)
    await other.claim(0)
    await other.append({0: ["x", "y", "z"]})
    with pytest.raises(LogRewound, match="no longer holds the record at offset 3 that was read"):
        await open_reader(log, [reader.watermarks[0]])


async def test_a_reader_is_told_what_was_deleted(owner: Owner, log: EventLog) -> None:
    await owner.claim(0)
    await owner.append({0: ["a", "b", "c"]})
    reader = await open_reader(log)
    await log.delete_below(0, 2)
    with pytest.raises(RangeDeleted, match="partition 0 begins at offset 2"):
        await reader.next()


async def test_bytes_that_are_no_record_stop_the_reader_after_what_came_before(
    log: EventLog, log_id: bytes
) -> None:
    chain = Chain(log_id)
    await store_records(log, log_id, [chain.record(0), b"\xff\xff", chain.record(1)])
    reader = await open_reader(log)
    assert [one.offset for one in (await reader.next())[0].records] == [1]
    for _ in range(2):
        with pytest.raises(BrokenChain, match="offset 2 of partition 0: a record is not readable"):
            await reader.next()
    assert reader.watermarks[0].offset == 2


async def test_a_record_of_another_partition_stops_the_reader(log: EventLog, log_id: bytes) -> None:
    await store_records(log, log_id, [value_record(log_id, 3, 0, 0, "misplaced")])
    reader = await open_reader(log)
    with pytest.raises(BrokenChain, match="offset 1 of partition 0 holds a record of partition 3"):
        await reader.next()


async def test_an_event_of_an_unknown_kind_is_named_with_its_place(
    log: EventLog, log_id: bytes
) -> None:
    # A field of the oneof that no version has yet.
    future = pb.Body(run_events=[pb.RunEvent.FromString(b"\xfa\x3f\x00")]).SerializeToString()
    await store_records(log, log_id, [Chain(log_id).record(0, future)])
    (accepted,) = await read_all(await open_reader(log))
    with pytest.raises(UnknownEvent, match="offset 1 of partition 0: a record holds an event"):
        accepted.body()


async def test_a_body_is_decoded_on_demand(log: EventLog, log_id: bytes) -> None:
    await store_records(log, log_id, [Chain(log_id).record(0)])
    (accepted,) = await read_all(await open_reader(log))
    assert accepted.body().run_events == (RunWaiting(),)
    assert accepted.envelope.run == RUN


async def test_chains_of_runs_and_of_the_partition_are_verified(
    log: EventLog, log_id: bytes
) -> None:
    runs, partition = [Chain(log_id), Chain(log_id, OTHER_RUN)], Chain(log_id, None)
    chains = [runs[0], runs[1], partition, runs[0], partition, runs[1], runs[0]]
    await store_records(log, log_id, [chain.record(seq) for seq, chain in enumerate(chains)])
    verifier = ChainVerifier(complete=True)
    reader = await open_reader(log, verifier=verifier)
    assert len(await read_all(reader)) == len(chains)
    assert verifier.ends[0, RUN] == runs[0].end
    assert verifier.ends[0, None] == partition.end


@pytest.mark.parametrize("damage", ["changed", "dropped", "swapped", "added"])
@pytest.mark.parametrize("whose", [RUN, None])
async def test_a_changed_dropped_swapped_or_added_record_breaks_the_chain(
    damage: str, whose: RunId | None
) -> None:
    log_id = b"z" * 16
    log = MemoryLog(log_id, 1, StaleAppend.REFUSES)
    chain = Chain(log_id, whose)
    bodies = [encode_body([event]) for event in (RunWaiting(), RunResumed(), RunWaiting())]
    records = [chain.record(seq, body) for seq, body in enumerate(bodies)]
    if damage == "changed":
        records[1] = replaced_body(records[1], encode_body([RunWaiting()]))
    elif damage == "dropped":
        records = [records[0], with_seq(records[2], 1)]
    elif damage == "swapped":
        records[1:] = [with_seq(records[2], 1), with_seq(records[1], 2)]
    else:
        records.insert(1, with_seq(records[0], 1))
        records[2:] = [with_seq(record, seq) for seq, record in enumerate(records[2:], 2)]
    await store_records(log, log_id, records)
    reader = await open_reader(log, verifier=ChainVerifier(complete=True))
    assert [one.offset for one in (await reader.next())[0].records] == [1]
    with pytest.raises(BrokenChain, match=f"the chain of {whose or 'the partition itself'}"):
        await reader.next()


def replaced_body(record: bytes, body: bytes) -> bytes:
    changed = pb.Record.FromString(record)
    changed.body = body
    return changed.SerializeToString()


def with_seq(record: bytes, seq: int) -> bytes:
    changed = pb.Record.FromString(record)
    changed.seq = seq
    return changed.SerializeToString()


async def test_a_verifier_that_begins_in_the_middle_trusts_the_first_record_of_a_run() -> None:
    log_id = b"z" * 16
    log = MemoryLog(log_id, 1, StaleAppend.REFUSES)
    chain = Chain(log_id)
    records = [chain.record(seq) for seq in range(3)]
    await store_records(log, log_id, records)
    begin = Watermark(log_id=log_id, partition=0, offset=2, epoch=0, next_seq=1)
    reader = await open_reader(log, [begin], verifier=ChainVerifier())
    assert len(await read_all(reader)) == 2
    with pytest.raises(BrokenChain):
        await (await open_reader(log, [begin], verifier=ChainVerifier(complete=True))).next()


async def test_the_claims_in_a_gap_are_found(owner: Owner, rival: Owner, log: EventLog) -> None:
    await owner.claim(0)
    await owner.append({0: ["a", "b"]})
    await rival.claim(0)
    await owner.claim(0)
    assert await claims_between(log, 0, 1, 3) == []
    assert await claims_between(log, 0, 1, 5) == [3, 4]
    assert await claims_between(log, 0, 3, 4) == [3]
    assert await claims_between(log, 0, 3, 3) == []
    with pytest.raises(LogRewound, match="partition 0 ends at offset 5, but 9 was acknowledged"):
        await claims_between(log, 0, 1, 9)


async def test_a_fault_in_one_partition_does_not_lose_what_was_read_of_the_others(
    owner: Owner, log: EventLog, log_id: bytes
) -> None:
    await owner.claim(1)
    await owner.append({1: ["good"]})
    await store_records(log, log_id, [b"\xff"])
    reader = await open_reader(log)
    batches = await reader.next()
    assert [one.offset for batch in batches for one in batch.records] == [1]
    assert replace(reader.watermarks[0], last=b"", offset=0, epoch=-1) == Watermark(
        log_id=log_id, partition=0
    )
    with pytest.raises(BrokenChain):
        await reader.next()
