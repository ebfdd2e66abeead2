"""One campaign: a scenario is played; then its faults stop, and all must end.

Safety phase: anything may crash, freeze, break or be lost. Liveness phase: nothing does any more,
and within a bounded time every accepted run has ended as its plan says.
"""

import asyncio
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from headrace_core.ids import ExecutorId, RunId, StepKey, TenantId, run_id
from headrace_core.workflow.plan import Action
from headrace_executor.domain.effect_flow import Word
from headrace_runtime.eventlog.memory import MemoryLog
from headrace_runtime.eventlog.port import Entry
from headrace_worker.messages import Task
from tests.simulation.world.clients import Client, ClientSays
from tests.simulation.world.effects import FarSide, RowStore
from tests.simulation.world.executor import Duties, SimExecutor
from tests.simulation.world.faults import FaultPlayer
from tests.simulation.world.flows import SimFlow
from tests.simulation.world.links import Link, Network
from tests.simulation.world.operators import Operator
from tests.simulation.world.owners import OwnerHost, Shared
from tests.simulation.world.parts import LeaseTable, SimCatalogue
from tests.simulation.world.rules import ALL_RULES, SafetyRules
from tests.simulation.world.scenario import (
    EXECUTORS,
    FAULT_PHASE_MS,
    PARTITIONS,
    Scenario,
    draw_scenario,
)
from tests.simulation.world.sharing import SharingWatch
from tests.simulation.world.verdict import Observed, judge
from tests.simulation.world.virtual_loop import run_virtually
from tests.simulation.world.watching import StateWatch

TENANT = TenantId("acme")
LOG_ID = b"simulated-log-id"
LIVENESS_S = 60.0
LOOK_S = 0.25
AFTERMATH_S = 1.0
"""When all has ended, so long the last zombies go on with what they were about to do."""
TAKEOVER_S = 10.0
DAY = 20_000


@dataclass(slots=True)
class Report:
    """`digest` is the hash of the whole log: equal for equal seeds. `seen` counts what campaigns
    must meet at least sometimes."""

    seed: int
    digest: str
    seen: dict[str, int]


