"""People beside the clients: who repair what is suspended, and who send signals.

They look at the live state of whoever owns a run, and ask again until it has changed: what was
answered to them is not kept.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from headrace_core.ids import EventId, RunId, TenantId, event_id, slot_of, stable_hash
from headrace_core.run.state import RunState, StepState
from headrace_core.run.status import Repair, RunStatus, StepStatus, WaitingKind
from headrace_core.workflow.plan import Plan, StepKind
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.domain import commands as cmd
from tests.simulation.world.flows import BY_SIGNAL, ONCE, event_of
from tests.simulation.world.owners import OwnerHost
from tests.simulation.world.parts import SimCatalogue

PAUSE_MS = (100, 700)
OUTPUT = b'{"by": "operator"}'
SIGNALLED = b'{"by": "signal"}'


@dataclass(slots=True)
class Operator:
    """`retried` are the runs of which everything that had failed was tried once more before."""

    chance: random.Random
    hosts: Sequence[OwnerHost]
    catalogue: SimCatalogue
    tenant: TenantId
    day: int
    retried: set[RunId] = field(default_factory=set[RunId])

    async def work(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(self.chance.randint(*PAUSE_MS) / 1_000)
            for host in self.hosts:
                if host.engine is None:
                    continue
                for owned in tuple(host.engine.loop.partitions.values()):
                    self._look_at(owned, host.engine.loop.put)

    def _look_at(self, owned: OwnedPartition, put: Callable[[Input], None]) -> None:
        for run in (*owned.runs.awake(), *owned.runs.asleep()):
            plan = self.catalogue.plan(run.tenant, run.plan)
            if run.status is RunStatus.SUSPENDED:
                put(Input(owned.number, self._resume(run, plan)))
                continue
            for signal in self._signals(run, plan):
                put(Input(owned.number, signal))

    def _resume(self, run: RunState, plan: Plan) -> cmd.ResumeRun:
        failed = [
            state
            for state in run.steps.values()
            if state.key in plan.steps
            and state.status is StepStatus.FAILED
            and not plan.steps[state.key].catches
        ]
        again = run.run_id not in self.retried and all(_may_be_tried(plan, one) for one in failed)
        self.retried.add(run.run_id)
        edits = () if again else tuple(self._edit(run, plan, state) for state in failed)
        return cmd.ResumeRun(run=run.run_id, tenant=run.tenant, resumed_by="operator", edits=edits)

    def _edit(self, run: RunState, plan: Plan, state: StepState) -> cmd.StepEdit:
        step = plan.steps[state.key]
        takes_output = step.kind is StepKind.USES and step.foreach is None
        if takes_output and stable_hash(run.run_id, state.key)[0] % 2:
            value = self.catalogue.vault(run.tenant).seal(run.run_id, OUTPUT)
            return cmd.StepEdit(step=state.key, repair=Repair.OUTPUT, value=value)
        return cmd.StepEdit(step=state.key, repair=Repair.SKIP)

    def _signals(self, run: RunState, plan: Plan) -> Iterator[cmd.SignalRun]:
        for state in run.steps.values():
            if state.waiting is not WaitingKind.EVENT:
                continue
            event = event_of(plan.step_at(state.key))
            if event is not None and event.topic == BY_SIGNAL:
                yield cmd.SignalRun(
                    run=run.run_id,
                    tenant=run.tenant,
                    name=event.topic,
                    signal=self._signal_of(run.run_id, state),
                    content=self.catalogue.vault(run.tenant).seal(run.run_id, SIGNALLED),
                    sent_by="operator",
                )

    def _signal_of(self, run: RunId, state: StepState) -> EventId:
        """The same however often it is sent."""
        return event_id(slot_of(run), self.day, stable_hash(run, state.key)[:10])


def _may_be_tried(plan: Plan, state: StepState) -> bool:
    """Another call of what acts at most once may act twice: nobody asks for that here."""
    whole = state.fan_out is None and state.group is None and state.passes is None
    return whole and plan.steps[state.key].uses != ONCE
