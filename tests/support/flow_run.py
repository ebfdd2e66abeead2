"""A flow as its author wrote it, run in process: compiled from YAML, decided by the scheduler.

Tasks take the wire's form in both directions. `data.*` steps are run by the executor's own code;
for whatever calls outside a test says what comes back. Time moves only when a test says so.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace_core.ids import PlanHash, StepKey
from headrace_core.partition.events import ChildEnded, ChildStart, MessageSent
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import StepError
from headrace_core.run.state import RunState
from headrace_core.run.status import RunStatus, StepStatus
from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.fault import render_faults
from headrace_core.workflow.inputs import checked_inputs
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.plan_json import plan_from_json, plan_to_json
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor
from headrace_executor.app.evaluated import arguments_of, outside_key
from headrace_executor.app.failures import StepFailed
from headrace_executor.app.prepared import Prepared, action_at
from headrace_executor.app.steps.transform import DataTransform
from headrace_executor.app.values import Opened
from headrace_runtime.secret_text import SecretText
from headrace_scheduler.api.task_stream import fill_task
from headrace_scheduler.app.ports import Assignment
from headrace_scheduler.app.preparing import child_input
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.effects import ContinueLater, EnqueueStep, PrepareChild, SetTimer
from headrace_worker.codec import decode
from headrace_worker.messages import Task
from tests.simulation.world.parts import SimCatalogue
from tests.support.run_harness import EXECUTOR, TENANT, Harness

EXAMPLES = Path(__file__).parents[2] / "examples"


def compiled(definition: str, catalogue: Catalogue | None = None) -> Plan:
    """The plan as every service loads it: through its stored form."""
    plan = compile_definition(definition, catalogue or Catalogue())
    assert isinstance(plan, Plan), render_faults(plan, definition, "flow")
    return plan_from_json(plan_to_json(plan))


def example(name: str, *called: Plan) -> Plan:
    """One of examples/; `called` are the plans that it may call as `stable`."""
    flows = {
        (plan.flow, "stable"): FlowDescriptor(plan.flow, 1, plan.hash, plan.inputs)
        for plan in called
    }
    return compiled(EXAMPLES.joinpath(f"{name}.flow.yaml").read_text(), Catalogue(flows=flows))


@dataclass(frozen=True, slots=True)
class Fails:
    """What an outside answers instead of an output."""

    type: str
    message: str = "no"
    outcome: cmd.Outcome = cmd.Outcome.FAILED
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Called:
    """One attempt at the outside, with what the step's templates gave for it."""

    step: str
    action: str
    arguments: Mapping[str, Any]
    key: str
    timeout_ms: int


Outside = Callable[[Called], Any]
"""Answers an output, or Fails."""


