"""Drafts to records, and the one append of a loop pass.

An owner acts on a batch only if readers will accept it: the acknowledged base offset is the one
it expected, or the gap before it holds no claim. Anything else ends the ownership.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_contracts.codec import encode_body, encode_record
from headrace_core.errors import Fenced, HeadraceError, WrongLog
from headrace_core.log.record import RECORD_BYTES_MAX
from headrace_runtime.eventlog.port import Appended, Batch, EventLog, StoreFull
from headrace_runtime.eventlog.reader import claims_between
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Catalogue
from headrace_scheduler.app.turns import Draft
from headrace_scheduler.domain.decision import RunTurn


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a partition is not owned any more, and whether to claim it again if the lease holds.
    `told` is what callers may know of it."""

    partition: int
    reason: str
    claim_again: bool = True
    told: str = ""


@dataclass(slots=True)
class _Writing:
    partition: OwnedPartition
    records: list[bytes] = field(default_factory=list[bytes])


class Appending:
    def __init__(self, log: EventLog, catalogue: Catalogue) -> None:
        self._log = log
        self._catalogue = catalogue

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Loss]:
        """Make the drafts durable; `offset` of each draft is set where that succeeded.

        Partitions in the answer have lost their ownership, and their drafts have no offset.
        """
        writing = self._encode(drafts)
        losses: list[Loss] = []
        bases: dict[int, int] = {}
        try:
            # A record must not name a blob that is not there.
            await self._catalogue.store_blobs()
        except OSError as error:
            losses.extend(Loss(number, f"blobs not stored: {error}") for number in writing)
            writing.clear()
        while writing:
            batches = [
                Batch(
                    one.partition.number,
                    one.partition.epoch,
                    one.partition.next_offset,
                    one.records,
                )
                for one in writing.values()
            ]
            try:
                acknowledged = await self._log.append(batches)
            except Fenced as fenced:
                # Nothing was stored: the rest is appended again without the stale ones.
                stale = set(fenced.partitions) or set(writing)
                losses.extend(Loss(number, str(fenced)) for number in stale)
                for number in stale:
                    writing.pop(number, None)
                continue
            except HeadraceError as error:
                # Unclear, or not this owner's log: only a fold of what is there can go on.
                losses.extend(_loss(number, error) for number in writing)
                break
            for ack in acknowledged:
                one = writing[ack.partition]
                loss = await self._judge(ack, one.partition.next_offset)
                if loss is not None:
                    losses.append(loss)
                    continue
                bases[ack.partition] = ack.base_offset
                one.partition.next_offset = ack.base_offset + len(one.records)
            break
        self._place(drafts, bases, {loss.partition for loss in losses})
        return losses

    def _encode(self, drafts: Sequence[Draft]) -> dict[int, _Writing]:
        writing: dict[int, _Writing] = {}
        for draft in drafts:
            record = record_of(draft)
            if record is None:
                continue
            one = writing.get(draft.partition.number)
            if one is None:
                one = writing[draft.partition.number] = _Writing(draft.partition)
            draft.position = len(one.records)
            one.records.append(record)
        return writing

    async def _judge(self, ack: Appended, expected: int) -> Loss | None:
        """Whether readers will accept what was acknowledged."""
        if ack.base_offset < expected:
            return Loss(ack.partition, f"the log was rewound: {ack.base_offset} < {expected}")
        if ack.base_offset > expected:
            try:
                claimed = await claims_between(self._log, ack.partition, expected, ack.base_offset)
            except HeadraceError as error:
                return _loss(ack.partition, error)
            if claimed:
                return Loss(ack.partition, "another owner has claimed the partition")
        return None

    def _place(self, drafts: Sequence[Draft], bases: dict[int, int], lost: set[int]) -> None:
        for draft in drafts:
            if draft.partition.number in lost:
                continue
            base = bases.get(draft.partition.number)
            if draft.position is None:
                # No record: what it asks for follows what stands in the log already.
                draft.offset = draft.partition.next_offset - 1
            elif base is not None:
                draft.offset = base + draft.position


def _loss(partition: int, error: HeadraceError) -> Loss:
    return Loss(
        partition,
        f"{error.code}: {error}",
        claim_again=not isinstance(error, WrongLog),
        told=told_of(error),
    )


def told_of(error: HeadraceError) -> str:
    """What callers are told of a partition that this ended; an operator reads the log."""
    return "the database's disk is full" if isinstance(error, StoreFull) else ""


def record_of(draft: Draft) -> bytes | None:
    """The bytes of a draft's record; None when it has no event. Chain and `seq` move on."""
    turn, partition = draft.turn, draft.partition
    events = draft.events
    if not events and not turn.partition_events:
        return None
    body = encode_body(events, turn.partition_events)
    assert len(body) < RECORD_BYTES_MAX, "a turn is bounded by the limits of its parts"
    if events:
        assert isinstance(turn, RunTurn) and draft.run is not None
        envelope = partition.seal_run_record(draft.run, turn.first_sequence, turn.now_ms, body)
    else:
        envelope = partition.seal_partition_record(turn.now_ms, body)
    return encode_record(envelope, body)
