"""The projector: keeps a projection running and lets readers wait for it.

Readers see runs in memory and positions through this; after a failure they wait until the new
session has come back to where the last one was, so that nobody sees a run go backwards.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from headrace_core.errors import Unavailable
from headrace_core.ids import RunId, TenantId, partition_of, slot_of
from headrace_history.app.live import Live
from headrace_history.app.open_run import OpenRun
from headrace_history.app.ports import ProjectionStore, RecordReader
from headrace_history.app.projection import (
    Projection,
    ProjectorSettings,
    open_projection,
)
from headrace_history.domain.turns import JournalTurn
from headrace_runtime.clock import Clock
from headrace_runtime.eventlog.port import EventLog
from headrace_runtime.telemetry import Logger


class PartitionStopped(Unavailable):
    """The projection of a partition met a record that it cannot take in."""


class Projector:
    def __init__(
        self,
        log: EventLog,
        store: ProjectionStore,
        live: Live,
        reader: RecordReader,
        settings: ProjectorSettings,
        clock: Clock,
        logger: Logger,
    ) -> None:
        self._logger = logger
        self._log = log
        self._store = store
        self._live = live
        self._reader = reader
        self._settings = settings
        self._clock = clock
        self._projection: Projection | None = None
        self._ends: list[int] = []
        self._seen: list[int] = []
        self._woken = asyncio.Event()
        self._moved = asyncio.Event()
        self._reported: set[int] = set()

    async def run(self) -> None:
        """Until cancelled. Raises Fenced when another history has taken over, WrongLog and
        LogRewound when the log is not the one that the projections were made from."""
        while True:
            try:
                await self._run_session()
            except* Unavailable as faults:
                self._logger.warning("projection interrupted", error=faults.exceptions[0])
            await asyncio.sleep(self._settings.retry_s)

    async def _run_session(self) -> None:
        projection = await open_projection(
            self._log,
            self._store,
            self._live,
            self._reader,
            self._settings,
            self._clock,
        )
        self._ends[:] = await self._log.ends()
        self._seen = self._seen or [0] * len(self._ends)
        for tail in projection.tails:
            self._seen[tail.partition] = max(self._seen[tail.partition], tail.replay_to)
        self._projection = projection
        await projection.run(self._ends, self._woken, self._note_progress)

    def _note_progress(self) -> None:
        projection = self._projection
        assert projection is not None, "only a session moves"
        for tail in projection.tails:
            self._seen[tail.partition] = max(self._seen[tail.partition], tail.position)
            if tail.stopped is not None and tail.partition not in self._reported:
                self._reported.add(tail.partition)
                self._logger.error(
                    "partition stopped",
                    partition=tail.partition,
                    code=tail.stopped.code,
                    message=tail.stopped.message,
                )
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def hint(self, ends: Sequence[tuple[int, int]]) -> None:
        """The scheduler says that the log now ends there; the log itself is the truth."""
        for partition, end in ends:
            if partition < len(self._ends) and end > self._ends[partition]:
                self._ends[partition] = end
                self._woken.set()

    async def moved(self) -> None:
        """Until the projector has looked at the log once more."""
        await self._moved.wait()

    def open_run(self, tenant: TenantId, run: RunId) -> OpenRun | None:
        """The run in memory. The answer is for now: it may change at the next await."""
        if self._projection is None:
            return None
        found = self._projection.memory.runs.get(run)
        return found if found is not None and found.row.tenant == tenant else None

    def turns(self, tenant: TenantId, run: RunId) -> list[JournalTurn]:
        """What the journal may not have yet, in order."""
        found = self.open_run(tenant, run)
        return list(found.turns) if found is not None else []

    async def caught_up(self, run: RunId, wait_s: float) -> None:
        """Wait until the run's partition is where readers have seen it before."""
        await self._pass(await self._partition_of(run, wait_s), 0, wait_s)

    async def passed_end(self, run: RunId, wait_s: float) -> None:
        """Wait until everything is taken in that the run's partition holds at this moment."""
        partition = await self._partition_of(run, wait_s)
        ends = await self._log.ends()
        self.hint([(partition, ends[partition])])
        await self._pass(partition, ends[partition], wait_s)

    async def passed_ends(self, wait_s: float) -> None:
        """As `passed_end`, for every partition that goes on."""
        await self._started(wait_s)
        ends = await self._log.ends()
        self.hint(list(enumerate(ends)))
        for partition, end in enumerate(ends):
            with suppress(PartitionStopped):
                await self._pass(partition, end, wait_s)

    async def flush(self, tenant: TenantId) -> None:
        """Everything of this tenant that was taken in until now is in the database afterwards."""
        if self._projection is not None:
            await self._projection.flusher.ask(tenant)

    async def drain(self) -> None:
        """Write what was taken in, so that the next start has little to read again."""
        if self._projection is not None:
            await self._projection.flusher.ask()

    async def _partition_of(self, run: RunId, wait_s: float) -> int:
        await self._started(wait_s)
        return partition_of(slot_of(run), len(self._seen))

    async def _started(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                while not self._seen:
                    await self.moved()
        except TimeoutError:
            raise Unavailable("history is starting: try again in a moment") from None

    async def _pass(self, partition: int, end: int, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                while not self._is_past(partition, max(end, self._seen[partition])):
                    await self.moved()
        except TimeoutError:
            raise Unavailable(
                f"history has not caught up with partition {partition} in {wait_s:.0f} s: "
                "try again, and look at headrace_history_projection_lag_seconds if it stays so"
            ) from None

    def _is_past(self, partition: int, end: int) -> bool:
        """Raises PartitionStopped with the reason if the partition will not get there."""
        if self._projection is None:
            return False
        tail = self._projection.tails[partition]
        if tail.position >= end:
            return True
        if tail.stopped is not None:
            raise PartitionStopped(f"{tail.stopped.code}: {tail.stopped}") from tail.stopped
        return False
