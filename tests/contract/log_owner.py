"""An owner as the architecture describes it, small enough to be judged by eye.

Claim, read through to the own claim, append with the claim's epoch, act only on what readers will
accept. What it wrote and acted upon is noted for the checks.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace_contracts.codec import decode_record, encode_record
from headrace_core.errors import Fenced, UnclearAppend
from headrace_core.ids import TenantId
from headrace_core.log.filter import LogFilter
from headrace_core.log.record import Envelope
from headrace_runtime.eventlog.port import Batch, Entry, EventLog
from headrace_runtime.eventlog.reader import claims_between

PAGE = 500


@dataclass(frozen=True, slots=True)
class Write:
    """What one append meant to store in one partition; `call` is the same for all of a call."""

    call: str
    partition: int
    values: tuple[str, ...]


@dataclass(slots=True)
class Notes:
    """Of all owners together. `acted` is (partition, offset, value)."""

    acknowledged: list[tuple[Write, int]] = field(default_factory=list[tuple[Write, int]])
    refused: list[Write] = field(default_factory=list[Write])
    unclear: list[Write] = field(default_factory=list[Write])
    acted: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    claims: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    gaps_survived: int = 0
    fenced_by_gap: int = 0


@dataclass(slots=True)
class Place:
    """Where an owner stands in a partition that it owns."""

    epoch: int
    next_offset: int
    seq: int = 0


@dataclass(slots=True)
class _Fold:
    """What an owner has read of a partition, through the filter; goes on at the next claim."""

    accept: LogFilter
    offset: int = 0
    values: list[str] = field(default_factory=list[str])

    def take(self, entry: Entry) -> str:
        record = decode_record(entry.record)
        value = record.body.decode()
        if self.accept.accept(entry.offset, record.envelope):
            self.values.append(value)
        self.offset = entry.offset + 1
        return value


def claim_record(log_id: bytes, partition: int, owner: str) -> bytes:
    return encode_record(_envelope(log_id, partition, 0, 0, claim=True), owner.encode())


def value_record(log_id: bytes, partition: int, epoch: int, seq: int, value: str) -> bytes:
    return encode_record(_envelope(log_id, partition, epoch, seq), value.encode())


def value_of(record: bytes) -> str:
    return decode_record(record).body.decode()


class Owner:
    def __init__(self, name: str, log: EventLog, log_id: bytes, notes: Notes) -> None:
        self.name = name
        self.places: dict[int, Place] = {}
        self.seen: dict[int, list[str]] = {}
        self._log = log
        self._log_id = log_id
        self.notes = notes
        self._folds: dict[int, _Fold] = {}
        self._calls = 0
        self._values = 0

    async def claim(self, partition: int) -> None:
        """Claim and fold everything before the claim; UnclearAppend leaves nothing owned."""
        self.places.pop(partition, None)
        nonce = f"{self.name}#{self._next_call()}"
        epoch = await self._log.claim(partition, claim_record(self._log_id, partition, nonce))
        self.notes.claims.append((partition, epoch, nonce))
        fold = self._folds.setdefault(partition, _Fold(LogFilter(self._log_id)))
        own = ""
        while fold.offset <= epoch:
            limit = min(PAGE, epoch + 1 - fold.offset)
            for entry in await self._log.read(partition, fold.offset, limit):
                own = fold.take(entry)
        assert own == nonce, "the record at the claimed offset is the own claim"
        self.seen[partition] = list(fold.values)
        self.places[partition] = Place(epoch, epoch + 1)

    async def append(self, values: Mapping[int, Sequence[str]]) -> Mapping[int, bool]:
        """Per partition, whether the owner acted. One that is lost is not owned any more."""
        call = f"{self.name}#{self._next_call()}"
        writes = {number: Write(call, number, tuple(some)) for number, some in values.items()}
        batches = [self._batch(write) for write in writes.values()]
        try:
            acknowledged = await self._log.append(batches)
        except Fenced as fenced:
            self.notes.refused.extend(writes.values())
            # A refusal that named nothing would leave the owner in place, refused again and again.
            self._forget(fenced.partitions)
            return dict.fromkeys(values, False)
        except UnclearAppend:
            self.notes.unclear.extend(writes.values())
            self._forget(values)
            return dict.fromkeys(values, False)
        acted: dict[int, bool] = {}
        for ack in acknowledged:
            write = writes[ack.partition]
            self.notes.acknowledged.append((write, ack.base_offset))
            acted[ack.partition] = await self._judge(write, ack.base_offset)
        return acted

    async def _judge(self, write: Write, base: int) -> bool:
        place = self.places[write.partition]
        if base < place.next_offset:
            self._forget([write.partition])
            return False
        if base > place.next_offset:
            if await self.has_been_overtaken(write, base):
                self.notes.fenced_by_gap += 1
                self._forget([write.partition])
                return False
            self.notes.gaps_survived += 1
        self.notes.acted.extend(
            (write.partition, offset, value) for offset, value in enumerate(write.values, base)
        )
        place.next_offset = base + len(write.values)
        place.seq += len(write.values)
        return True

    async def has_been_overtaken(self, write: Write, base: int) -> bool:
        """Read the gap before an acknowledged write: a claim in it ends the ownership."""
        first = self.places[write.partition].next_offset
        return bool(await claims_between(self._log, write.partition, first, base))

    def new_value(self) -> str:
        self._values += 1
        return f"{self.name}.{self._values}"

    def _batch(self, write: Write) -> Batch:
        place = self.places[write.partition]
        records = [
            value_record(self._log_id, write.partition, place.epoch, seq, value)
            for seq, value in enumerate(write.values, place.seq)
        ]
        return Batch(write.partition, place.epoch, place.next_offset, records)

    def _forget(self, partitions: Sequence[int] | Mapping[int, object]) -> None:
        for partition in partitions:
            self.places.pop(partition, None)

    def _next_call(self) -> int:
        self._calls += 1
        return self._calls


def _envelope(
    log_id: bytes, partition: int, epoch: int, seq: int, *, claim: bool = False
) -> Envelope:
    return Envelope(
        log_id=log_id,
        partition=partition,
        epoch=epoch,
        seq=seq,
        time_ms=0,
        tenant=TenantId(""),
        run=None,
        sequence=0,
        chain=hashlib.sha256(f"{epoch} {seq}".encode()).digest(),
        claim=claim,
    )
