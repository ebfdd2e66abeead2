"""Random workflows, and what they must come to whatever happens on the way.

A step's fate is fixed: it succeeds, fails for good, or fails by chance on some attempts and
succeeds in the end, since it may be tried often. So the outcome of a run is a function of its
plan alone, computed here by a reference that knows nothing of events; but for the few steps that
are made to depend on faults, of which the log is believed.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from headrace_core.ids import PlanHash, StepKey, compensated_by, stable_hash, step_of
from headrace_core.run.status import RunStatus, StepStatus
from headrace_core.workflow.joins import (
    EdgeState,
    Join,
    JoinDecision,
    JoinKind,
    decide_join,
    edge_state,
)
from headrace_core.workflow.plan import (
    Action,
    Compensation,
    Edge,
    Effect,
    Foreach,
    Idempotency,
    Input,
    Jitter,
    OnError,
    OnFailure,
    Plan,
    PlanStep,
    RetryPolicy,
    StepKind,
    UsesKind,
    Wait,
)
from headrace_core.workflow.template import parse_expression, parse_template
from headrace_executor.domain.effect_flow import Word

ECHO = Action(UsesKind.ACTION, "data.echo", "data.echo@1", "1", Effect.NONE)
KEYED = Action(UsesKind.ACTION, "sim.keyed", "sim.keyed@1", "1", Effect.WRITE, Idempotency.HEADER)
ONCE = Action(UsesKind.ACTION, "sim.once", "sim.once@1", "1", Effect.WRITE, Idempotency.NONE)
OFTEN = RetryPolicy(max_attempts=20, initial_ms=20, factor=1.5, max_ms=300, jitter=Jitter.FULL)
UNDO = Compensation(KEYED, parse_template({}), OFTEN)
UNDOES, UNDONE = 0.4, 0.7
"""So many flows undo their steps when they fail; so many of their calls say how."""
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
    plan: Plan
    fates: Mapping[str, Fate]
    child: "SimFlow | None" = field(default=None, repr=False)

    @property
    def outcome(self) -> RunStatus:
        return self.expected({})

    def expected(self, ended: Mapping[str, StepStatus]) -> RunStatus:
        """What a run comes to in which these steps ended so, as they may."""
        outcomes = {
            name: ended.get(name) or _outcome_of(step, self.fates[name], self.child)
            for name, step in self.plan.steps.items()
        }
        return _expected(self.plan, outcomes)

    def depends_on_faults(self, step: str) -> bool:
        return self.fates.get(step) is Fate.FIRST

    def may_be_unknown(self, step: str) -> bool:
        """What is called once at most; and what fails for good while a call before it, of an
        executor that is gone, may have acted."""
        action = self.plan.step_at(StepKey(step)).uses
        fails = self.fates.get(step) in (Fate.FAILS, Fate.FIRST)
        return action == ONCE or (action == KEYED and fails)

    def answer(self, run: str, step: StepKey, attempt: int) -> Word | None:
        """How this attempt's call goes; None for a success."""
        action = self.plan.step_at(step).uses
        undone = compensated_by(step) is not None
        fate = Fate.TRIES if undone else self.fates[step_of(step)[0]]
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


def random_flow(chance: random.Random, number: int, child: SimFlow | None) -> SimFlow:
    """`child` is a flow that sub-flow steps may start; without one there are none."""
    steps: dict[str, PlanStep] = {}
    fates: dict[str, Fate] = {}
    for index in range(chance.randint(1, 7)):
        name = f"s{index}"
        step = _random_step(chance, name, index, tuple(steps.values()), child)
        acts = step.uses in (KEYED, ONCE)
        fate = chance.choices(list(Fate), [6, 1, 3, 3 if acts and child is not None else 0])[0]
        steps[name], fates[name] = step, fate
    plan = _plan(number, steps)
    if child is not None and chance.random() < UNDOES:
        plan = replace(plan, on_failure=OnFailure.COMPENSATE)
    return SimFlow(plan, fates, child)


def without_step(flow: SimFlow, name: str) -> SimFlow | None:
    """The same flow with one step less; None if others need it, or it is the last one."""
    plan = flow.plan
    needed = any(edge.source == name for step in plan.steps.values() for edge in step.needs)
    if needed or len(plan.steps) == 1:
        return None
    rest = [step for step in plan.steps.values() if step.id != name]
    steps = {step.id: replace(step, index=index) for index, step in enumerate(rest)}
    smaller = _plan(int(plan.hash, 16), steps)
    return replace(flow, plan=replace(smaller, on_failure=plan.on_failure))