@dataclass(slots=True)
class FlowRun(Harness):
    """`outside` answers by the action's name; a step whose action it does not know stays ready.
    `called` are the plans of sub-flows by their hash."""

    outside: Mapping[str, Outside] = field(default_factory=dict[str, Outside])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    called: Mapping[PlanHash, Plan] = field(default_factory=dict[PlanHash, Plan])
    calls: list[Called] = field(default_factory=list[Called])
    _performed: int = 0

    def begin(self, fields: Mapping[str, Any] | None = None) -> "FlowRun":
        """Start as the gateway does, inputs checked and completed; then go on to a rest."""
        completed, faults = checked_inputs(self.plan.inputs, fields or {})
        assert not faults, faults
        self.start(completed)
        return self.go_on()

    def go_on(self) -> "FlowRun":
        """Until nothing happens without time or a person."""
        while self._performed < len(self.effects):
            effect = self.effects[self._performed]
            self._performed += 1
            if isinstance(effect, EnqueueStep):
                self._execute(effect)
            elif isinstance(effect, PrepareChild):
                self._start_child(effect)
            elif isinstance(effect, ContinueLater):
                self.when(cmd.ContinueRun(run=effect.run))
        return self

    def pass_time(self) -> "FlowRun":
        """To the next timer that still means something."""
        timers = [one for one in self.effects if isinstance(one, SetTimer)]
        for timer in sorted(timers, key=lambda one: one.due_ms):
            before, self.now_ms = self.now_ms, max(self.now_ms, timer.due_ms)
            fire = cmd.FireTimer(
                run=self.state.run_id, step=timer.step, kind=timer.kind, due_ms=timer.due_ms
            )
            if self.when(fire) is None:
                return self.go_on()
            self.now_ms = before
        raise AssertionError("no timer is set")

    def decide_approval(self, step: str, decision: str, form: Any = None) -> "FlowRun":
        answer = {"decision": decision, "comment": "", "form": form, "decided_by": "bob"}
        command = cmd.DecideApproval(
            run=self.state.run_id,
            tenant=TENANT,
            step=StepKey(step),
            decision=decision,
            answer=self.sealed(answer),
        )
        rejection = self.when(command)
        assert rejection is None, rejection
        return self.go_on()

    @property
    def output(self) -> Any:
        assert self.state.status is RunStatus.SUCCEEDED, self.why()
        return self.open(self.state.output)

    def statuses(self) -> dict[str, str]:
        """Of all steps, in the plan's order."""
        return {name: self.status(name).text for name in self.plan.order}

    def output_of(self, step: str) -> Any:
        return self.open(self.state.steps[StepKey(step)].output)

    def error_of(self, step: str) -> tuple[str, str]:
        return self._told(self.state.steps[StepKey(step)].error)

    def why(self) -> tuple[str, str]:
        """Type and message of the run's error."""
        return self._told(self.state.error)

    def open(self, stored: Stored) -> Any:
        """What anybody who may fetch can read."""
        if stored == NOTHING:
            return None
        self.vault.fetch(stored)
        return self.opened(stored)

    def _told(self, error: StepError | None) -> tuple[str, str]:
        assert error is not None, "there is no error"
        return error.type, cast(str, self.open(error.message) or "")

    def _execute(self, effect: EnqueueStep) -> None:
        state = self.state.steps.get(effect.step)
        if state is None or state.status is not StepStatus.READY:
            return
        action = self.action_of(effect.step)
        if not action.startswith("data.") and action not in self.outside:
            return
        self.when(self._answered(self.assign(effect.step), effect.lane))

    def action_of(self, key: StepKey) -> str:
        step = self.plan.step_at(key)
        state = self.state.steps[key]
        action = step.fallback[state.fallback - 1].uses if state.fallback else step.uses
        assert action is not None
        return action.name

    def task_of(self, done: cmd.CompleteStep, lane: str = "shared") -> Task:
        """What the executor is told of an assigned attempt, through the wire."""
        response = pb.WorkResponse()
        assignment = Assignment(
            partition=0,
            epoch=1,
            offset=1,
            run=self.state,
            step=done.step,
            attempt=done.attempt,
            token=done.token,
            lane=lane,
            executor=EXECUTOR,
        )
        fill_task(response.tasks.add(), assignment, self.plan)
        return decode(pb.WorkResponse.FromString(response.SerializeToString())).tasks[0]

    def _answered(self, done: cmd.CompleteStep, lane: str) -> cmd.CompleteStep:
        """By the executor's own code as far as no outside is needed."""
        task = self.task_of(done, lane)
        step = self.plan.step_at(done.step)
        template = step.fallback[task.fallback - 1].arguments if task.fallback else step.arguments
        prepared = Prepared(self.plan, step, template, action_at(self.plan, task))
        assert prepared.action is not None, "only calls are given out"
        name, secrets = prepared.action.name, self.secrets
        texts = {one: SecretText(one, value) for one, value in secrets.items()}
        try:
            arguments = arguments_of(prepared, task, self.vault, Opened(), texts)
            if name.startswith("data."):
                answer: Any = DataTransform().run(name, arguments)
            else:
                key = outside_key(prepared, task, self.vault, Opened())
                fields = cast("Mapping[str, Any]", arguments)
                called = Called(done.step, name, fields, key, task.timeout_ms)
                self.calls.append(called)
                answer = self.outside[name](called)
        except StepFailed as failed:
            answer = Fails(failed.error_type, failed.message)
        if isinstance(answer, Fails):
            return self._failure(done, answer)
        return _completion(done, cmd.Outcome.SUCCEEDED, self.sealed(answer))

    def _failure(self, done: cmd.CompleteStep, fails: Fails) -> cmd.CompleteStep:
        error = StepError(type=fails.type, message=self.sealed(fails.message))
        return _completion(done, fails.outcome, NOTHING, error, fails.retry_after_ms)

    def _start_child(self, effect: PrepareChild) -> None:
        catalogue = SimCatalogue({self.plan.hash: self.plan, **self.called}, self.vault)
        prepared = asyncio.run(child_input(catalogue, self.state, effect))
        before = len(self.partition_events)
        self.when(prepared)
        for event in self.partition_events[before:]:
            if isinstance(event, MessageSent) and isinstance(event.message, ChildStart):
                self._run_child(event.message)

    def _run_child(self, message: ChildStart) -> None:
        child = FlowRun(
            self.called[message.plan],
            now_ms=self.now_ms,
            vault=self.vault,
            state=RunState(message.run, TENANT),
            outside=self.outside,
            secrets=self.secrets,
            called=self.called,
        )
        child.take(message)
        child.go_on()
        for event in child.partition_events:
            if isinstance(event, MessageSent) and isinstance(event.message, ChildEnded):
                self.take(event.message)


def _completion(
    done: cmd.CompleteStep,
    outcome: cmd.Outcome,
    output: Stored = NOTHING,
    error: StepError | None = None,
    retry_after_ms: int = 0,
) -> cmd.CompleteStep:
    return cmd.CompleteStep(
        run=done.run,
        step=done.step,
        attempt=done.attempt,
        token=done.token,
        outcome=outcome,
        output=output,
        error=error,
        retry_after_ms=retry_after_ms,
    )
