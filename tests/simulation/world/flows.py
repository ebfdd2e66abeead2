"""Random workflows, and what they must come to whatever happens on the way.

A step's fate is fixed: it succeeds, fails for good, or fails by chance on some attempts and
succeeds in the end, since it may be tried often. So the outcome of a run is a function of its
plan alone, computed here by a reference that knows nothing of events; but for the few steps that
are made to depend on faults, of which the log is believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from headrace_core.ids import StepKey, compensated_by, name_of, stable_hash
from headrace_core.run.status import RunStatus, StepStatus
from headrace_core.workflow.joins import EdgeState, JoinDecision, decide_join, edge_state
from headrace_core.workflow.plan import (
    Action,
    Effect,
    EventWait,
    Idempotency,
    OnFailure,
    Plan,
    PlanStep,
    Scope,
    StepKind,
    UsesKind,
)
from headrace_core.workflow.template import parse_expression
from headrace_executor.domain.effect_flow import Word

ECHO = Action(UsesKind.ACTION, "data.echo", "data.echo@1", "1", Effect.NONE)
KEYED = Action(UsesKind.ACTION, "sim.keyed", "sim.keyed@1", "1", Effect.WRITE, Idempotency.HEADER)
ONCE = Action(UsesKind.ACTION, "sim.once", "sim.once@1", "1", Effect.WRITE, Idempotency.NONE)
NEVER = parse_expression("false")
"""The `until` of a step that goes round as often as it may, and then fails."""
BY_EVENT, BY_SIGNAL = "event", "signal"
"""Topics of steps that wait for somebody: a client publishes the one, an operator sends the other
to the very run."""
TRIES_MAX = 6
"""An attempt with a higher number succeeds."""


class Fate(Enum):
    SUCCEEDS = 1
    FAILS = 2
    TRIES = 3
    FIRST = 4
    """Succeeds at its first attempt alone: whether it does depends on who was lost."""


@dataclass(frozen=True, slots=True)
class SimFlow:
    """`fates` are those of calls, by the ids that lead to the step: `s3`, or `s3/m0` in a group."""

    plan: Plan
    fates: Mapping[str, Fate]
    child: "SimFlow | None" = field(default=None, repr=False)

    @property
    def outcome(self) -> RunStatus:
        return self.expected({})

    def expected(self, ended: Mapping[str, StepStatus]) -> RunStatus:
        """What a run comes to in which these steps ended so, as they may."""
        plan = self.plan
        if plan.on_failure is OnFailure.SUSPEND:
            # Whatever fails is repaired until nothing has failed.
            return RunStatus.SUCCEEDED
        statuses = self._ends_of(plan, "", ended)
        if not _has_failed(plan, statuses):
            return RunStatus.SUCCEEDED
        undoes = plan.on_failure is OnFailure.COMPENSATE and any(
            status is StepStatus.SUCCEEDED and plan.steps[name].compensate is not None
            for name, status in statuses.items()
        )
        return RunStatus.COMPENSATED if undoes else RunStatus.FAILED

    def depends_on_faults(self, step: str) -> bool:
        return self.fates.get(step) is Fate.FIRST

    def may_be_unknown(self, step: str) -> bool:
        """What is called once at most; and what fails for good while a call before it, of an
        executor that is gone, may have acted."""
        found = self.plan.step_at(StepKey(step))
        if found.group is not None:
            # It fails with the error of what failed in it, as a sub-flow's step does.
            return any(self.may_be_unknown(f"{step}/{name}") for name in found.group.order)
        action = found.uses
        if action is not None and action.kind is UsesKind.FLOW:
            assert self.child is not None
            return any(map(self.child.may_be_unknown, self.child.plan.order))
        fails = self.fates.get(step) in (Fate.FAILS, Fate.FIRST)
        return action == ONCE or (action == KEYED and fails)

    def waits_for(self, topic: str) -> tuple[str, ...]:
        """The steps that wait for such an event."""
        waits = ((step.id, event_of(step)) for step in self.plan.steps.values())
        return tuple(name for name, event in waits if event is not None and event.topic == topic)

    def answer(self, run: str, step: StepKey, attempt: int, fallback: int = 0) -> Word | None:
        """How this attempt's call goes; None for a success."""
        action = self.plan.step_at(step).uses
        stands_in = compensated_by(step) is not None or fallback
        fate = Fate.TRIES if stands_in else self.fates[name_of(step)]
        if fate is Fate.FAILS or (fate is Fate.FIRST and attempt > 1):
            return Word.PERMANENT
        if fate is Fate.FIRST:
            return None
        if fate is Fate.SUCCEEDS or attempt > TRIES_MAX:
            return None
        drawn = stable_hash(run, step, str(attempt))[0]
        if action is KEYED and drawn < 60:
            return Word.SILENCE
        return Word.RETRY if drawn < 110 else None

    def _ends_of(
        self, level: Plan | Scope, place: str, ended: Mapping[str, StepStatus]
    ) -> Mapping[str, StepStatus]:
        """How the steps of one level end; `place` leads to it."""
        statuses: dict[str, StepStatus] = {}
        for name in level.order:
            step = level.steps[name]
            edges: list[EdgeState] = [
                edge_state(
                    statuses[edge.source], "", edge.port, catches=level.steps[edge.source].catches
                )
                for edge in step.needs
            ]
            runs = decide_join(step.join, edges) is JoinDecision.RUN
            if not runs or step.when is not None:
                statuses[name] = StepStatus.SKIPPED
            else:
                statuses[name] = ended.get(place + name) or self._end_of(step, place + name, ended)
        return statuses

    def _end_of(self, step: PlanStep, path: str, ended: Mapping[str, StepStatus]) -> StepStatus:
        """What the step comes to if it runs."""
        failed = step.repeat is not None and step.repeat.until is NEVER
        if step.group is not None:
            failed |= _has_failed(step.group, self._ends_of(step.group, f"{path}/", ended))
        elif step.uses is not None and step.uses.kind is UsesKind.FLOW:
            assert self.child is not None
            failed |= not step.detach and self.child.outcome is not RunStatus.SUCCEEDED
        elif step.kind is StepKind.USES:
            failed |= self.fates[path] is Fate.FAILS and not step.fallback
        return StepStatus.FAILED if failed else StepStatus.SUCCEEDED


def event_of(step: PlanStep) -> EventWait | None:
    return step.wait.event if step.wait is not None else None


def _has_failed(level: Plan | Scope, statuses: Mapping[str, StepStatus]) -> bool:
    return any(
        status is StepStatus.FAILED and not level.steps[name].catches
        for name, status in statuses.items()
    )
