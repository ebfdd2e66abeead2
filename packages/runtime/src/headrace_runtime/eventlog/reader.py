"""What all readers of the log share: follow partitions from watermarks on, through the filter.

A reader stops at the first record that it cannot take and says where and why; what came before is
handed out first. Its watermarks may be stored in the transaction that stores what was derived.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace_contracts.codec import decode_body, decode_record
from headrace_core.errors import BrokenChain, LogError, LogRewound, WrongLog
from headrace_core.ids import RunId
from headrace_core.log.chain import chain_hash
from headrace_core.log.filter import LogFilter
from headrace_core.log.record import Body, Envelope, Record
from headrace_runtime.eventlog.port import Entry, EventLog

READ_RECORDS = 1_000
NOTHING_READ = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """Everything below `offset` was taken in; the filter stands at (`epoch`, `next_seq`).

    `last` is the SHA-256 of the record at `offset` - 1 as it was read, accepted or not: the only
    way to notice a log that was restored from an older copy and written on.
    """

    log_id: bytes
    partition: int
    offset: int = 0
    epoch: int = -1
    next_seq: int = 0
    last: bytes = NOTHING_READ


@dataclass(frozen=True, slots=True)
class Accepted:
    """A record that counts. Its body is decoded on demand."""

    partition: int
    offset: int
    record: Record

    @property
    def envelope(self) -> Envelope:
        return self.record.envelope

    def body(self) -> Body:
        """Raises UnknownEvent or BrokenChain, with the place of the record."""
        try:
            return decode_body(self.record.body)
        except LogError as fault:
            raise _located(fault, self.partition, self.offset) from fault


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """Accepted records of one partition in order, and the watermark after them. Without records
    there were only claims or void ones."""

    records: Sequence[Accepted]
    watermark: Watermark


@dataclass(slots=True)
class ChainVerifier:
    """Checks that each record continues the chain of its run, or of the partition.

    A verifier that saw a partition from its beginning or knows every open chain is `complete`:
    then a run may only begin with its first event. Otherwise it takes the first record that it
    sees of a run on trust. It keeps 32 bytes per run.
    """

    complete: bool = False
    ends: dict[tuple[int, RunId | None], bytes] = field(
        default_factory=dict[tuple[int, RunId | None], bytes]
    )

    def verify(self, accepted: Accepted) -> None:
        """Raises BrokenChain."""
        envelope = accepted.envelope
        chain = accepted.partition, envelope.run
        before = self.ends.get(chain)
        if before is None and (self.complete or envelope.sequence == 1):
            before = b""
        if before is not None:
            expected = chain_hash(
                before,
                envelope.tenant,
                envelope.run or "",
                envelope.sequence,
                envelope.time_ms,
                accepted.record.body,
            )
            if expected != envelope.chain:
                whose = envelope.run or "the partition itself"
                raise BrokenChain(
                    f"offset {accepted.offset} of partition {accepted.partition} does not "
                    f"continue the chain of {whose}: a record was changed, dropped or added"
                )
        self.ends[chain] = envelope.chain


class LogReader:
    """Made by `open_reader`. `watermarks` are where it stands, by partition."""

    def __init__(
        self, log: EventLog, watermarks: Iterable[Watermark], verifier: ChainVerifier | None
    ) -> None:
        self._log = log
        self._verifier = verifier
        self._watermarks = {watermark.partition: watermark for watermark in watermarks}
        self._fault: LogError | None = None

    @property
    def watermarks(self) -> Mapping[int, Watermark]:
        return self._watermarks

    async def next(
        self, limit: int = READ_RECORDS, partitions: Iterable[int] | None = None
    ) -> Sequence[ReadBatch]:
        """One round trip: up to `limit` records of each partition that has news; empty at the
        end of all of them.

        Raises WrongLog, LogRewound, RangeDeleted or BrokenChain, once everything before the
        record in question has been handed out, and then again at each call.
        """
        if self._fault is not None:
            raise self._fault
        wanted = self._watermarks if partitions is None else partitions
        offsets = [(number, self._watermarks[number].offset) for number in wanted]
        batches = [
            self._take(number, entries)
            for number, entries in await self._log.read_many(offsets, limit)
            if entries
        ]
        if self._fault is not None and not any(batch.records for batch in batches):
            raise self._fault
        return batches

    def _take(self, partition: int, entries: Sequence[Entry]) -> ReadBatch:
        before = self._watermarks[partition]
        accept = LogFilter(before.log_id, before.epoch, before.next_seq)
        records: list[Accepted] = []
        taken: Entry | None = None
        for entry in entries:
            stood = accept.epoch, accept.next_seq
            try:
                record = _decode(partition, entry)
                if accept.accept(entry.offset, record.envelope):
                    accepted = Accepted(partition, entry.offset, record)
                    if self._verifier is not None:
                        self._verifier.verify(accepted)
                    records.append(accepted)
            except LogError as fault:
                accept.epoch, accept.next_seq = stood
                self._fault = self._fault or fault
                break
            taken = entry
        if taken is not None:
            self._watermarks[partition] = replace(
                before,
                offset=taken.offset + 1,
                epoch=accept.epoch,
                next_seq=accept.next_seq,
                last=hashlib.sha256(taken.record).digest(),
            )
        return ReadBatch(records, self._watermarks[partition])


async def open_reader(
    log: EventLog,
    watermarks: Sequence[Watermark] | None = None,
    *,
    verifier: ChainVerifier | None = None,
) -> LogReader:
    """A reader from these watermarks on, or from the beginning of every partition.

    Raises WrongLog when a watermark names another log or a partition that it does not have,
    LogRewound when the log no longer holds what was read up to there, RangeDeleted.
    """
    description = await log.describe()
    if watermarks is None:
        watermarks = [
            Watermark(log_id=description.log_id, partition=number)
            for number in range(description.partitions)
        ]
    for watermark in watermarks:
        if watermark.log_id != description.log_id:
            raise WrongLog(
                f"the watermark of partition {watermark.partition} is of log "
                f"{watermark.log_id.hex()}, this is log {description.log_id.hex()}: point the "
                "reader at its own log, or rebuild it from this one"
            )
        if not 0 <= watermark.partition < description.partitions:
            raise WrongLog(
                f"there is a watermark of partition {watermark.partition}, this log has "
                f"{description.partitions} partitions: point the reader at its own log"
            )
    await _refuse_rewound(log, watermarks)
    return LogReader(log, watermarks, verifier)


async def claims_between(log: EventLog, partition: int, first: int, last: int) -> Sequence[int]:
    """Offsets of the claims in the gap from `first` to below `last`, both of which an owner knows
    from its own acknowledgements.

    Raises LogRewound when the gap is not there any more, and RangeDeleted when it was deleted,
    which only a newer owner can have done.
    """
    claims: list[int] = []
    offset = first
    while offset < last:
        entries = await log.read(partition, offset, min(last - offset, READ_RECORDS))
        if not entries:
            raise LogRewound(
                f"partition {partition} ends at offset {offset}, but {last} was acknowledged"
            )
        claims += [e.offset for e in entries if _decode(partition, e).envelope.claim]
        offset = entries[-1].offset + 1
    return claims


async def _refuse_rewound(log: EventLog, watermarks: Sequence[Watermark]) -> None:
    """Offsets alone do not show that a log was restored from an older copy and written on."""
    known = [watermark for watermark in watermarks if watermark.last != NOTHING_READ]
    if not known:
        return
    found = dict(await log.read_many([(one.partition, one.offset - 1) for one in known], 1))
    for watermark in known:
        entries = found[watermark.partition]
        if not entries or hashlib.sha256(entries[0].record).digest() != watermark.last:
            raise LogRewound(
                f"partition {watermark.partition} no longer holds the record at offset "
                f"{watermark.offset - 1} that was read: the log was restored from an older copy. "
                "Rebuild what was made from it."
            )


def _decode(partition: int, entry: Entry) -> Record:
    try:
        record = decode_record(entry.record)
    except LogError as fault:
        raise _located(fault, partition, entry.offset) from fault
    if record.envelope.partition != partition:
        raise BrokenChain(
            f"offset {entry.offset} of partition {partition} holds a record of partition "
            f"{record.envelope.partition}: it was copied there"
        )
    return record


def _located(fault: LogError, partition: int, offset: int) -> LogError:
    return type(fault)(f"offset {offset} of partition {partition}: {fault.message}")
