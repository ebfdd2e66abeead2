"""The event log in memory: what unit tests and the deterministic simulator run on.

Without clock or chance. One object is the store itself, shared by all who would connect to it. It
treats a stale append as one of the two real kinds of store does, and fails as `Faults` says.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial

from headrace_core.errors import Fenced, UnclearAppend
from headrace_runtime.eventlog.port import Appended, Batch, Entry, LogDescription
from headrace_runtime.eventlog.refusals import check_batches, check_size, range_deleted, rewound


class StaleAppend(Enum):
    REFUSES = "refuses"
    """Like PostgreSQL: heads are checked, a mismatch raises Fenced and stores nothing."""
    VOIDS = "voids"
    """Like Kafka: whatever comes is stored at the end and acknowledged with its offset."""


class Fate(Enum):
    """What becomes of one append or claim. All but LANDS and DOUBLED raise UnclearAppend to the
    caller."""

    LANDS = auto()
    LOST = auto()
    ACK_LOST = auto()
    DELAYED = auto()
    """Lands right after the next claim of one of its partitions, or at `land_delayed`."""
    DOUBLED = auto()
    """Lands, and lands once more: what is between here and the store repeated it by itself. A log
    that looks at heads refuses the second one; a claim is never doubled."""


async def _pass_on() -> None:
    """Others run in between, in the loop's own order."""
    await asyncio.sleep(0)


@dataclass(slots=True, kw_only=True)
class Faults:
    """Chosen by a test or by the simulator's seed. `pause` comes before a record is stored and
    again before it is acknowledged: the two moments at which others may overtake."""

    of_append: Callable[[Sequence[Batch]], Fate] = lambda batches: Fate.LANDS
    of_claim: Callable[[int], Fate] = lambda partition: Fate.LANDS
    pause: Callable[[], Awaitable[None]] = _pass_on


@dataclass(slots=True)
class _Partition:
    """`claims` are offsets; only a log that refuses looks at them."""

    records: list[bytes] = field(default_factory=list[bytes])
    first: int = 0
    claims: list[int] = field(default_factory=list[int])

    @property
    def end(self) -> int:
        return self.first + len(self.records)

    @property
    def epoch(self) -> int:
        return self.claims[-1] if self.claims else -1


@dataclass(frozen=True, slots=True)
class _Delayed:
    partitions: frozenset[int]
    land: Callable[[], object]


class MemoryLog:
    """EventLog. `log_id` is 16 bytes, `partitions` a power of two."""

    def __init__(
        self,
        log_id: bytes,
        partitions: int,
        stale_append: StaleAppend,
        faults: Faults | None = None,
    ) -> None:
        assert partitions > 0 and not partitions & (partitions - 1)
        self._log = LogDescription(log_id, partitions)
        self._refuses = stale_append is StaleAppend.REFUSES
        self._faults = faults or Faults()
        self._partitions = [_Partition() for _ in range(partitions)]
        self._delayed: list[_Delayed] = []

    async def describe(self) -> LogDescription:
        return self._log

    async def claim(self, partition: int, record: bytes) -> int:
        check_size(partition, record)
        fate = self._faults.of_claim(partition)
        await self._faults.pause()
        epoch = -1
        if fate in (Fate.LANDS, Fate.DOUBLED, Fate.ACK_LOST):
            epoch = self._claim(partition, record)
        elif fate is Fate.DELAYED:
            late = partial(self._claim, partition, record)
            self._delayed.append(_Delayed(frozenset({partition}), late))
        await self._faults.pause()
        if fate in (Fate.LANDS, Fate.DOUBLED):
            return epoch
        raise UnclearAppend(f"the claim of partition {partition} was not acknowledged")

    async def append(self, batches: Sequence[Batch]) -> Sequence[Appended]:
        check_batches(batches, len(self._partitions))
        partitions = [batch.partition for batch in batches]
        fate = self._faults.of_append(batches)
        sent = [replace(batch, records=tuple(batch.records)) for batch in batches]
        await self._faults.pause()
        if fate in (Fate.LANDS, Fate.DOUBLED):
            appended = self._append(sent)
            if fate is Fate.DOUBLED:
                with suppress(Fenced):
                    self._append(sent)
            await self._faults.pause()
            return appended
        if fate is Fate.ACK_LOST:
            # A refusal is an answer too, and is lost as well.
            with suppress(Fenced):
                self._append(sent)
        elif fate is Fate.DELAYED:
            late = partial(self._append, sent)
            self._delayed.append(_Delayed(frozenset(partitions), late))
        await self._faults.pause()
        raise UnclearAppend(f"an append to partitions {partitions} was not acknowledged")

    async def read(self, partition: int, offset: int, limit: int) -> Sequence[Entry]:
        found = self._partitions[partition]
        if offset < found.first:
            raise range_deleted(partition, offset, found.first)
        if offset > found.end:
            raise rewound(partition, offset, found.end)
        records = found.records[offset - found.first : offset - found.first + limit]
        return [Entry(number, record) for number, record in enumerate(records, offset)]

    async def read_many(
        self, offsets: Sequence[tuple[int, int]], limit: int
    ) -> Sequence[tuple[int, Sequence[Entry]]]:
        return [
            (partition, await self.read(partition, offset, limit)) for partition, offset in offsets
        ]

    async def ends(self) -> Sequence[int]:
        return [partition.end for partition in self._partitions]

    async def delete_below(self, partition: int, offset: int) -> None:
        found = self._partitions[partition]
        if offset > found.end:
            raise rewound(partition, offset, found.end)
        if offset > found.first:
            del found.records[: offset - found.first]
            found.first = offset

    async def close(self) -> None:
        """Others may still use the store."""

    def land_delayed(self, partition: int | None = None) -> None:
        """What was DELAYED (and concerns this partition) lands now, in the order of the calls."""
        waiting, self._delayed = self._delayed, []
        for delayed in waiting:
            if partition is not None and partition not in delayed.partitions:
                self._delayed.append(delayed)
                continue
            # Where it is refused, nobody waits for the answer any more.
            with suppress(Fenced):
                delayed.land()

    def rewind(self, partition: int, end: int) -> None:
        """As if restored from a backup that ended there."""
        found = self._partitions[partition]
        assert found.first <= end <= found.end
        del found.records[end - found.first :]
        found.claims = [offset for offset in found.claims if offset < end]

    def _claim(self, partition: int, record: bytes) -> int:
        found = self._partitions[partition]
        epoch = found.end
        found.claims.append(epoch)
        found.records.append(record)
        self.land_delayed(partition)
        return epoch

    def _append(self, batches: Sequence[Batch]) -> Sequence[Appended]:
        if self._refuses:
            self._refuse_stale(batches)
        appended: list[Appended] = []
        for batch in batches:
            found = self._partitions[batch.partition]
            appended.append(Appended(batch.partition, found.end))
            found.records.extend(batch.records)
        return appended

    def _refuse_stale(self, batches: Sequence[Batch]) -> None:
        stale = [
            batch.partition
            for batch in batches
            if self._partitions[batch.partition].epoch != batch.epoch
            or self._partitions[batch.partition].end != batch.next_offset
        ]
        if stale:
            raise Fenced(f"the owner of partitions {stale} is stale: nothing was stored", stale)
