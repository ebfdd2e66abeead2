"""One campaign: a seed draws flows, faults and their times; then the faults stop and all must end.

Safety phase: anything may crash, freeze, break or be lost. Liveness phase: nothing does any more,
and within a bounded time every accepted run has ended as its plan says.
"""

import asyncio
import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace_core.ids import ExecutorId, RunId, StepKey, TenantId, partition_of, run_id, slot_of
from headrace_core.run.status import RUN_TERMINAL, RunStatus
from headrace_runtime.eventlog.memory import Fate, Faults, MemoryLog, StaleAppend
from headrace_runtime.eventlog.port import Batch
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason, Rejection
from headrace_worker.messages import Task
from tests.simulation.world.checker import Folded, check_ended, check_safety, fold_log
from tests.simulation.world.executor import SimExecutor
from tests.simulation.world.flows import SimFlow, random_flow
from tests.simulation.world.links import Link, Network
from tests.simulation.world.owners import OwnerHost, Shared
from tests.simulation.world.parts import LeaseTable, SimCatalogue, SimSnapshots
from tests.simulation.world.virtual_loop import run_virtually

TENANT = TenantId("acme")
LOG_ID = b"simulated-log-id"
PARTITIONS = 4
RUNS = 12
FAULT_PHASE_S = 6.0
LIVENESS_S = 60.0
OWNERS, EXECUTORS = 2, 2
DAY = 20_000


@dataclass(slots=True)
class Report:
    """`digest` is the hash of the whole log: equal for equal seeds. The rest is what a campaign
    must have seen at least sometimes."""

    seed: int
    digest: str
    seen: dict[str, int]


@dataclass(slots=True)
class _Rates:
    """Drawn per seed, so that campaigns differ in kind and not only in order."""

    crash: float
    freeze: float
    executor_crash: float
    break_stream: float
    append_lost: float
    ack_lost: float
    delayed: float
    doubled: float


