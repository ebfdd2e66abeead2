"""Hosts of schedulers: real engines that crash, freeze and come back."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace_runtime.eventlog.port import Appended, Batch, Entry, EventLog, LogDescription
from headrace_runtime.telemetry import Level, Logger
from headrace_scheduler.assembly import Engine, EnginePorts, assemble
from tests.simulation.world.parts import (
    LeaseTable,
    SimCatalogue,
    SimClock,
    SimLeases,
    SimRows,
    SimSnapshots,
)

SNAPSHOT_MS = 400


class HostLog:
    """The log as one host reaches it: while the host is frozen its calls stand still, and go on
    where they were when it thaws, which is what a zombie does."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._thawed = asyncio.Event()
        self._thawed.set()
        self.frozen_appends = 0

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def describe(self) -> LogDescription:
        return await self._log.describe()

    async def claim(self, partition: int, record: bytes) -> int:
        await self._thawed.wait()
        return await self._log.claim(partition, record)

    async def append(self, batches: Sequence[Batch]) -> Sequence[Appended]:
        if not self._thawed.is_set():
            self.frozen_appends += 1
        await self._thawed.wait()
        return await self._log.append(batches)

    async def read(self, partition: int, offset: int, limit: int) -> Sequence[Entry]:
        return await self._log.read(partition, offset, limit)

    async def read_many(
        self, offsets: Sequence[tuple[int, int]], limit: int
    ) -> Sequence[tuple[int, Sequence[Entry]]]:
        return await self._log.read_many(offsets, limit)

    async def ends(self) -> Sequence[int]:
        return await self._log.ends()

    async def delete_below(self, partition: int, offset: int) -> None:
        await self._log.delete_below(partition, offset)

    async def close(self) -> None:
        await asyncio.sleep(0)


@dataclass(slots=True)
class Shared:
    """What all hosts share: the log, the snapshots, the leases, the catalogue."""

    log: EventLog
    description: LogDescription
    snapshots: SimSnapshots
    leases: LeaseTable
    catalogue: SimCatalogue
    chance: random.Random
    said: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class OwnerHost:
    """One scheduler's place; each life of it is a new engine under a new owner name."""

    name: str
    shared: Shared
    share: int
    skew_ms: int = 0
    lives: int = 0
    engine: Engine | None = None
    log: HostLog | None = None
    leases: SimLeases | None = None
    frozen: bool = False
    on_life: Callable[["OwnerHost"], None] = lambda host: None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    @property
    def owner(self) -> str:
        return f"{self.name}.{self.lives}"

    def start(self) -> None:
        shared = self.shared
        self.lives += 1
        self.frozen = False
        self.log = HostLog(shared.log)
        self.leases = SimLeases(shared.leases, self.owner, self.share)
        chance = shared.chance
        self.engine = assemble(
            EnginePorts(
                log=self.log,
                description=shared.description,
                catalogue=shared.catalogue,
                snapshots=shared.snapshots,
                rows=SimRows(),
                clock=SimClock(self.skew_ms),
                tokens=lambda: chance.getrandbits(63),
                unique=lambda: chance.randbytes(10),
                nonce=lambda: chance.randbytes(16),
                logger=Logger(
                    self.owner, Level.WARNING, write=self._say, clock=SimClock(self.skew_ms)
                ),
                owner=self.owner,
                snapshot_interval_ms=SNAPSHOT_MS,
            )
        )
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self.engine.loop.run(), name=f"{self.owner} loop"),
            loop.create_task(
                self.engine.ownership.run(self.leases), name=f"{self.owner} ownership"
            ),
        ]
        self.on_life(self)

    async def crash(self) -> None:
        """Everything in memory is gone; what is under way to the log may or may not land."""
        engine = self.engine
        if engine is None:
            return
        self.engine = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        engine.dispatch.close_all()
        await engine.background.close()

    def freeze(self) -> None:
        if self.engine is not None and self.log is not None and self.leases is not None:
            self.frozen = True
            self.leases.thawed.clear()
            self.log.freeze()

    def thaw(self) -> None:
        if self.frozen and self.log is not None and self.leases is not None:
            self.frozen = False
            self.leases.thawed.set()
            self.log.thaw()

    def failed_tasks(self) -> list[BaseException]:
        """A loop that ended by an exception is a bug, whatever the campaign did."""
        found: list[BaseException] = []
        for task in self._tasks:
            if task.done() and not task.cancelled():
                fault = task.exception()
                if fault is not None:
                    found.append(fault)
        return found

    def _say(self, line: bytes) -> None:
        self.shared.said.append(line.decode())
