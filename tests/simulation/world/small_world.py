"""One owner, one executor, no faults: for tests of what the loop does with a single event."""

import asyncio
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from headrace_contracts.codec import decode_body, decode_record
from headrace_core.ids import ExecutorId, RunId, StepKey, TenantId, partition_of, run_id, slot_of
from headrace_core.log.filter import LogFilter
from headrace_core.partition.events import PartitionEvent
from headrace_core.run.events import RunEvent
from headrace_core.workflow.plan import Plan
from headrace_executor.domain.effect_flow import Word
from headrace_runtime.eventlog.memory import Faults, MemoryLog, StaleAppend
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Rejection
from tests.simulation.world.effects import FarSide, RowStore
from tests.simulation.world.executor import Duties, SimExecutor
from tests.simulation.world.flows import ECHO
from tests.simulation.world.links import Link, Network
from tests.simulation.world.owners import OwnerHost, Shared
from tests.simulation.world.parts import LeaseTable, SimCatalogue, SimSnapshots
from tests.simulation.world.rules import ALL_RULES, RowRules, SafetyRules

TENANT = TenantId("acme")
LOG_ID = b"small-world-logs"
PARTITIONS = 2


class Asked:
    """What the sender of an input hears."""

    def __init__(self) -> None:
        self.offset: int | None = None
        self.rejection: Rejection | None = None
        self.lost = False
        self.answered = asyncio.Event()

    def accepted(self, partition: int, offset: int) -> None:
        self.offset = offset
        self.answered.set()

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        self.rejection = rejection
        self.answered.set()

    def unavailable(self, partition: int) -> None:
        self.lost = True
        self.answered.set()


class SmallWorld:
    def __init__(
        self, *plans: Plan, rules: SafetyRules = ALL_RULES, faults: Faults | None = None
    ) -> None:
        self.rules = rules
        self.chance = random.Random(1)
        self.log = MemoryLog(LOG_ID, PARTITIONS, StaleAppend.REFUSES, faults)
        self.plans = {plan.flow: plan for plan in plans}
        self.catalogue = SimCatalogue({plan.hash: plan for plan in plans})
        self.leases = LeaseTable(PARTITIONS)
        self.snapshots = SimSnapshots()
        self.host: OwnerHost | None = None
        self.rows = RowStore(RowRules())
        self.network = Network(self.chance)
        self.answer: Word | None = None
        duties = Duties(lambda task: ECHO, lambda task: self.answer, self.rows, FarSide())
        self.executor = SimExecutor(ExecutorId("executor"), self.chance, duties)

    async def start(self) -> None:
        shared = Shared(
            self.log,
            await self.log.describe(),
            self.snapshots,
            self.leases,
            self.rows,
            self.catalogue,
            self.chance,
            self.rules,
        )
        self.host = OwnerHost("owner", shared, PARTITIONS)
        self.host.on_life = self._connect
        self.host.start()
        await self.until(lambda: len(self.owned()) == PARTITIONS)

    def owned(self) -> Sequence[int]:
        assert self.host is not None
        return tuple(self.host.engine.loop.partitions) if self.host.engine is not None else ()

    def said(self) -> str:
        assert self.host is not None
        return "\n".join(self.host.shared.said)

    async def until(self, holds: Any, limit_s: float = 30.0) -> None:
        """Virtual time passes until it holds."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + limit_s
        while not holds():
            assert loop.time() < until_s, f"it never held; the log says: {self.said()}"
            await asyncio.sleep(0.01)

    async def begin(
        self, flow: str, fields: Mapping[str, Any] | None = None, tenant: TenantId = TENANT
    ) -> RunId:
        """A run that is durable."""
        run = self.chosen_run()
        command = self.start_of(run, flow, fields, tenant)
        asked = await self.ask(partition_of(slot_of(run), PARTITIONS), command)
        assert asked.offset is not None
        return run

    def chosen_run(self) -> RunId:
        return run_id(self.chance.randrange(1_024), 20_000, self.chance.randbytes(10))

    def start_of(
        self,
        run: RunId,
        flow: str,
        fields: Mapping[str, Any] | None = None,
        tenant: TenantId = TENANT,
    ) -> cmd.StartRun:
        plan = self.plans[flow]
        content = json.dumps(fields or {}).encode()
        return cmd.StartRun(
            run=run,
            tenant=tenant,
            flow=flow,
            version=1,
            plan=plan.hash,
            input=self.catalogue.vault(tenant).seal(run, content),
            trigger="manual",
            started_by="test",
            start_key=hashlib.sha256(run.encode()).digest(),
            fingerprint=b"f" * 32,
            key_kept_ms=86_400_000,
        )

    async def ask(self, partition: int, command: cmd.Command) -> Asked:
        assert self.host is not None and self.host.engine is not None
        asked = Asked()
        self.host.engine.loop.put(Input(partition, command, asked))
        await asked.answered.wait()
        return asked

    async def events_of(self, run: RunId) -> list[RunEvent]:
        found: list[RunEvent] = []
        for body in await self._bodies(partition_of(slot_of(run), PARTITIONS), run):
            found.extend(body[0])
        return found

    async def partition_events(self, partition: int) -> list[PartitionEvent]:
        return [event for _, events in await self._bodies(partition, None) for event in events]

    async def ended(self, run: RunId) -> bool:
        events = await self.events_of(run)
        return type(events[-1]).__name__ in ("RunSucceeded", "RunFailed", "RunCancelled")

    async def stop(self) -> None:
        assert self.host is not None
        await self.host.crash()

    def step_state(self, run: RunId, step: str) -> Any:
        assert self.host is not None and self.host.engine is not None
        partition = self.host.engine.loop.partitions[partition_of(slot_of(run), PARTITIONS)]
        found = partition.runs.get(run)
        assert found is not None
        return found.steps.get(StepKey(step))

    async def _bodies(
        self, partition: int, run: RunId | None
    ) -> list[tuple[tuple[RunEvent, ...], tuple[PartitionEvent, ...]]]:
        log_filter = LogFilter(LOG_ID)
        found: list[tuple[tuple[RunEvent, ...], tuple[PartitionEvent, ...]]] = []
        for entry in await self.log.read(partition, 0, 100_000):
            record = decode_record(entry.record)
            accepted = log_filter.accept(entry.offset, record.envelope)
            if accepted and (run is None or record.envelope.run == run):
                body = decode_body(record.body)
                found.append((body.run_events, body.partition_events))
        return found

    def _connect(self, host: OwnerHost) -> None:
        assert host.engine is not None
        link = Link(
            host.owner,
            self.executor.name,
            host.engine,
            LOG_ID,
            self.network,
            self.executor.receive,
        )
        self.executor.connect(link)