class Campaign:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.rates = _draw_rates(self.chance)
        self.faulty = True
        self.counts: dict[str, int] = {}
        self.flows = _draw_flows(self.chance)
        by_hash = {flow.plan.hash: flow.plan for flow in self.flows}
        stale = self.chance.choice([StaleAppend.REFUSES, StaleAppend.VOIDS])
        faults = Faults(of_append=self._fate, of_claim=self._claim_fate, pause=self._pause)
        self.log = MemoryLog(LOG_ID, PARTITIONS, stale, faults)
        self.shared_catalogue = SimCatalogue(by_hash)
        self.expected: dict[RunId, RunStatus] = {}
        self.flow_of: dict[str, SimFlow] = {flow.plan.flow: flow for flow in self.flows}
        self.run_flow: dict[RunId, SimFlow] = {}
        self.executors: list[SimExecutor] = []
        self.all_executors: list[SimExecutor] = []
        self.hosts: list[OwnerHost] = []
        self.links: list[Link] = []
        self.network = Network(self.chance, self.rates.doubled)

    async def run(self) -> Report:
        description = await self.log.describe()
        shared = Shared(
            self.log,
            description,
            SimSnapshots(),
            LeaseTable(PARTITIONS),
            self.shared_catalogue,
            self.chance,
        )
        for number in range(OWNERS):
            skew_ms = self.chance.randint(-200, 200)
            host = OwnerHost(f"owner{number}", shared, PARTITIONS, skew_ms)
            host.on_life = self._connect_owner
            self.hosts.append(host)
        for _ in range(EXECUTORS):
            self._new_executor()
        for host in self.hosts:
            host.start()
        clients = [
            asyncio.get_running_loop().create_task(self._client(number), name=f"client{number}")
            for number in range(RUNS)
        ]
        await self._fault_phase()
        await self._liveness_phase(clients)
        folded = await fold_log(self.log, LOG_ID, PARTITIONS)
        self._check(folded)
        for host in self.hosts:
            await host.crash()
        self.counts["snapshots refused"] = shared.snapshots.refused
        return Report(self.seed, await self._digest(), self._seen(folded))

    # Faults.

    async def _fault_phase(self) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + FAULT_PHASE_S
        while loop.time() < until_s:
            await asyncio.sleep(self.chance.randrange(20, 200) / 1_000)
            await self._maybe_disturb()
        self.faulty = False
        self.network.doubled = 0.0

    async def _maybe_disturb(self) -> None:
        chance, rates = self.chance, self.rates
        if chance.random() < rates.crash:
            host = chance.choice(self.hosts)
            if host.engine is not None:
                await host.crash()
                self._count("owner crash")
                self._later(chance.randrange(50, 1_500), lambda: self._revive(host))
        if chance.random() < rates.freeze:
            host = chance.choice(self.hosts)
            if host.engine is not None and not host.frozen:
                host.freeze()
                self._count("zombie")
                self._later(chance.randrange(500, 4_000), host.thaw)
        if chance.random() < rates.executor_crash and self.executors:
            victim = chance.choice(self.executors)
            self.executors.remove(victim)
            victim.crash()
            self._count("executor crash")
            self._later(chance.randrange(50, 1_000), self._new_executor)
        if chance.random() < rates.break_stream and self.executors:
            executor, host = chance.choice(self.executors), chance.choice(self.hosts)
            executor.break_stream(host.owner)
            self._count("stream broken")
            self._later(chance.randrange(10, 1_500), lambda: self._reconnect(executor, host))

    def _fate(self, batches: Sequence[Batch]) -> Fate:
        return self._draw_fate()

    def _claim_fate(self, partition: int) -> Fate:
        return self._draw_fate()

    def _draw_fate(self) -> Fate:
        if not self.faulty:
            return Fate.LANDS
        rates = self.rates
        weights = [1.0, rates.append_lost, rates.ack_lost, rates.delayed]
        fate = self.chance.choices([Fate.LANDS, Fate.LOST, Fate.ACK_LOST, Fate.DELAYED], weights)[0]
        if fate is not Fate.LANDS:
            self._count(f"append {fate.name.lower()}")
        return fate

    async def _pause(self) -> None:
        await asyncio.sleep(self.chance.randrange(0, 4) / 1_000)

    # Lives.

    def _later(self, delay_ms: int, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_ms / 1_000, act)

    def _revive(self, host: OwnerHost) -> None:
        if host.engine is None:
            host.start()

    def _new_executor(self) -> None:
        name = ExecutorId(f"executor{len(self.all_executors)}")
        executor = SimExecutor(name, self.network, self._fails)
        self.executors.append(executor)
        self.all_executors.append(executor)
        for host in self.hosts:
            self._reconnect(executor, host)

    def _connect_owner(self, host: OwnerHost) -> None:
        for executor in self.executors:
            self._reconnect(executor, host)

    def _reconnect(self, executor: SimExecutor, host: OwnerHost) -> None:
        if executor.crashed or host.engine is None or executor.is_connected(host.owner):
            return
        link = Link(
            host.owner,
            executor.name,
            host.engine,
            LOG_ID,
            self.network,
            executor.receive,
        )
        self.links.append(link)
        executor.connect(link)

    def _fails(self, run: str, step: StepKey, attempt: int) -> bool:
        flow = self.run_flow.get(RunId(run)) or self._flow_by_log(run)
        return flow.fails(run, step, attempt)

    def _flow_by_log(self, run: str) -> SimFlow:
        """A child's flow is known from whoever holds its state."""
        for host in self.hosts:
            if host.engine is None:
                continue
            for partition in host.engine.loop.partitions.values():
                state = partition.runs.get(RunId(run))
                if state is not None:
                    return self.flow_of[state.flow]
        return self.flows[0]

    # Clients.

    async def _client(self, number: int) -> None:
        """Starts one run, again and again with the same key, until somebody says it is durable."""
        chance = self.chance
        await asyncio.sleep(chance.randrange(0, 4_000) / 1_000)
        flow = self.flows[1 + number % (len(self.flows) - 1)]
        run = run_id(chance.randrange(1_024), DAY, chance.randbytes(10))
        self.run_flow[run] = flow
        partition = partition_of(slot_of(run), PARTITIONS)
        fields = json.dumps({"list": [1, 2, 3], "no": False}).encode()
        command = cmd.StartRun(
            run=run,
            tenant=TENANT,
            flow=flow.plan.flow,
            version=1,
            plan=flow.plan.hash,
            input=self.shared_catalogue.vault(TENANT).seal(run, fields),
            trigger="manual",
            started_by="client",
            start_key=hashlib.sha256(run.encode()).digest(),
            fingerprint=b"f" * 32,
            key_kept_ms=86_400_000,
        )
        while True:
            answer = _StartAnswer()
            host = self._owner_host(partition)
            if host is not None and host.engine is not None:
                host.engine.loop.put(Input(partition, command, answer))
                await asyncio.wait({answer.done}, timeout=chance.randrange(50, 800) / 1_000)
            if answer.durable:
                self.expected[run] = flow.outcome
                return
            self._count("start repeated")
            await asyncio.sleep(chance.randrange(10, 300) / 1_000)

    def _owner_host(self, partition: int) -> OwnerHost | None:
        owner = self.hosts[0].shared.leases.owner_of(partition)
        return next((host for host in self.hosts if host.owner == owner), None)

    # The end.

    async def _liveness_phase(self, clients: Sequence[asyncio.Task[None]]) -> None:
        for host in self.hosts:
            host.thaw()
            self._revive(host)
        if not self.executors:
            self._new_executor()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + LIVENESS_S
        while loop.time() < until_s:
            await asyncio.sleep(0.5)
            for host in self.hosts:
                self._connect_owner(host)
                assert not host.failed_tasks(), host.failed_tasks()
            if all(client.done() for client in clients) and self._all_ended():
                return
        for client in clients:
            client.cancel()

    def _all_ended(self) -> bool:
        """As the owners see it; the log decides in the end."""
        open_runs = sum(
            len(partition.runs)
            + sum(len(box.messages) for box in partition.state.outboxes.values())
            for host in self.hosts
            if host.engine is not None
            for partition in host.engine.loop.partitions.values()
        )
        owned = {
            number
            for host in self.hosts
            if host.engine is not None
            for number in host.engine.loop.partitions
        }
        return not open_runs and len(owned) == PARTITIONS

    def _check(self, folded: Folded) -> None:
        accepted: list[tuple[str, Task]] = [
            (executor.name, task) for executor in self.all_executors for task in executor.accepted
        ]
        check_safety(folded, accepted)
        assert len(self.expected) == RUNS, "a client never got its answer"
        check_ended(folded, self.expected)

    def _seen(self, folded: Folded) -> dict[str, int]:
        said = "\n".join(self.hosts[0].shared.said)
        self.counts["void record"] = folded.void
        self.counts["takeover"] = folded.claims
        self.counts["doubled message"] = self.network.doubles
        self.counts["fenced owner"] = said.count("claimed")
        self.counts["lost attempt"] = sum(
            step.lost for run in folded.runs.values() for step in run.steps.values()
        )
        self.counts["child run"] = sum(run.parent is not None for run in folded.runs.values())
        self.counts["parked"] = said.count("run parked")
        self.counts["terminal"] = sum(run.status in RUN_TERMINAL for run in folded.runs.values())
        return dict(sorted(self.counts.items()))

    async def _digest(self) -> str:
        digest = hashlib.sha256()
        for partition in range(PARTITIONS):
            for entry in await self.log.read(partition, 0, 1_000_000):
                digest.update(entry.record)
        return digest.hexdigest()

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


