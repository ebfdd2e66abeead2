"""One run in the projector's memory: its row and the turns that the journal does not have yet."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_core.ids import RunId, StepKey, TenantId
from headrace_history.app.ports import LoadedRun, RecordReader
from headrace_history.domain.projections import approvals, journal, letters, runs, usage
from headrace_history.domain.projections.approvals import ApprovalRow
from headrace_history.domain.turns import Digest, JournalTurn, LogRecord
from headrace_history.domain.watermark import TenantFlush


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log from which reading can go on, with the filter as it was there."""

    offset: int
    epoch: int
    next_seq: int


@dataclass(slots=True)
class OpenRun:
    """`turns` stay until the flush that holds them has committed; the first `flushing` of them
    are in the flush under way. `mark` and `dirty_since_s` belong to the first turn after those."""

    row: runs.RunRow
    partition: int
    stored: bool = False
    turns: list[JournalTurn] = field(default_factory=list[JournalTurn])
    digests: list[Digest] = field(default_factory=list[Digest])
    flushing: int = 0
    flushing_bytes: int = 0
    events: int = 0
    bytes: int = 0
    mark: Mark | None = None
    dirty_since_s: float = 0.0
    approvals: dict[StepKey, ApprovalRow] = field(default_factory=dict[StepKey, ApprovalRow])
    changed_approvals: dict[StepKey, ApprovalRow] = field(
        default_factory=dict[StepKey, ApprovalRow]
    )

    @classmethod
    def new(cls, run: RunId, tenant: TenantId, partition: int) -> "OpenRun":
        return cls(runs.RunRow(run, tenant), partition)

    @classmethod
    def loaded(cls, found: LoadedRun, partition: int) -> "OpenRun":
        return cls(found.row, partition, stored=True, approvals=found.approvals)

    def take(self, record: LogRecord, reader: RecordReader) -> Digest:
        """Add one accepted record; what was seen in it.

        Raises BrokenChain when it does not follow, UnknownEvent for an unknown kind; the run is
        unchanged then.
        """
        row = self.row
        digest = reader.digest(record.body)
        counts = digest.counts
        record.count = counts.events
        journal.check_follows(row.run, row.tenant, row.sequence, row.chain, record)
        runs.project(row, record, digest)
        self.turns.append(record)
        self.digests.append(digest)
        self.events += counts.events
        self.bytes += len(record.body)
        if counts.asks_people or self.approvals:
            self._take_approvals(record, reader)
        return digest

    def _take_approvals(self, turn: JournalTurn, reader: RecordReader) -> None:
        events = reader.events(turn.body)
        for row in approvals.project(self.approvals, events, turn.time_ms):
            self.changed_approvals[row.step] = row

    def write_into(self, flush: TenantFlush) -> None:
        """Hand everything that is not in a flush yet to this one."""
        run = self.row.run
        fresh: Sequence[JournalTurn] = self.turns[self.flushing :]
        digests = self.digests[self.flushing :]
        rows = flush.changed_rows if self.stored else flush.new_rows
        rows.append(self.row.columns())
        flush.chunks.extend((run, chunk) for chunk in journal.chunks_of(fresh))
        usage.project(flush.usage, self.row.flow, zip(fresh, digests, strict=True))
        for turn, digest in zip(fresh, digests, strict=True):
            if digest.marks:
                flush.letters.extend(letters.letters_of(self.row, digest, turn.time_ms))
        if self.changed_approvals:
            flush.approvals.extend((run, row) for row in self.changed_approvals.values())
            self.changed_approvals = {}
        self.stored = True
        self.flushing = len(self.turns)
        self.flushing_bytes += self.bytes
        self.events = self.bytes = 0
        self.mark = None

    def written(self) -> int:
        """The flush has committed, its turns are in the journal; the bytes given up here."""
        given_up = self.flushing_bytes
        del self.turns[: self.flushing]
        del self.digests[: self.flushing]
        self.flushing = self.flushing_bytes = 0
        return given_up
