"""Several partitions in one process: inputs are decided as the loop does, and what partitions send
to each other is delivered in order until nothing is under way."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace_api_gateway.domain.event_starts import matches, start_wanted
from headrace_core.ids import (
    DAY_MS,
    PlanHash,
    RunId,
    StepKey,
    TenantId,
    correlation_of,
    event_id,
    partition_of,
    run_id,
    slot_of,
    slot_of_correlation,
    stable_hash,
)
from headrace_core.partition import events as pev
from headrace_core.partition.apply import apply_turn as apply_partition_turn
from headrace_core.partition.state import PartitionState
from headrace_core.payload import Stored
from headrace_core.run.events import RunEvent, StepAssigned
from headrace_core.run.freeze import freeze_partition, thaw_partition
from headrace_core.run.replay import StoredTurn
from headrace_core.run.state import RunState
from headrace_core.run.status import RUN_TERMINAL
from headrace_core.workflow.plan import Plan, TriggerKind
from headrace_core.workflow.subject import subject_of
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.preparing import child_input
from headrace_scheduler.app.turns import Draft, PayloadNeeded, Rejected, Turns
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Rejection, RunTurn
from headrace_scheduler.domain.effects import FetchPayload, PrepareChild, SetTimer
from headrace_scheduler.domain.failure import sealed_error
from tests.simulation.world.parts import SimCatalogue
from tests.support.plain_vault import PlainVault
from tests.support.run_harness import EXECUTOR, TENANT

PARTITIONS = 8


@dataclass(slots=True)
class Partitions:
    """`now_ms` moves only when a test says so. `undelivered` partitions take no message yet.
    `turns` are each run's, `records` each partition's own part of them."""

    plans: Mapping[PlanHash, Plan]
    now_ms: int = 1_000_000_000
    vault: PlainVault = field(default_factory=PlainVault)
    owned: dict[int, OwnedPartition] = field(default_factory=dict[int, OwnedPartition])
    runs: dict[RunId, RunState] = field(default_factory=dict[RunId, RunState])
    events: dict[RunId, list[RunEvent]] = field(default_factory=dict[RunId, list[RunEvent]])
    turns: dict[RunId, list[StoredTurn]] = field(default_factory=dict[RunId, list[StoredTurn]])
    timers: list[SetTimer] = field(default_factory=list[SetTimer])
    records: list[tuple[int, int, tuple[pev.PartitionEvent, ...]]] = field(
        default_factory=list[tuple[int, int, tuple[pev.PartitionEvent, ...]]]
    )
    undelivered: set[int] = field(default_factory=set[int])
    _catalogue: SimCatalogue = field(init=False)
    _turns: Turns = field(init=False)
    _drawn: int = 0

    def __post_init__(self) -> None:
        self._catalogue = SimCatalogue(self.plans, self.vault)
        self._turns = Turns(self._catalogue, PARTITIONS)
        for number in range(PARTITIONS):
            state = PartitionState(number)
            self.owned[number] = OwnedPartition(number, b"log", 0, 0, state)

    def start(self, plan: Plan, fields: Any = None, slot: int = 0) -> RunId:
        run = run_id(slot, self.now_ms // DAY_MS, self._draw())
        subject = subject_of(plan, fields or {})
        assert isinstance(subject, str), subject
        vault = self.vault.under(self.vault.subject_key(subject) if subject else 0)
        command = cmd.StartRun(
            run=run,
            tenant=TENANT,
            flow=plan.flow,
            version=1,
            plan=plan.hash,
            input=vault.seal(run, json.dumps(fields or {}).encode()),
            trigger="api",
            started_by="test",
            start_key=stable_hash(run),
            fingerprint=b"f" * 32,
            key_kept_ms=60_000,
        )
        assert self.take(partition_of(slot, PARTITIONS), command) is None
        return run

    def signal(
        self, run: RunId, name: str, body: Any = None, client_id: str = ""
    ) -> Rejection | None:
        signal = event_id(slot_of(run), 0, stable_hash(client_id or str(self._draw()))[:10])
        content = self.vault.seal(run, json.dumps(_document(name, "", body)).encode())
        return self.take(
            partition_of(slot_of(run), PARTITIONS),
            cmd.SignalRun(
                run=run,
                tenant=TENANT,
                name=name,
                signal=signal,
                content=content,
                sent_by="test",
            ),
        )

    def publish(
        self, topic: str, key: str, body: Any = None, keep_ms: int = 60_000, client_id: str = ""
    ) -> Rejection | None:
        correlation = correlation_of(TENANT, topic, key)
        slot = slot_of_correlation(correlation)
        event = event_id(slot, 0, self._draw())
        content = {**_document(topic, key, body), "id": event, "time": "now", "sent_by": "test"}
        document = json.dumps(content).encode()
        command = cmd.PublishEvent(
            event=event,
            tenant=TENANT,
            correlation=correlation,
            content=self.vault.seal(RunId(event), document),
            keep_ms=keep_ms,
            start_key=stable_hash(topic, key, client_id or event),
            fingerprint=stable_hash(json.dumps(body)),
            key_kept_ms=60_000,
            starts=self._starts(topic, content),
        )
        return self.take(partition_of(slot, PARTITIONS), command)

    def _starts(self, topic: str, event: Mapping[str, Any]) -> tuple[pev.EventStart, ...]:
        """As the gateway finds them: every plan here is stable."""
        found: list[pev.EventStart] = []
        for plan in self.plans.values():
            for name, trigger in plan.triggers.items():
                of_topic = trigger.kind is TriggerKind.EVENT and trigger.topic == topic
                if of_topic and matches(plan, name, event) is True:
                    found.append(self._start(plan, name, event))
        return tuple(found)

    def _start(self, plan: Plan, trigger: str, event: Mapping[str, Any]) -> pev.EventStart:
        wanted = start_wanted(plan, trigger, event, self.now_ms // DAY_MS)
        refused = sealed_error(self.vault, wanted.run, "input.invalid", wanted.fault)
        return pev.EventStart(
            run=wanted.run,
            tenant=TENANT,
            flow=plan.flow,
            version=1,
            plan=plan.hash,
            input=self.vault.seal(wanted.run, wanted.content),
            trigger=trigger,
            event=event["id"],
            error=refused if wanted.fault else None,
        )

    def home(self, topic: str, key: str, tenant: TenantId = TENANT) -> PartitionState:
        slot = slot_of_correlation(correlation_of(tenant, topic, key))
        return self.owned[partition_of(slot, PARTITIONS)].state

    def take(self, partition: int, command: cmd.Command) -> Rejection | None:
        """One input, and whatever messages it leads to."""
        rejection = self._take(partition, command)
        self.deliver()
        return rejection

    def assign(self, run: RunId, step: StepKey) -> cmd.CompleteStep:
        """Give the ready step to an executor; answers its success, for `dataclasses.replace`."""
        state = self.runs[run]
        owned = self.owned[partition_of(slot_of(run), PARTITIONS)]
        attempt, token = state.steps[step].attempt + 1, len(self.events[run])
        turn = self._turns.turn_of(owned, state, self.now_ms)
        turn.emit(StepAssigned(step=step, attempt=attempt, executor=EXECUTOR, token=token))
        self._keep(owned, Draft(owned, turn, state))
        return cmd.CompleteStep(
            run=run, step=step, attempt=attempt, token=token, outcome=cmd.Outcome.SUCCEEDED
        )

    def pass_time(self, to_ms: int) -> None:
        """Fire what is due until then, in order."""
        due = sorted((one for one in self.timers if one.due_ms <= to_ms), key=lambda x: x.due_ms)
        for timer in due:
            self.timers.remove(timer)
            self.now_ms = max(self.now_ms, timer.due_ms)
            fire = cmd.FireTimer(
                run=timer.run, step=timer.step, kind=timer.kind, due_ms=timer.due_ms
            )
            self.take(partition_of(slot_of(timer.run), PARTITIONS), fire)
        self.now_ms = to_ms

    def deliver(self) -> None:
        moved = True
        while moved:
            moved = False
            for source in self.owned.values():
                for target, outbox in list(source.state.outboxes.items()):
                    if target in self.undelivered or not outbox.messages:
                        continue
                    number = outbox.acknowledged + 1
                    message = outbox.messages[number]
                    take = cmd.TakeMessage(source=source.number, number=number, message=message)
                    assert self._take(target, take) is None
                    done = cmd.RecordAcknowledgement(target=target, number=number)
                    assert self._take(source.number, done) is None
                    moved = True

    def output(self, run: RunId) -> Any:
        return self.opened(run, self.runs[run].output)

    def output_of(self, run: RunId, step: str) -> Any:
        return self.opened(run, self.runs[run].steps[StepKey(step)].output)

    def opened(self, run: RunId, stored: Stored) -> Any:
        return json.loads(self.vault.open(run, stored)) if stored else None

    def refolded(self, partition: int) -> PartitionState:
        """A partition folded again from its records, over a checkpoint after half of them."""
        records = [(at, events) for number, at, events in self.records if number == partition]
        state = PartitionState(partition)
        for count, (time_ms, events) in enumerate(records):
            if count == len(records) // 2:
                state = thaw_partition(freeze_partition(state))
            apply_partition_turn(state, events, time_ms)
        return state

    def _take(self, partition: int, command: cmd.Command) -> Rejection | None:
        owned = self.owned[partition]
        try:
            outcome = self._turns.decide(owned, Input(partition, command), self.now_ms)
        except PayloadNeeded as needed:
            self.vault.fetch(needed.missing.stored)
            return self._take(partition, command)
        if isinstance(outcome, Rejected):
            return outcome.rejection
        self._keep(owned, outcome)
        return None

    def _keep(self, owned: OwnedPartition, draft: Draft) -> None:
        turn = draft.turn
        if turn.partition_events:
            self.records.append((owned.number, turn.now_ms, tuple(turn.partition_events)))
        self.timers += [one for one in turn.effects if isinstance(one, SetTimer)]
        if draft.run is None:
            return
        assert isinstance(turn, RunTurn)
        run = draft.run.run_id
        self.runs[run] = draft.run
        self.events.setdefault(run, []).extend(turn.events)
        if turn.events:
            stored = StoredTurn(0, turn.now_ms, turn.first_sequence, b"", tuple(turn.events))
            self.turns.setdefault(run, []).append(stored)
        if draft.run.status in RUN_TERMINAL:
            owned.runs.pop(run)
        for effect in turn.effects:
            if isinstance(effect, FetchPayload):
                self.vault.fetch(effect.stored)
                self._take(owned.number, cmd.ContinueRun(run=run))
            elif isinstance(effect, PrepareChild):
                prepared = asyncio.run(child_input(self._catalogue, draft.run, effect))
                self._take(owned.number, prepared)

    def _draw(self) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(10)


def _document(topic: str, key: str, body: Any) -> dict[str, Any]:
    return {"topic": topic, "key": key, "body": body}
