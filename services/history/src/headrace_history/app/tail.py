"""The tail of one partition: takes accepted records into the runs in memory.

A record that cannot be read or does not follow stops this partition, with everything before it
kept and nothing after it looked at; the other partitions go on.
"""

import hashlib
from collections.abc import Sequence
from typing import cast

from headrace_core.errors import BrokenChain, HeadraceError
from headrace_core.ids import RunId, TenantId
from headrace_core.log.filter import LogFilter
from headrace_core.log.record import Envelope
from headrace_history.app.live import Live
from headrace_history.app.open_run import Mark, OpenRun
from headrace_history.app.ports import RecordReader
from headrace_history.app.runs_in_memory import RunsInMemory
from headrace_history.domain.projections.letters import Decided, decided
from headrace_history.domain.turns import Digest, LogRecord
from headrace_history.domain.watermark import Watermark
from headrace_runtime.eventlog.port import Entry

_POISON = (
    HeadraceError,
    ArithmeticError,
    AssertionError,
    LookupError,
    TypeError,
    ValueError,
)


class Tail:
    """Runs with turns that no flush holds are in the order of their first such turn, so that the
    watermark is at hand."""

    def __init__(
        self,
        watermark: Watermark,
        memory: RunsInMemory,
        live: Live,
        reader: RecordReader,
    ) -> None:
        self.partition = watermark.partition
        self.position = watermark.offset
        self.replay_to = watermark.read_to
        self.stopped: HeadraceError | None = None
        self.time_ms = 0
        self.dirty: dict[RunId, OpenRun] = {}
        self._last = watermark.last
        self._decisions: list[Decided] = []
        self._entries: Sequence[Entry] = ()
        self._filter = LogFilter(watermark.log_id, watermark.epoch, watermark.next_seq)
        self._memory = memory
        self._live = live
        self._reader = reader

    def decode(self, entries: Sequence[Entry]) -> tuple[list[LogRecord], HeadraceError | None]:
        """The records up to the first unreadable one, and what is wrong with that."""
        self._entries = entries
        records: list[LogRecord] = []
        read = self._reader.record
        for entry in entries:
            try:
                record = read(entry.offset, entry.record)
                if record.partition != self.partition:
                    raise BrokenChain(f"it holds a record of partition {record.partition}")
            except BrokenChain as fault:
                return records, self._located(fault, entry.offset)
            records.append(record)
        return records, None

    def is_last_seen(self, record: bytes) -> bool:
        """Whether this is the record at `replay_to` - 1 as it was when it was taken in."""
        return hashlib.sha256(record).digest() == self._last

    def unknown_runs(self, records: Sequence[LogRecord]) -> dict[RunId, TenantId]:
        """Runs that may be in the projections, are not in memory and do not begin here."""
        runs = self._memory.runs
        begun: set[RunId] = set()
        replay_to = self.replay_to
        unknown: dict[RunId, TenantId] = {}
        for record in records:
            run = record.run
            if run is None or run in runs or run in begun:
                continue
            if record.sequence > 1 or record.offset < replay_to:
                unknown[run] = record.tenant
            else:
                begun.add(run)
        return unknown

    def take(self, records: Sequence[LogRecord], now_s: float) -> None:
        """Fold the decoded records, whose unknown runs have been loaded; may set `stopped`."""
        log_filter = self._filter
        first = self.position
        for record in records:
            epoch, next_seq = log_filter.epoch, log_filter.next_seq
            try:
                # The filter reads fields that an envelope and this record have alike.
                if log_filter.accept(record.offset, cast(Envelope, record)):
                    self._take(record, now_s)
            except _POISON as fault:
                log_filter.epoch, log_filter.next_seq = epoch, next_seq
                self.stopped = self._located(fault, record.offset)
                break
            self.position = record.offset + 1
            self.time_ms = record.time_ms
        if self.position > first and self.position >= self.replay_to:
            last = self._entries[self.position - first - 1]
            self._last = hashlib.sha256(last.record).digest()
        self._entries = ()

    def _take(self, record: LogRecord, now_s: float) -> None:
        run = record.run
        if run is None:
            self._decide_letters(record, self._reader.digest(record.body))
            return
        open_run = self._memory.runs.get(run)
        if open_run is None:
            open_run = self._memory.add(OpenRun.new(run, record.tenant, self.partition))
        elif record.offset <= open_run.row.offset:
            return
        self._decide_letters(record, open_run.take(record, self._reader))
        if open_run.mark is None:
            open_run.mark = Mark(record.offset, record.epoch, record.seq)
            open_run.dirty_since_s = now_s
            self.dirty[run] = open_run
            self._memory.stir(run)
        self._memory.took(open_run, len(record.body))
        live = self._live
        if run in live.watched:
            live.push(run, record)
        if run in live.awaited and open_run.row.ended:
            live.end(run)

    def _decide_letters(self, record: LogRecord, digest: Digest) -> None:
        self._decisions += [decided(event, record.time_ms) for event in digest.decisions]

    def decisions(self) -> list[Decided]:
        """What was decided of dead letters since the last call: for the flush that moves the
        watermark beyond it."""
        taken, self._decisions = self._decisions, []
        return taken

    def watermark(self) -> Watermark:
        """As of now: up to the first turn that no flush holds."""
        mark = Mark(self.position, self._filter.epoch, self._filter.next_seq)
        for open_run in self.dirty.values():
            assert open_run.mark is not None, "a dirty run knows its first turn"
            mark = open_run.mark
            break
        return Watermark(
            partition=self.partition,
            log_id=self._filter.log_id,
            offset=mark.offset,
            epoch=mark.epoch,
            next_seq=mark.next_seq,
            read_to=max(self.position, self.replay_to),
            last=self._last,
        )

    def stop(self, fault: HeadraceError) -> None:
        self.stopped = fault

    def _located(self, fault: Exception, offset: int) -> HeadraceError:
        where = f"partition {self.partition} is not projected beyond offset {offset}: {fault}"
        kind = type(fault) if isinstance(fault, HeadraceError) else BrokenChain
        return kind(where)
