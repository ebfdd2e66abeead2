"""Take over a partition: claim it, load its snapshot, fold the rest, derive what is to be done.

A snapshot names the log, its offset and where the filter stood; rows of runs may be newer than
nothing but their own offset. If the log does not begin where the snapshot ends, the snapshot is
loaded again: a tail that was deleted meanwhile is never skipped. Checked exhaustively by the
tests' snapshot model.
"""

from collections.abc import Callable

from headrace_contracts.codec import decode_body, decode_record, encode_body, encode_record
from headrace_core.errors import BrokenChain, Fenced, RangeDeleted, WrongLog
from headrace_core.ids import RunId
from headrace_core.log.chain import chain_hash
from headrace_core.log.filter import LogFilter
from headrace_core.log.record import Body, Envelope, Record
from headrace_core.partition.apply import apply_turn as apply_partition_turn
from headrace_core.partition.apply import restore_start_keys
from headrace_core.partition.apply import set_chain as set_partition_chain
from headrace_core.partition.events import PartitionClaimed, StartKeyed
from headrace_core.partition.state import PartitionState, StartKey
from headrace_core.run.apply import apply_turn
from headrace_core.run.freeze import thaw_partition, thaw_run
from headrace_core.run.state import RunState
from headrace_core.run.status import RUN_TERMINAL
from headrace_runtime.clock import Clock
from headrace_runtime.eventlog.port import EventLog
from headrace_scheduler.app.open_runs import OpenRuns
from headrace_scheduler.app.partition import NO_TENANT, OwnedPartition
from headrace_scheduler.app.ports import Catalogue, Snapshot, SnapshotStore

READ_ENTRIES = 2_000
LOADS_MAX = 5


class Recovery:
    def __init__(
        self,
        log: EventLog,
        log_id: bytes,
        snapshots: SnapshotStore,
        catalogue: Catalogue,
        clock: Clock,
        nonce: Callable[[], bytes],
        owner: str,
        log_filter: Callable[[bytes], LogFilter] = LogFilter,
    ) -> None:
        self._log = log
        self._log_id = log_id
        self._snapshots = snapshots
        self._catalogue = catalogue
        self._clock = clock
        self._nonce = nonce
        self._owner = owner
        self._log_filter = log_filter

    async def take_over(self, partition: int) -> OwnedPartition:
        """Claim and fold. Raises Fenced when a newer owner is already known."""
        nonce = self._nonce()
        epoch = await self._log.claim(partition, self._claim_record(partition, nonce))
        for _ in range(LOADS_MAX):
            try:
                owned = await self._fold(partition, epoch, nonce)
                break
            except RangeDeleted:
                # The tail went while it was read: the snapshot has moved on, load it again.
                continue
        else:
            raise RangeDeleted(f"partition {partition} was cut {LOADS_MAX} times during recovery")
        for runs in (owned.runs.awake(), owned.runs.asleep()):
            for run in runs:
                await self._catalogue.load(run.tenant, run.plan)
        return owned

    async def refold(self, owned: OwnedPartition, run: RunId) -> RunState | None:
        """One run as the log has it, for a run whose state in memory is not to be trusted."""
        other = await self._fold(owned.number, owned.next_offset - 1, None, run)
        return other.runs.get(run)

    def _claim_record(self, partition: int, nonce: bytes) -> bytes:
        envelope = Envelope(
            log_id=self._log_id,
            partition=partition,
            epoch=0,
            seq=0,
            time_ms=self._clock.now_ms(),
            tenant=NO_TENANT,
            run=None,
            sequence=0,
            chain=b"",
            claim=True,
        )
        body = encode_body([], [PartitionClaimed(owner=self._owner, nonce=nonce)])
        return encode_record(envelope, body)

    async def _fold(
        self, partition: int, last: int, nonce: bytes | None, only: RunId | None = None
    ) -> OwnedPartition:
        """State as of offset `last`, which for a takeover is the own claim."""
        snapshot = await self._snapshots.load(partition)
        folding = _Folding(partition, self._log_filter(self._log_id), snapshot, only)
        if folding.offset > last:
            raise Fenced(
                f"partition {partition} has a snapshot above offset {last}: a newer owner is there",
                [partition],
            )
        while folding.offset < last:
            entries = await self._log.read(partition, folding.offset + 1, READ_ENTRIES)
            if not entries or entries[0].offset != folding.offset + 1:
                raise RangeDeleted(
                    f"partition {partition} has no record {folding.offset + 1}, "
                    "though nothing newer than the snapshot may be deleted"
                )
            for entry in entries:
                if entry.offset > last:
                    break
                folding.take(entry.offset, decode_record(entry.record))
        if nonce is not None and folding.last_nonce != nonce:
            raise Fenced(f"offset {last} of partition {partition} is another claim", [partition])
        return folding.owned(last)


