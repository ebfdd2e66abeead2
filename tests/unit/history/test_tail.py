"""One partition's tail: what it takes in, what it asks for, where it stops."""

from headrace_core.errors import BrokenChain
from headrace_core.ids import partition_of, slot_of
from headrace_core.run import events as ev
from headrace_history.adapters.record_reader import ProtobufRecords
from headrace_history.app.live import Live
from headrace_history.app.runs_in_memory import RunsInMemory
from headrace_history.app.tail import Tail
from headrace_history.domain.watermark import Watermark
from tests.unit.history.recorded_runs import (
    LOG_ID,
    TENANT,
    LogWriter,
    assigned,
    memory_log,
    ready,
    run_of,
    sequential_run,
    started,
)

FIRST, SECOND = run_of(1, 0), run_of(2, 0)


def tail_at(offset: int = 0, read_to: int = 0) -> tuple[Tail, RunsInMemory]:
    memory = RunsInMemory(10)
    watermark = Watermark(partition=0, log_id=LOG_ID, offset=offset, read_to=read_to)
    return Tail(watermark, memory, Live(), ProtobufRecords()), memory


async def take_all(tail: Tail, writer: LogWriter) -> None:
    records, fault = tail.decode(await writer.log.read(0, tail.position, 1000))
    tail.take(records, 0.0)
    assert fault is None


async def test_a_run_that_begins_in_the_batch_is_not_looked_for() -> None:
    writer = await memory_log(1)
    await writer.run(FIRST, sequential_run(3))
    tail, _ = tail_at()
    records, _ = tail.decode(await writer.log.read(0, 0, 100))
    assert tail.unknown_runs(records) == {}


async def test_a_run_is_looked_for_that_goes_on_or_may_have_been_written() -> None:
    writer = await memory_log(1)
    await writer.run(FIRST, sequential_run(2))
    await writer.turn(SECOND, started())
    going_on, _ = tail_at(offset=2)
    records, _ = going_on.decode(await writer.log.read(0, 2, 100))
    assert going_on.unknown_runs(records) == {FIRST: TENANT}
    replaying, _ = tail_at(read_to=5)
    records, _ = replaying.decode(await writer.log.read(0, 0, 100))
    assert replaying.unknown_runs(records) == {FIRST: TENANT, SECOND: TENANT}


async def test_the_watermark_stays_below_the_first_turn_that_is_not_written() -> None:
    writer = await memory_log(1)
    await writer.turn(FIRST, started())
    await writer.turn(SECOND, started())
    await writer.turn(FIRST, ready("a"), assigned("a"))
    tail, memory = tail_at()
    await take_all(tail, writer)
    mark = tail.watermark()
    assert (mark.offset, mark.epoch, mark.next_seq, mark.read_to) == (1, 0, 0, 4)
    del tail.dirty[FIRST]
    mark = tail.watermark()
    assert (mark.offset, mark.epoch, mark.next_seq) == (2, 0, 1)
    del tail.dirty[SECOND]
    assert tail.watermark().offset == 4
    assert set(memory.runs) == {FIRST, SECOND}


async def test_a_stale_owners_record_is_dropped() -> None:
    writer = await memory_log(1)
    await writer.turn(FIRST, started())
    stale = writer.record(0, TENANT, SECOND, 1, bytes(32), b"")
    await writer.claim_all()
    await writer.append({0: [stale]})
    await writer.turn(FIRST, ready("a"))
    tail, memory = tail_at()
    await take_all(tail, writer)
    assert set(memory.runs) == {FIRST}
    assert (tail.stopped, tail.position) == (None, 5)


async def test_a_record_that_was_copied_from_another_partition_stops_it() -> None:
    writer = await memory_log(2)
    other = run_of(3, 1023)
    assert partition_of(slot_of(other), 2) == 1
    await writer.turn(other, started())
    [_, entry] = await writer.log.read(1, 0, 2)
    tail, _ = tail_at()
    records, fault = tail.decode([entry])
    assert records == []
    assert isinstance(fault, BrokenChain)
    assert "record of partition 1" in fault.message


async def test_what_came_before_the_poison_is_kept_and_nothing_after_it() -> None:
    writer = await memory_log(1)
    await writer.turn(FIRST, started())
    await writer.turn(SECOND, started())
    sequence, _ = writer.runs[FIRST]
    writer.runs[FIRST] = sequence + 1, bytes(32)
    await writer.turn(FIRST, ready("a"))
    await writer.turn(SECOND, ev.RunWaiting())
    tail, memory = tail_at()
    await take_all(tail, writer)
    assert isinstance(tail.stopped, BrokenChain)
    assert tail.position == 3
    assert memory.runs[FIRST].row.sequence == memory.runs[SECOND].row.sequence == 1
    assert tail.watermark().read_to == 3
