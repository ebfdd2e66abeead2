"""Given a plan, when inputs come, then events: drives real decisions as the loop does."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace_core.ids import (
    ExecutorId,
    PlanHash,
    RunId,
    StepKey,
    TenantId,
    run_id,
)
from headrace_core.partition.events import PartitionEvent, RunMessage, StartMessage
from headrace_core.partition.state import PartitionState
from headrace_core.payload import NOTHING, BlobMissingHere, Stored
from headrace_core.run.apply import apply_turn
from headrace_core.run.events import RunEvent, StepAssigned, StepError
from headrace_core.run.state import RunState
from headrace_core.run.status import StepStatus
from headrace_core.workflow.plan import (
    Action,
    Edge,
    Effect,
    Plan,
    PlanStep,
    StepKind,
    UsesKind,
)
from headrace_core.workflow.template import parse_template
from headrace_scheduler.app.turns import DECIDE_RUN, TO_BEGIN, TO_RUN
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide.start_run import start_run
from headrace_scheduler.domain.decision import Rejection, RunTurn
from headrace_scheduler.domain.effects import Effect as TurnEffect
from headrace_scheduler.domain.effects import EnqueueStep
from tests.support.plain_vault import PlainVault

RUN = run_id(0, 20_000, b"0123456789")
TENANT = TenantId("acme")
EXECUTOR = ExecutorId("e1")
ECHO = Action(UsesKind.ACTION, "data.echo", "data.echo@1", "1", Effect.NONE)


def step(name: str, needs: Iterable[str] = (), **fields: Any) -> PlanStep:
    """A step in short form: an echo unless `fields` say otherwise, `needs` as in a flow."""
    edges = tuple(Edge(*need.split(".", 1)) for need in needs)
    if "kind" not in fields:
        fields = {"kind": StepKind.USES, "uses": ECHO, **fields}
    return PlanStep(id=name, index=0, needs=edges, **fields)


def plan_of(*steps: PlanStep, **fields: Any) -> Plan:
    by_id = {one.id: one for one in steps}
    successors: dict[str, list[str]] = {one.id: [] for one in steps}
    for one in steps:
        for source in dict.fromkeys(edge.source for edge in one.needs):
            successors[source].append(one.id)
    return Plan(
        hash=PlanHash("0" * 64),
        flow="flow",
        steps=by_id,
        order=tuple(by_id),
        entry=tuple(one.id for one in steps if not one.needs),
        successors={name: tuple(found) for name, found in successors.items()},
        **fields,
    )


@dataclass(slots=True)
class Harness:
    """One run in one partition. `now_ms` moves only when a test says so."""

    plan: Plan
    now_ms: int = 1_000_000
    vault: PlainVault = field(default_factory=PlainVault)
    partition: PartitionState = field(default_factory=lambda: PartitionState(0))
    events: list[RunEvent] = field(default_factory=list[RunEvent])
    partition_events: list[PartitionEvent] = field(default_factory=list[PartitionEvent])
    effects: list[TurnEffect] = field(default_factory=list[TurnEffect])
    turns: list[tuple[int, tuple[RunEvent, ...]]] = field(
        default_factory=list[tuple[int, tuple[RunEvent, ...]]]
    )
    state: RunState = field(default_factory=lambda: RunState(RUN, TENANT))
    _token: int = 0

    def start(self, fields: Mapping[str, Any] | None = None) -> "Harness":
        command = cmd.StartRun(
            run=self.state.run_id,
            tenant=TENANT,
            flow=self.plan.flow,
            version=1,
            plan=self.plan.hash,
            input=self.sealed(fields or {}),
            trigger="manual",
            started_by="test",
            start_key=b"k" * 32,
            fingerprint=b"f" * 32,
            key_kept_ms=60_000,
        )
        self.decide(lambda turn: start_run(turn, command))
        return self

    def when(self, command: cmd.RunCommand) -> Rejection | None:
        return self.decide(lambda turn: DECIDE_RUN[type(command)](turn, command))

    def assign(self, name: str) -> cmd.CompleteStep:
        """Give the ready step to an executor; answers its success, for `dataclasses.replace`."""
        key = StepKey(name)
        self._token += 1
        attempt = self.state.steps[key].attempt + 1
        event = StepAssigned(step=key, attempt=attempt, executor=EXECUTOR, token=self._token)
        self.decide(lambda turn: turn.emit(event))
        return cmd.CompleteStep(
            run=self.state.run_id,
            step=key,
            attempt=attempt,
            token=self._token,
            outcome=cmd.Outcome.SUCCEEDED,
        )

    def succeed(self, name: str, output: Any = None) -> Rejection | None:
        done = self.assign(name)
        return self.when(
            cmd.CompleteStep(
                run=self.state.run_id,
                step=done.step,
                attempt=done.attempt,
                token=done.token,
                outcome=cmd.Outcome.SUCCEEDED,
                output=self.sealed(output) if output is not None else NOTHING,
            )
        )

    def fail(
        self,
        name: str,
        error_type: str = "http.500",
        outcome: cmd.Outcome = cmd.Outcome.FAILED,
    ) -> Rejection | None:
        done = self.assign(name)
        return self.when(
            cmd.CompleteStep(
                run=self.state.run_id,
                step=done.step,
                attempt=done.attempt,
                token=done.token,
                outcome=outcome,
                error=StepError(type=error_type, message=self.sealed("no")),
            )
        )

    def sealed(self, value: Any) -> Stored:
        return self.vault.seal(self.state.run_id, json.dumps(value).encode())

    def opened(self, stored: Stored) -> Any:
        return json.loads(self.vault.open(self.state.run_id, stored))

    def status(self, name: str) -> StepStatus:
        found = self.state.steps.get(StepKey(name))
        return found.status if found is not None else StepStatus.PENDING

    def ready(self) -> list[str]:
        return [key for key, one in self.state.steps.items() if one.status is StepStatus.READY]

    def queued(self) -> list[str]:
        return [one.step for one in self.effects if isinstance(one, EnqueueStep)]

    def refolded(self) -> RunState:
        """The run folded again from its events, as every reader does."""
        again = RunState(self.state.run_id, TENANT)
        for time_ms, events in self.turns:
            apply_turn(again, events, time_ms, b"")
        return again

    def kinds(self) -> Sequence[str]:
        return [type(event).__name__ for event in self.events]

    def decide(self, decide: Callable[[RunTurn], Rejection | None]) -> Rejection | None:
        """One turn by any decision of the domain."""
        turn = RunTurn(self.state, self.plan, self.vault, self.partition, self.now_ms, 8)
        try:
            rejection = decide(turn)
        except BlobMissingHere as missing:
            # As the loop does: nothing was decided yet, so it is fetched and asked again.
            assert not turn.events, "a decision was half taken"
            self.vault.fetch(missing.stored)
            return self.decide(decide)
        if rejection is not None:
            assert not turn.events, "a rejection changes nothing"
            return rejection
        turn.commit()
        if turn.events:
            self.turns.append((turn.now_ms, tuple(turn.events)))
        self.events.extend(turn.events)
        self.partition_events.extend(turn.partition_events)
        self.effects.extend(turn.effects)
        return None

    def take(self, message: StartMessage | RunMessage) -> None:
        """The next message, from partition 0."""
        number = self.partition.inboxes.get(0, 0) + 1
        command = cmd.TakeMessage(source=0, number=number, message=message)

        def taken(turn: RunTurn) -> None:
            turn.receive(command.source, command.number)
            if isinstance(message, StartMessage):
                TO_BEGIN[type(message)](turn, command)
            else:
                TO_RUN[type(message)](turn, command)

        self.decide(taken)


def template(data: Any) -> Any:
    return parse_template(data)


def child(number: int) -> RunId:
    return run_id(0, 20_000, number.to_bytes(10))
