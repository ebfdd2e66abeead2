"""The event log as the platform sees it, and its contract in words.

One log, N partitions (a power of two fixed at creation), each a totally ordered sequence of
records at offsets 0, 1, 2, ... Nothing is ever updated. Every adapter passes the same suite,
tests/contract/test_event_log.py, with two owners fighting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_core.errors import UnclearAppend


@dataclass(frozen=True, slots=True)
class LogDescription:
    """`log_id` is 16 random bytes drawn when the log was created; it is in every record."""

    log_id: bytes
    partitions: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition under one claim. `next_offset` is where the owner expects them."""

    partition: int
    epoch: int
    next_offset: int
    records: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Appended:
    """`base_offset` is the offset of the batch's first record; the others follow without a gap."""

    partition: int
    base_offset: int


@dataclass(frozen=True, slots=True)
class Entry:
    offset: int
    record: bytes


class StoreFull(UnclearAppend):
    """The store has no room. For its caller as unclear as any other; for people it is not."""


class EventLog(Protocol):
    """Contract.

    * `claim` appends the record and answers its offset, which is the claimer's epoch. Afterwards
      an append under an older epoch is either refused (Fenced) or lands as a void record that
      every reader's filter drops: the adapter says which by what it raises.
    * `append` takes batches of several partitions under one owner, at most one per partition,
      and at most one call is in flight per partition. On success every record is durable. The
      caller acts on a batch only if `base_offset` is its `next_offset`; a gap must be read: with
      a claim in it the caller is fenced, without one the gap is a stale owner's void record.
    * Fenced: names the stale partitions; **no** record of this call was stored in any partition.
    * UnclearAppend, by append and claim: nobody knows. The caller forgets its state and claims
      again; nothing that was queued may land after that new claim as an accepted record. Faults
      of the store that stored nothing for certain (disk full, read-only) come as this too, and
      say so: the caller does the same.
    * RecordTooLarge is raised before anything is sent.
    * `read` answers at most `limit` entries from `offset` on in order without a hole, and an
      empty list only at the end; fewer than `limit` do not mean the end. It raises RangeDeleted
      below the first kept offset and LogRewound above the end.
    * Everything but append raises Unavailable where the store does not answer; WrongLog where
      another log answers.
    """

    async def describe(self) -> LogDescription: ...

    async def claim(self, partition: int, record: bytes) -> int: ...

    async def append(self, batches: Sequence[Batch]) -> Sequence[Appended]: ...

    async def read(self, partition: int, offset: int, limit: int) -> Sequence[Entry]: ...

    async def read_many(
        self, offsets: Sequence[tuple[int, int]], limit: int
    ) -> Sequence[tuple[int, Sequence[Entry]]]:
        """`read` for several (partition, offset) in one round trip; at most `limit` each."""
        ...

    async def ends(self) -> Sequence[int]:
        """The offset after the last record, per partition."""
        ...

    async def delete_below(self, partition: int, offset: int) -> None:
        """Give up records below `offset`; only ever called up to a committed checkpoint."""
        ...

    async def close(self) -> None: ...