def _random_step(
    chance: random.Random,
    name: str,
    index: int,
    before: tuple[PlanStep, ...],
    child: SimFlow | None,
) -> PlanStep:
    sources = chance.sample(before, min(len(before), chance.choice([0, 1, 1, 2, 3])))
    needs = tuple(Edge(source.id, "error" if chance.random() < 0.15 else "") for source in sources)
    kind = chance.choices(list(JoinKind), [8, 3, 1, 2, 3])[0] if needs else JoinKind.ALL
    count = chance.randint(1, len(needs)) if kind is JoinKind.AT_LEAST else 1
    bare = PlanStep(
        id=name,
        index=index,
        kind=StepKind.USES,
        uses=ECHO,
        needs=needs,
        join=Join(kind, count),
        retry=OFTEN,
        on_error=chance.choices([OnError.FAIL, OnError.CATCH], [4, 1])[0],
        when=parse_expression("inputs.no") if chance.random() < 0.08 else None,
    )
    return _shaped(chance, bare, child)


def _shaped(chance: random.Random, bare: PlanStep, child: SimFlow | None) -> PlanStep:
    """An echo, a call that acts outside, a fan-out of either, or a step of another kind."""
    shapes = ["echo", "keyed", "once", "wait", "set", "each", "child"]
    shape = chance.choices(shapes, [6, 5, 3, 2, 2, 2, 2])[0]
    if shape == "keyed":
        undo = UNDO if child is not None and chance.random() < UNDONE else None
        return replace(bare, uses=KEYED, compensate=undo)
    if shape == "once" and child is not None:
        # Not in sub-flows, whose outcome is counted on.
        return replace(bare, uses=ONCE)
    if shape == "wait":
        wait = Wait(for_ms=chance.randint(1, 300))
        return replace(bare, kind=StepKind.WAIT, uses=None, wait=wait)
    if shape == "set":
        return replace(bare, kind=StepKind.SET, uses=None, set=parse_template({"x": 1}))
    if shape == "each":
        items = parse_expression("inputs.list")
        foreach = Foreach(items, "item", max_parallel=chance.randint(1, 3))
        return replace(bare, foreach=foreach, uses=chance.choice((ECHO, KEYED)))
    if shape == "child" and child is not None:
        action = Action(
            UsesKind.FLOW, child.plan.flow, "flow/child@1", child.plan.hash, Effect.NONE
        )
        arguments = parse_template({"list": [1, 2], "no": False})
        return replace(bare, uses=action, arguments=arguments, retry=RetryPolicy())
    return bare


def _plan(number: int, steps: dict[str, PlanStep]) -> Plan:
    successors: dict[str, list[str]] = {name: [] for name in steps}
    for step in steps.values():
        for source in dict.fromkeys(edge.source for edge in step.needs):
            successors[source].append(step.id)
    inputs = (Input("list", {"type": "array"}), Input("no", {"type": "boolean"}))
    return Plan(
        hash=PlanHash(f"{number:064x}"),
        flow=f"flow-{number}",
        steps=steps,
        order=tuple(steps),
        entry=tuple(name for name, step in steps.items() if not step.needs),
        successors={name: tuple(found) for name, found in successors.items()},
        inputs=inputs,
    )


def _outcome_of(step: PlanStep, fate: Fate, child: SimFlow | None) -> StepStatus:
    """What the step comes to if it runs."""
    if step.kind is not StepKind.USES:
        return StepStatus.SUCCEEDED
    if step.uses is not None and step.uses.kind is UsesKind.FLOW:
        assert child is not None
        succeeded = child.outcome is RunStatus.SUCCEEDED
        return StepStatus.SUCCEEDED if succeeded else StepStatus.FAILED
    return StepStatus.FAILED if fate is Fate.FAILS else StepStatus.SUCCEEDED


def _expected(plan: Plan, outcomes: Mapping[str, StepStatus]) -> RunStatus:
    ended: dict[str, StepStatus] = {}
    for name in plan.order:
        step = plan.steps[name]
        edges: list[EdgeState] = [
            edge_state(ended[edge.source], "", edge.port, catches=plan.steps[edge.source].catches)
            for edge in step.needs
        ]
        runs = decide_join(step.join, edges) is JoinDecision.RUN
        if not runs or step.when is not None:
            ended[name] = StepStatus.SKIPPED
        else:
            ended[name] = outcomes[name]
    failed = any(
        status is StepStatus.FAILED and not plan.steps[name].catches
        for name, status in ended.items()
    )
    undoes = plan.on_failure is OnFailure.COMPENSATE and any(
        status is StepStatus.SUCCEEDED and plan.steps[name].compensate is not None
        for name, status in ended.items()
    )
    if failed and undoes:
        return RunStatus.COMPENSATED
    return RunStatus.FAILED if failed else RunStatus.SUCCEEDED
