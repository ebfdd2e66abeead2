"""What the load generator learns from the log: which runs have ended, and how long steps took."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_contracts.codec import decode_body, decode_record
from headrace_core.log.filter import LogFilter
from headrace_core.run import events as ev
from headrace_runtime.eventlog.port import EventLog

READ_MAX = 4_000


@dataclass(slots=True)
class LogWatch:
    """Reads every partition from its end on; `latencies_ms` are from ready to succeeded, with the
    resolution of the log's times."""

    log: EventLog
    log_id: bytes
    offsets: list[int]
    ended: int = 0
    failed: int = 0
    latencies_ms: list[int] = field(default_factory=list[int])
    _filters: list[LogFilter] = field(default_factory=list[LogFilter])
    _ready_ms: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    async def poll(self) -> int:
        """Number of records read."""
        wanted = list(enumerate(self.offsets))
        read = 0
        for partition, entries in await self.log.read_many(wanted, READ_MAX):
            for entry in entries:
                self.offsets[partition] = entry.offset + 1
                read += 1
                record = decode_record(entry.record)
                if record.envelope.run is not None:
                    events = decode_body(record.body).run_events
                    self._take(record.envelope.run, record.envelope.time_ms, events)
        return read

    def _take(self, run: str, time_ms: int, events: Sequence[ev.RunEvent]) -> None:
        for event in events:
            if isinstance(event, ev.StepReady):
                self._ready_ms[run, event.step] = time_ms
            elif isinstance(event, ev.StepSucceeded):
                ready_ms = self._ready_ms.pop((run, event.step), time_ms)
                self.latencies_ms.append(time_ms - ready_ms)
            elif isinstance(event, ev.RUN_TERMINAL_EVENTS):
                self.ended += 1
                self.failed += not isinstance(event, ev.RunSucceeded)
