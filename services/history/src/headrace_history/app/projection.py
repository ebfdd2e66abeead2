"""One session of projecting: from the watermarks on, until something outside fails.

Memory belongs to the session. After a failure a new session begins at the watermarks in the
database; what was in memory and not written comes from the log again.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace_core.errors import LogRewound
from headrace_core.ids import RunId, TenantId
from headrace_history import metrics
from headrace_history.app.flusher import Flusher
from headrace_history.app.live import Live
from headrace_history.app.open_run import OpenRun
from headrace_history.app.ports import ProjectionStore, RecordReader
from headrace_history.app.runs_in_memory import RunsInMemory
from headrace_history.app.tail import Tail
from headrace_runtime.clock import Clock
from headrace_runtime.eventlog.port import EventLog


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorSettings:
    """`poll_s` is the safety net for lost hints. A read that found n records is followed by a
    pause of n times `pause_s_per_record`, at most `pause_s_max`, so that busy times are read in
    large batches and a lone run is seen at once."""

    read_records_max: int = 512
    poll_s: float = 0.25
    pause_s_per_record: float = 0.0005
    pause_s_max: float = 0.02
    flush_interval_s: float = 0.25
    flush_age_s: float = 2.0
    unflushed_bytes_max: int = 64 << 20
    quiet_runs_max: int = 50_000
    retry_s: float = 0.5


class Projection:
    """`ends` are the partitions' ends as far as they are known, shared with those who hint."""

    def __init__(
        self,
        log: EventLog,
        store: ProjectionStore,
        tails: Sequence[Tail],
        memory: RunsInMemory,
        settings: ProjectorSettings,
        clock: Clock,
    ) -> None:
        self.tails = tails
        self.memory = memory
        self.flusher = Flusher(
            store,
            memory,
            tails,
            interval_s=settings.flush_interval_s,
            age_max_s=settings.flush_age_s,
            bytes_max=settings.unflushed_bytes_max,
        )
        self._log = log
        self._store = store
        self.settings = settings
        self._clock = clock

    async def run(self, ends: list[int], woken: asyncio.Event, moved: Callable[[], None]) -> None:
        """Until cancelled or until log or store fail. `moved` is called after each batch."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.flusher.run())
            tasks.create_task(self._follow(ends, woken, moved))

    async def _follow(
        self, ends: list[int], woken: asyncio.Event, moved: Callable[[], None]
    ) -> None:
        while True:
            read = await self.read_once(ends)
            moved()
            if read:
                await self.flusher.wait_for_room()
                pause_s = min(read * self.settings.pause_s_per_record, self.settings.pause_s_max)
                await asyncio.sleep(pause_s)
                continue
            try:
                async with asyncio.timeout(self.settings.poll_s):
                    await woken.wait()
                woken.clear()
            except TimeoutError:
                ends[:] = await self._log.ends()

    async def read_once(self, ends: list[int]) -> int:
        """Take in what the partitions have up to `ends`, at most one batch of each."""
        self.memory.trim()
        behind = [
            (tail.partition, tail.position)
            for tail in self.tails
            if tail.stopped is None and ends[tail.partition] > tail.position
        ]
        self._measure(ends)
        if not behind:
            return 0
        batches = await self._log.read_many(behind, self.settings.read_records_max)
        decoded = [
            (self.tails[partition], *self.tails[partition].decode(entries))
            for partition, entries in batches
        ]
        await self._load(
            {
                run: (tenant, tail.partition)
                for tail, records, _ in decoded
                for run, tenant in tail.unknown_runs(records).items()
            }
        )
        now_s = asyncio.get_running_loop().time()
        read = 0
        for tail, records, fault in decoded:
            tail.take(records, now_s)
            if fault is not None and tail.stopped is None:
                tail.stop(fault)
            read += len(records)
            if not records:
                ends[tail.partition] = tail.position
        metrics.RECORDS.inc(read)
        return read

    async def _load(self, unknown: dict[RunId, tuple[TenantId, int]]) -> None:
        if not unknown:
            return
        found = await self._store.load([(tenant, run) for run, (tenant, _) in unknown.items()])
        for run, loaded in found.items():
            self.memory.add_loaded(OpenRun.loaded(loaded, unknown[run][1]))

    def _measure(self, ends: Sequence[int]) -> None:
        behind = sum(max(0, ends[tail.partition] - tail.position) for tail in self.tails)
        metrics.LAG_RECORDS.set(behind)
        oldest_ms = min((tail.time_ms for tail in self.tails if tail.time_ms), default=0)
        late = behind and oldest_ms
        metrics.LAG_SECONDS.set((self._clock.now_ms() - oldest_ms) / 1000 if late else 0)
        metrics.STOPPED_PARTITIONS.set(sum(tail.stopped is not None for tail in self.tails))


async def open_projection(
    log: EventLog,
    store: ProjectionStore,
    live: Live,
    reader: RecordReader,
    settings: ProjectorSettings,
    clock: Clock,
) -> Projection:
    """Claim the projections and stand at their watermarks.

    Raises WrongLog or LogRewound when the log is not the one that they were made from.
    """
    description = await log.describe()
    watermarks = await store.claim(description.log_id, description.partitions)
    memory = RunsInMemory(settings.quiet_runs_max)
    tails = [Tail(watermark, memory, live, reader) for watermark in watermarks]
    for tail in tails:
        if tail.replay_to:
            await _check_not_rewound(log, tail)
    return Projection(log, store, tails, memory, settings, clock)


async def _check_not_rewound(log: EventLog, tail: Tail) -> None:
    """Offsets alone do not show that a log was restored from a backup and written on."""
    entries = await log.read(tail.partition, tail.replay_to - 1, 1)
    if not entries or not tail.is_last_seen(entries[0].record):
        raise LogRewound(
            f"partition {tail.partition} of the log no longer holds the record at offset "
            f"{tail.replay_to - 1} that the projections were made from: restore the log, or "
            "rebuild the projections from what it holds now"
        )