class _StartAnswer:
    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.durable = False

    def accepted(self, partition: int, offset: int) -> None:
        self.durable = True
        self._settle()

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        self.durable = rejection.reason is Reason.REPEATED
        self._settle()

    def unavailable(self, partition: int) -> None:
        self._settle()

    def _settle(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _draw_rates(chance: random.Random) -> _Rates:
    def draw(highest: float) -> float:
        return chance.choice([0.0, highest / 4, highest])

    return _Rates(
        crash=draw(0.12),
        freeze=draw(0.3),
        executor_crash=draw(0.12),
        break_stream=draw(0.3),
        append_lost=draw(0.03),
        ack_lost=draw(0.03),
        delayed=draw(0.03),
        doubled=draw(0.3),
    )


def _draw_flows(chance: random.Random) -> list[SimFlow]:
    child = random_flow(chance, 0, None)
    return [child, *(random_flow(chance, number, child) for number in range(1, 5))]


def run_campaign(seed: int) -> Report:
    """Raises AssertionError with the seed in its text."""
    campaign = Campaign(seed)
    try:
        return run_virtually(campaign.run())
    except BaseException as fault:
        fault.add_note(f"seed {seed}: run_campaign({seed}) repeats this")
        raise


__all__ = ["Report", "run_campaign"]