class _Folding:
    """The fold under way: the filter, the partition's state, its open runs."""

    def __init__(
        self, partition: int, log_filter: LogFilter, snapshot: Snapshot | None, only: RunId | None
    ) -> None:
        self._partition = partition
        self._filter = log_filter
        self._only = only
        self.offset = -1
        self.last_nonce = b""
        self.state = PartitionState(partition)
        self._runs = OpenRuns()
        self._row_offsets: dict[RunId, int] = {}
        self._first_offsets: dict[RunId, int] = {}
        self._dirty: set[RunId] = set()
        self._ended: set[RunId] = set()
        self._keys: list[tuple[bytes, StartKey]] = []
        if snapshot is not None:
            self._begin_at(snapshot)
        self._checkpoint_offset = self.offset

    def _begin_at(self, snapshot: Snapshot) -> None:
        checkpoint = snapshot.checkpoint
        if checkpoint.log_id != self._filter.log_id:
            raise WrongLog(
                f"the snapshot of partition {self._partition} belongs to another log: "
                "this database and this log do not belong together"
            )
        self.offset = checkpoint.offset
        self._filter.epoch, self._filter.next_seq = checkpoint.epoch, checkpoint.next_seq
        self.state = thaw_partition(checkpoint.state)
        restore_start_keys(self.state, snapshot.start_keys)
        for row in snapshot.runs:
            self._runs.add(thaw_run(row.state))
            self._runs.let_sleep(row.run, row.state)
            self._row_offsets[row.run] = row.offset
            self._first_offsets[row.run] = row.first_offset

    def take(self, offset: int, record: Record) -> None:
        self.offset = offset
        envelope = record.envelope
        accepted = self._filter.accept(offset, envelope)
        if envelope.claim:
            claimed = decode_body(record.body).partition_events[0]
            assert isinstance(claimed, PartitionClaimed)
            self.last_nonce = claimed.nonce
        if accepted:
            self._apply(offset, envelope, record.body, decode_body(record.body))

    def _apply(self, offset: int, envelope: Envelope, stored: bytes, body: Body) -> None:
        apply_partition_turn(self.state, body.partition_events, envelope.time_ms)
        for event in body.partition_events:
            if isinstance(event, StartKeyed):
                kept = StartKey(event.fingerprint, event.run, event.expires_at_ms)
                self._keys.append((event.key, kept))
        if envelope.run is None:
            self._verify(self.state.chain, envelope, stored, offset)
            set_partition_chain(self.state, envelope.chain)
            return
        if self._only is not None and envelope.run != self._only:
            return
        if offset <= self._row_offsets.get(envelope.run, -1):
            return
        run = self._runs.get(envelope.run)
        if run is None:
            run = RunState(envelope.run, envelope.tenant)
            self._runs.add(run)
            self._first_offsets[envelope.run] = offset
        self._verify(run.chain, envelope, stored, offset)
        apply_turn(run, body.run_events, envelope.time_ms, envelope.chain)
        self._dirty.add(envelope.run)
        if run.status in RUN_TERMINAL:
            self._runs.pop(envelope.run)
            self._first_offsets.pop(envelope.run, None)
            self._dirty.discard(envelope.run)
            self._ended.add(envelope.run)

    def _verify(self, previous: bytes, envelope: Envelope, stored: bytes, offset: int) -> None:
        expected = chain_hash(
            previous,
            envelope.tenant,
            envelope.run or "",
            envelope.sequence,
            envelope.time_ms,
            stored,
        )
        if expected != envelope.chain:
            raise BrokenChain(
                f"offset {offset} of partition {self._partition} breaks the chain of "
                f"{envelope.run or 'the partition'}: the log was changed or a record is missing"
            )

    def owned(self, last: int) -> OwnedPartition:
        return OwnedPartition(
            number=self._partition,
            log_id=self._filter.log_id,
            epoch=self._filter.epoch,
            next_offset=last + 1,
            state=self.state,
            next_seq=self._filter.next_seq,
            runs=self._runs,
            first_offsets=self._first_offsets,
            dirty=self._dirty,
            ended=self._ended,
            new_start_keys=self._keys,
            checkpoint_offset=self._checkpoint_offset,
        )
