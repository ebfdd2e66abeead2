"""Hosts of schedulers: real engines that crash, freeze and come back."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from headrace_runtime.eventlog.port import Appended, Batch, Entry, EventLog, LogDescription
from headrace_runtime.telemetry import Level, Logger
from headrace_scheduler.app.ports import Snapshot, SnapshotChange
from headrace_scheduler.assembly import Engine, EnginePorts, assemble
from tests.simulation.world.effects import OwnerRows, RowStore
from tests.simulation.world.parts import (
    LeaseTable,
    SimCatalogue,
    SimClock,
    SimLeases,
    SimSnapshots,
)
from tests.simulation.world.rules import ALL_RULES, SafetyRules

SNAPSHOT_MS = 400


class Gate:
    """While its host is frozen, whatever it does stands still, and goes on where it was when the
    host thaws, which is what a zombie does."""

    def __init__(self, at_point: Callable[[str], None]) -> None:
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._at_point = at_point
        self._dead = False

    def end(self) -> None:
        """Nothing of this life passes any more, whatever task it runs in."""
        self._dead = True
        self._thawed.set()

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def passed(self) -> None:
        """Raises CancelledError in whatever task of a life that has ended."""
        await self._thawed.wait()
        if self._dead:
            raise asyncio.CancelledError

    async def reached(self, point: str) -> None:
        """Where the world may end or stop the process. A crash ends the task that is here."""
        if not self._dead:
            self._at_point(point)
        await asyncio.sleep(0)
        await self.passed()


class HostLog:
    """The log as one host reaches it."""

    def __init__(self, log: EventLog, gate: Gate) -> None:
        self._log = log
        self._gate = gate

    async def describe(self) -> LogDescription:
        return await self._log.describe()

    async def claim(self, partition: int, record: bytes) -> int:
        await self._gate.passed()
        epoch = await self._log.claim(partition, record)
        await self._gate.reached("claim landed")
        return epoch

    async def append(self, batches: Sequence[Batch]) -> Sequence[Appended]:
        await self._gate.reached("append sent")
        appended = await self._log.append(batches)
        await self._gate.reached("append landed")
        return appended

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


class HostSnapshots:
    """The snapshot store as one host reaches it."""

    def __init__(self, store: SimSnapshots, gate: Gate) -> None:
        self._store = store
        self._gate = gate

    async def load(self, partition: int) -> Snapshot | None:
        return await self._store.load(partition)

    async def save(self, change: SnapshotChange) -> bool:
        await self._gate.reached("checkpoint sent")
        saved = await self._store.save(change)
        await self._gate.reached("checkpoint written")
        return saved


@dataclass(slots=True)
class Shared:
    """What all hosts share: the log, the snapshots, the leases, the rows, the catalogue."""

    log: EventLog
    description: LogDescription
    snapshots: SimSnapshots
    leases: LeaseTable
    rows: RowStore
    catalogue: SimCatalogue
    chance: random.Random
    rules: SafetyRules = ALL_RULES
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
    clock: SimClock = field(default_factory=SimClock)
    leases: SimLeases | None = None
    frozen: bool = False
    on_life: Callable[["OwnerHost"], None] = lambda host: None
    on_point: Callable[["OwnerHost", str], None] = lambda host, point: None
    _gate: Gate | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    @property
    def owner(self) -> str:
        return f"{self.name}.{self.lives}"

    def start(self) -> None:
        shared = self.shared
        self.lives += 1
        self.frozen = False
        gate = self._gate = Gate(lambda point: self.on_point(self, point))
        self.leases = SimLeases(shared.leases, self.owner, self.share)
        self.clock = SimClock(self.skew_ms)
        chance = shared.chance
        self.engine = assemble(
            EnginePorts(
                log=HostLog(shared.log, gate),
                description=shared.description,
                catalogue=shared.catalogue,
                snapshots=HostSnapshots(shared.snapshots, gate),
                rows=OwnerRows(shared.rows, gate.passed, gate.reached),
                clock=self.clock,
                tokens=lambda: chance.getrandbits(63),
                unique=lambda: chance.randbytes(10),
                nonce=lambda: chance.randbytes(16),
                logger=Logger(self.owner, Level.WARNING, write=self._say, clock=self.clock),
                owner=self.owner,
                snapshot_interval_ms=SNAPSHOT_MS,
            ),
            shared.rules.engine,
        )
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self.engine.loop.run(), name=f"{self.owner} loop"),
            loop.create_task(
                self.engine.ownership.run(self.leases), name=f"{self.owner} ownership"
            ),
        ]
        self.on_life(self)

    def fall(self) -> Awaitable[object] | None:
        """Everything in memory is gone at once; what is under way to the log may or may not land.
        Answers what is left to wait for, None if there was no life to end."""
        engine = self.engine
        if engine is None:
            return None
        self.engine = None
        if self._gate is not None:
            self._gate.end()
        for task in self._tasks:
            task.cancel()
        engine.dispatch.close_all()
        return asyncio.gather(*self._tasks, engine.close(), return_exceptions=True)

    async def crash(self) -> None:
        left = self.fall()
        if left is not None:
            await left

    def freeze(self) -> None:
        if self.engine is not None and self._gate is not None and self.leases is not None:
            self.frozen = True
            self.leases.thawed.clear()
            self._gate.freeze()

    def thaw(self) -> None:
        if self.frozen and self._gate is not None and self.leases is not None:
            self.frozen = False
            self.leases.thawed.set()
            self._gate.thaw()

    def jump(self, by_ms: int) -> None:
        """The host's clock is set anew, by this much."""
        self.skew_ms += by_ms
        self.clock.skew_ms = self.skew_ms

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