class Campaign:
    """The world of one scenario. Everything random in it has a generator of its own by name, so
    that a smaller scenario draws the same for what is left of it."""

    def __init__(self, scenario: Scenario, rules: SafetyRules = ALL_RULES) -> None:
        self.scenario = scenario
        self.rules = rules
        self.flow_of = {flow.plan.flow: flow for flow in scenario.flows}
        self.player = FaultPlayer(self.chance_of("faults"), scenario.faults)
        self.log = MemoryLog(LOG_ID, PARTITIONS, scenario.stale, self.player.of_log())
        self.archive: dict[int, list[Entry]] = {number: [] for number in range(PARTITIONS)}
        self.catalogue = SimCatalogue({flow.plan.hash: flow.plan for flow in scenario.flows})
        self.rows = RowStore(rules.rows)
        self.snapshots = rules.snapshots()
        self.far_side = FarSide()
        self.network = Network(self.chance_of("network"))
        self.leases = LeaseTable(PARTITIONS)
        self.watch = StateWatch(self.chance_of("watch"))
        self.sharing = SharingWatch(self.chance_of("sharing"))
        self.executors: list[SimExecutor] = []
        self.all_executors: list[SimExecutor] = []
        self.hosts: list[OwnerHost] = []
        self.said: list[str] = []
        self.raw: dict[int, Sequence[Entry]] = {}
        self.flow_of_run: dict[RunId, SimFlow] = {}

    def chance_of(self, name: str) -> random.Random:
        return random.Random(f"{self.scenario.seed}/{name}")

    async def run(self) -> Report:
        description = await self.log.describe()
        shared = Shared(
            self.log,
            description,
            self.snapshots,
            self.leases,
            self.rows,
            self.catalogue,
            self.chance_of("owners"),
            self.rules,
            self.said,
        )
        for number, skew_ms in enumerate(self.scenario.skews_ms):
            host = OwnerHost(f"owner{number}", shared, PARTITIONS, skew_ms)
            host.on_life = self._connect_owner
            host.on_point = lambda at, point: self.player.owner_at(self, at, point)
            self.hosts.append(host)
        for number in range(EXECUTORS):
            self.executors.append(self._new_executor(number))
        for host in self.hosts:
            host.start()
        self.player.play(self)
        said = self._begin_clients()
        operator = Operator(self.chance_of("operator"), self.hosts, self.catalogue, TENANT, DAY)
        working = asyncio.get_running_loop().create_task(operator.work(), name="operator")
        await asyncio.sleep(FAULT_PHASE_MS / 1_000)
        self.player.stop(self)
        await self._live(said)
        working.cancel()
        return await self._end(said)

    def _begin_clients(self) -> "list[tuple[ClientSays, asyncio.Task[None]]]":
        loop = asyncio.get_running_loop()
        begun: list[tuple[ClientSays, asyncio.Task[None]]] = []
        for start in self.scenario.starts:
            chance = self.chance_of(f"client {start.number}")
            flow = self.scenario.flows[start.flow]
            run = run_id(start.slot, DAY, chance.randbytes(10))
            self.flow_of_run[run] = flow
            client = Client(chance, self.hosts, self.leases, PARTITIONS, TENANT, self.catalogue)
            said = ClientSays(run, flow)
            task = loop.create_task(client.live(start, said), name=f"client {start.number}")
            begun.append((said, task))
        return begun

    # What faults ask for; see `Afflicted`.

    def revive(self, host: OwnerHost) -> None:
        if host.engine is None:
            host.start()

    def replace_executor(self, executor: SimExecutor) -> None:
        if executor in self.executors:
            place = self.executors.index(executor)
            self.executors[place] = self._new_executor(len(self.all_executors))

    def reconnect_later(self, executor: SimExecutor, host: OwnerHost, delay_ms: int) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(delay_ms / 1_000, self._reconnect, executor, host)

    async def delete_ranges(self) -> None:
        """Only offsets up to the committed checkpoint go, once the archive holds their bytes."""
        for partition, kept in self.archive.items():
            offset = self.snapshots.offset_of(partition) + 1
            entries = await self.log.read(partition, len(kept), offset - len(kept))
            kept.extend(entries)
            await self.log.delete_below(partition, offset)

    # Streams.

    def _new_executor(self, number: int) -> SimExecutor:
        name = ExecutorId(f"executor{number}")
        duties = Duties(self._action_of, self._answer_of, self.rows, self.far_side)
        executor = SimExecutor(name, self.chance_of(name), duties)
        executor.on_point = lambda at, point: self.player.executor_at(self, at, point)
        self.all_executors.append(executor)
        for host in self.hosts:
            self._reconnect(executor, host)
        return executor

    def _connect_owner(self, host: OwnerHost) -> None:
        assert host.engine is not None
        self.watch.over(host.engine.loop)
        self.sharing.over(host, lambda: self.executors)
        for executor in self.executors:
            self._reconnect(executor, host)

    def _reconnect(self, executor: SimExecutor, host: OwnerHost) -> None:
        engine = host.engine
        if executor.crashed or engine is None or executor.is_connected(host.owner):
            return
        if executor.frozen:
            self.reconnect_later(executor, host, 100)
            return
        link = Link(host.owner, executor.name, engine, LOG_ID, self.network, executor.receive)
        executor.connect(link)

    # Work.

    def _action_of(self, task: Task) -> Action:
        step = self.flow_of[task.flow].plan.step_at(task.attempt.step)
        action = step.fallback[task.fallback - 1].uses if task.fallback else step.uses
        assert action is not None
        return action

    def _answer_of(self, task: Task) -> Word | None:
        attempt, flow = task.attempt, self.flow_of[task.flow]
        return flow.answer(attempt.run, StepKey(attempt.step), attempt.number, task.fallback)

    # The end.

    async def _live(self, said: "Sequence[tuple[ClientSays, asyncio.Task[None]]]") -> None:
        for host in self.hosts:
            self.revive(host)
        for executor in self.executors:
            if executor.crashed:
                self.replace_executor(executor)
        self.log.land_delayed()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + LIVENESS_S
        while loop.time() < until_s:
            await asyncio.sleep(LOOK_S)
            for host in self.hosts:
                assert not host.failed_tasks(), f"a loop ended: {host.failed_tasks()}"
                for executor in self.executors:
                    self._reconnect(executor, host)
            if all(task.done() for _, task in said) and self._all_ended():
                break
        else:
            return
        for zombie in (*self.hosts, *self.all_executors):
            zombie.thaw()
        await asyncio.sleep(AFTERMATH_S)
        self._look_at_rest()
        await self._take_over_once_more()
        self._look_at_rest()

    async def _take_over_once_more(self) -> None:
        """Whatever was left in snapshots and log, new owners make of it that nothing is open."""
        for host in self.hosts:
            await host.crash()
            host.start()
        for _ in range(int(TAKEOVER_S / LOOK_S)):
            await asyncio.sleep(LOOK_S)
            if self._all_ended():
                break
        assert self._all_ended(), f"the last owners are not at rest: {self.said[-5:]}"

    def _look_at_rest(self) -> None:
        self.sharing.at_rest = True
        for host in self.hosts:
            self.sharing.look(host, self.executors)

    def _all_ended(self) -> bool:
        """As the owners see it; the log decides in the end."""
        partitions = [
            partition
            for host in self.hosts
            if host.engine is not None
            for partition in host.engine.loop.partitions.values()
        ]
        open_runs = sum(
            len(partition.runs)
            + sum(len(box.messages) for box in partition.state.outboxes.values())
            for partition in partitions
        )
        return not open_runs and len({one.number for one in partitions}) == PARTITIONS

    async def _end(self, said: "Sequence[tuple[ClientSays, asyncio.Task[None]]]") -> Report:
        raw = self.raw
        for number, kept in self.archive.items():
            raw[number] = [*kept, *await self.log.read(number, len(kept), 1_000_000)]
        for host in self.hosts:
            await host.crash()
        for _, task in said:
            if task.done():
                task.result()
        observed = Observed(
            raw=raw,
            log_id=LOG_ID,
            flows=self.flow_of,
            clients=[one for one, _ in said],
            tasks=[(one.name, task) for one in self.all_executors for task in one.accepted],
            requests=self.far_side.requests,
            states=self.watch.states,
            credits=self.sharing.credits,
            slots=self.sharing.slots,
            said=self.said,
        )
        seen = judge(observed)
        seen.update(self.player.counts)
        seen["doubled message"] = self.network.doubles
        seen["late result"] = self.network.late_results
        seen["lapsed effect claim"] = self.rows.lapsed_claims
        seen["effect row closed by an owner"] = self.rows.closed_in_time
        seen["checkpoint refused"] = self.snapshots.refused
        return Report(self.scenario.seed, _digest(raw), dict(sorted(seen.items())))


def _digest(raw: dict[int, Sequence[Entry]]) -> str:
    digest = hashlib.sha256()
    for number in sorted(raw):
        for entry in raw[number]:
            digest.update(entry.record)
    return digest.hexdigest()


def play(scenario: Scenario, rules: SafetyRules = ALL_RULES) -> Report:
    """Raises AssertionError for whatever was broken."""
    return run_virtually(Campaign(scenario, rules).run())


def run_campaign(seed: int, rules: SafetyRules = ALL_RULES) -> Report:
    """Raises AssertionError with the seed in its notes."""
    try:
        return play(draw_scenario(seed), rules)
    except BaseException as fault:
        fault.add_note(f"`make sim SEED={seed}` repeats this and cuts it down")
        raise


__all__ = ["Campaign", "Report", "play", "run_campaign"]
