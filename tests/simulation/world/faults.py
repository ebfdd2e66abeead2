"""Plays the faults of a scenario: at their times, or where a process gets to a named point."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from headrace_runtime.eventlog.memory import Fate, Faults
from headrace_runtime.eventlog.port import Batch
from tests.simulation.world.effects import RowStore
from tests.simulation.world.executor import SimExecutor
from tests.simulation.world.links import Network
from tests.simulation.world.owners import OwnerHost
from tests.simulation.world.parts import SimSnapshots
from tests.simulation.world.scenario import OF_OWNERS, Fault, FaultKind

IN_WINDOW = 0.35
"""So often an append fails while a fault of the log lasts."""
SLOW_MS_MAX = 250
FATES = {
    FaultKind.APPENDS_LOST: Fate.LOST,
    FaultKind.ACKS_LOST: Fate.ACK_LOST,
    FaultKind.APPENDS_DELAYED: Fate.DELAYED,
    FaultKind.APPENDS_DOUBLED: Fate.DOUBLED,
}


UNCOUNTED = frozenset({FaultKind.MESSAGES_LATE, FaultKind.SNAPSHOTS_FAIL, FaultKind.ROWS_AWAY})
"""Counted as they begin, since nobody counts what they do."""


class Afflicted(Protocol):
    """What a fault may befall: the world of a campaign."""

    hosts: list[OwnerHost]
    executors: list[SimExecutor]
    network: Network
    snapshots: SimSnapshots
    rows: RowStore

    def revive(self, host: OwnerHost) -> None: ...

    def replace_executor(self, executor: SimExecutor) -> None: ...

    def reconnect_later(self, executor: SimExecutor, host: OwnerHost, delay_ms: int) -> None: ...

    async def delete_ranges(self) -> None: ...


@dataclass(slots=True)
class FaultPlayer:
    """`counts` says what has really happened."""

    chance: Random
    faults: Sequence[Fault]
    counts: Counter[str] = field(default_factory=Counter[str])
    over: bool = False
    _armed: list[Fault] = field(default_factory=list[Fault])
    _lasting: Counter[FaultKind] = field(default_factory=Counter[FaultKind])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def of_log(self) -> Faults:
        return Faults(
            of_append=self._fate_of_append, of_claim=self._fate_of_claim, pause=self._pause
        )

    def play(self, world: Afflicted) -> None:
        """Schedules everything; from `stop` on nothing happens any more."""
        loop = asyncio.get_running_loop()
        for fault in self.faults:
            loop.call_at(fault.at_ms / 1_000, self._begin, world, fault)

    def stop(self, world: Afflicted) -> None:
        """Whatever lasts is over: nothing is lost, late, away or frozen any more."""
        self.over = True
        self._armed.clear()
        self._lasting.clear()
        self._set_lasting(world)

    def owner_at(self, world: Afflicted, host: OwnerHost, point: str) -> None:
        self._strike_at(world, point, lambda fault: world.hosts[fault.target] is host)

    def executor_at(self, world: Afflicted, executor: SimExecutor, point: str) -> None:
        self._strike_at(world, point, lambda fault: world.executors[fault.target] is executor)

    def _strike_at(self, world: Afflicted, point: str, concerns: Callable[[Fault], bool]) -> None:
        for fault in self._armed:
            if fault.point == point and concerns(fault):
                self._armed.remove(fault)
                self.counts[f"{fault.kind} at {point}"] += 1
                self._strike(world, fault)
                return

    def _begin(self, world: Afflicted, fault: Fault) -> None:
        if self.over:
            return
        if fault.point:
            self._armed.append(fault)
        else:
            self._strike(world, fault)

    def _strike(self, world: Afflicted, fault: Fault) -> None:
        if fault.kind in OF_OWNERS:
            self._strike_owner(world, world.hosts[fault.target], fault)
        elif fault.kind in (FaultKind.EXECUTOR_CRASHES, FaultKind.EXECUTOR_FREEZES):
            self._strike_executor(world, world.executors[fault.target], fault)
        elif fault.kind is FaultKind.STREAM_BREAKS:
            executor = world.executors[fault.target]
            for host in world.hosts:
                executor.break_stream(host.owner)
                world.reconnect_later(executor, host, fault.for_ms)
            self.counts[fault.kind] += 1
        elif fault.kind is FaultKind.RANGE_DELETED:
            self._spawn(world)
        else:
            self._lasting[fault.kind] += 1
            self.counts[fault.kind] += fault.kind in UNCOUNTED
            self._set_lasting(world)
            self._later(fault.for_ms, lambda: self._end_lasting(world, fault.kind))

    def _strike_owner(self, world: Afflicted, host: OwnerHost, fault: Fault) -> None:
        if host.engine is None:
            return
        self.counts[fault.kind] += 1
        if fault.kind is FaultKind.OWNER_CRASHES:
            host.fall()
            self._later(fault.for_ms, lambda: world.revive(host))
        elif fault.kind is FaultKind.OWNER_FREEZES:
            host.freeze()
            self._later(fault.for_ms, host.thaw)
        else:
            host.jump(fault.for_ms)

    def _strike_executor(self, world: Afflicted, executor: SimExecutor, fault: Fault) -> None:
        self.counts[fault.kind] += 1
        if fault.kind is FaultKind.EXECUTOR_CRASHES:
            executor.crash()
            self._later(fault.for_ms, lambda: world.replace_executor(executor))
        elif not executor.frozen:
            executor.freeze()
            self._later(fault.for_ms, executor.thaw)

    def _end_lasting(self, world: Afflicted, kind: FaultKind) -> None:
        if not self.over:
            self._lasting[kind] -= 1
            self._set_lasting(world)

    def _set_lasting(self, world: Afflicted) -> None:
        lasting = self._lasting
        world.network.doubled = lasting[FaultKind.MESSAGES_DOUBLED] > 0
        world.network.late = lasting[FaultKind.MESSAGES_LATE] > 0
        world.snapshots.failing = lasting[FaultKind.SNAPSHOTS_FAIL] > 0
        world.rows.away = lasting[FaultKind.ROWS_AWAY] > 0

    def _fate_of_append(self, batches: Sequence[Batch]) -> Fate:
        return self._fate()

    def _fate_of_claim(self, partition: int) -> Fate:
        return self._fate()

    def _fate(self) -> Fate:
        for kind, fate in FATES.items():
            if self._lasting[kind] > 0 and self.chance.random() < IN_WINDOW:
                self.counts[kind] += 1
                return fate
        return Fate.LANDS

    async def _pause(self) -> None:
        slow = self._lasting[FaultKind.LOG_SLOW] > 0 and self.chance.random() < IN_WINDOW
        self.counts[FaultKind.LOG_SLOW] += slow
        await asyncio.sleep(self.chance.randrange(0, SLOW_MS_MAX if slow else 4) / 1_000)

    def _spawn(self, world: Afflicted) -> None:
        self.counts[FaultKind.RANGE_DELETED] += 1
        task = asyncio.get_running_loop().create_task(world.delete_ranges(), name="deleter")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _later(self, delay_ms: int, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_ms / 1_000, act)
