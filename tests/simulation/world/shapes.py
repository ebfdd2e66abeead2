"""Draws random workflows: what their steps are, how they hang together, how their calls go."""

import random
from collections.abc import Mapping
from dataclasses import replace

from headrace_core.ids import PlanHash
from headrace_core.workflow.joins import Join, JoinKind
from headrace_core.workflow.plan import (
    Action,
    Compensation,
    Edge,
    Effect,
    EventWait,
    Fallback,
    Foreach,
    Input,
    Jitter,
    OnError,
    OnFailure,
    Plan,
    PlanStep,
    Repeat,
    RetryPolicy,
    Scope,
    StepKind,
    UsesKind,
    Wait,
)
from headrace_core.workflow.template import parse_expression, parse_template
from tests.simulation.world.flows import (
    BY_EVENT,
    BY_SIGNAL,
    ECHO,
    KEYED,
    NEVER,
    ONCE,
    Fate,
    SimFlow,
    event_of,
)

OFTEN = RetryPolicy(max_attempts=20, initial_ms=20, factor=1.5, max_ms=300, jitter=Jitter.FULL)
UNDO = Compensation(KEYED, parse_template({}), OFTEN)
ANYTHING = parse_template({"instead": True})
UNDONE = 0.7
"""So many calls of flows that may undo them say how."""
POLICIES = {OnFailure.DRAIN: 4, OnFailure.COMPENSATE: 4, OnFailure.SUSPEND: 2}
SIMPLE = {"echo": 6, "keyed": 5, "wait": 2, "set": 2, "each": 2}
WHOLE = {**SIMPLE, "once": 3, "child": 2, "group": 2, "repeat": 2, "fallback": 2, "event": 2}
"""Shapes of steps and how often they are drawn; those of sub-flows and groups are simple, since
their outcome is counted on."""
PASSES = 3


def random_flow(chance: random.Random, number: int, child: SimFlow | None) -> SimFlow:
    """`child` is a flow that sub-flow steps may start; without one there are none."""
    fates: dict[str, Fate] = {}
    steps = _random_steps(chance, "s", chance.randint(1, 7), child)
    for step in steps.values():
        _draw_fates(chance, step, step.id, fates, whole=child is not None)
    plan = plan_of(number, steps)
    if child is not None:
        policy = chance.choices(list(POLICIES), list(POLICIES.values()))[0]
        plan = replace(plan, on_failure=policy)
    return SimFlow(plan, fates, child)


def without_step(flow: SimFlow, name: str) -> SimFlow | None:
    """The same flow with one step less; None if others need it, or it is the last one."""
    plan = flow.plan
    needed = any(edge.source == name for step in plan.steps.values() for edge in step.needs)
    if needed or len(plan.steps) == 1:
        return None
    rest = [step for step in plan.steps.values() if step.id != name]
    steps = {step.id: replace(step, index=index) for index, step in enumerate(rest)}
    smaller = plan_of(int(plan.hash, 16), steps)
    return replace(flow, plan=replace(smaller, on_failure=plan.on_failure))


def plan_of(number: int, steps: dict[str, PlanStep]) -> Plan:
    level = _scope_of(steps)
    inputs = [Input("list", {"type": "array"}), Input("no", {"type": "boolean"})]
    if any(event_of(step) for step in steps.values()):
        inputs.append(Input("keys", {"type": "object"}))
    return Plan(
        hash=PlanHash(f"{number:064x}"),
        flow=f"flow-{number}",
        steps=steps,
        order=level.order,
        entry=level.entry,
        successors=level.successors,
        inputs=tuple(inputs),
    )


def _scope_of(steps: Mapping[str, PlanStep]) -> Scope:
    successors: dict[str, list[str]] = {name: [] for name in steps}
    for step in steps.values():
        for source in dict.fromkeys(edge.source for edge in step.needs):
            successors[source].append(step.id)
    return Scope(
        steps=steps,
        order=tuple(steps),
        entry=tuple(name for name, step in steps.items() if not step.needs),
        successors={name: tuple(found) for name, found in successors.items()},
    )


def _draw_fates(
    chance: random.Random, step: PlanStep, path: str, fates: dict[str, Fate], *, whole: bool
) -> None:
    if step.group is not None:
        for member in step.group.steps.values():
            _draw_fates(chance, member, f"{path}/{member.id}", fates, whole=False)
        return
    acts = step.uses in (KEYED, ONCE)
    weights = [6, 1, 3, 3 if acts and whole else 0]
    # A step that never fell back would show nothing.
    fates[path] = Fate.FAILS if step.fallback else chance.choices(list(Fate), weights)[0]


def _random_steps(
    chance: random.Random, letter: str, count: int, child: SimFlow | None
) -> dict[str, PlanStep]:
    steps: dict[str, PlanStep] = {}
    for index in range(count):
        name = f"{letter}{index}"
        steps[name] = _random_step(chance, name, index, tuple(steps.values()), child)
    return steps


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
    shapes = SIMPLE if child is None else WHOLE
    shape = chance.choices(list(shapes), list(shapes.values()))[0]
    match shape:
        case "keyed":
            undo = UNDO if child is not None and chance.random() < UNDONE else None
            return replace(bare, uses=KEYED, compensate=undo)
        case "once":
            return replace(bare, uses=ONCE)
        case "each":
            return replace(bare, foreach=_over_list(chance), uses=chance.choice((ECHO, KEYED)))
        case "wait":
            wait = Wait(for_ms=chance.randint(1, 300))
            return replace(bare, kind=StepKind.WAIT, uses=None, wait=wait)
        case "set":
            return replace(bare, kind=StepKind.SET, uses=None, set=parse_template({"x": 1}))
        case "child":
            assert child is not None
            return _calls(chance, bare, child)
        case "group":
            return _groups(chance, bare)
        case "repeat":
            return _repeats(chance, bare)
        case "fallback":
            return _falls_back(chance, bare)
        case "event":
            return _waits(chance, bare)
        case _:
            return bare


def _over_list(chance: random.Random) -> Foreach:
    return Foreach(parse_expression("inputs.list"), "item", max_parallel=chance.randint(1, 3))


def _calls(chance: random.Random, bare: PlanStep, child: SimFlow) -> PlanStep:
    plan = child.plan
    action = Action(UsesKind.FLOW, plan.flow, "flow/child@1", plan.hash, Effect.NONE)
    arguments = parse_template({"list": [1, 2], "no": False})
    detach = chance.random() < 0.3
    return replace(bare, uses=action, arguments=arguments, retry=RetryPolicy(), detach=detach)


def _groups(chance: random.Random, bare: PlanStep) -> PlanStep:
    members = _random_steps(chance, "m", chance.randint(1, 3), None)
    foreach = _over_list(chance) if chance.random() < 0.3 else None
    scope = _scope_of(members)
    return replace(bare, kind=StepKind.GROUP, uses=None, group=scope, foreach=foreach)


def _repeats(chance: random.Random, bare: PlanStep) -> PlanStep:
    """Counts to three, or calls again and again without ever being content."""
    delay_ms = chance.choice((0, 0, chance.randint(1, 150)))
    if chance.random() < 0.5:
        never = Repeat(NEVER, chance.randint(1, PASSES), delay_ms)
        return replace(bare, uses=chance.choice((ECHO, KEYED)), repeat=never)
    last = f"steps.{bare.id}.output"
    counted = parse_template({"n": f"${{{{ {last} == null ? 1 : {last}.n + 1 }}}}"})
    until = Repeat(parse_expression(f"{last}.n >= {PASSES}"), PASSES + 1, delay_ms)
    return replace(bare, kind=StepKind.SET, uses=None, set=counted, repeat=until)


def _falls_back(chance: random.Random, bare: PlanStep) -> PlanStep:
    entry = chance.choice(
        (Fallback(uses=KEYED, arguments=parse_template({}), retry=OFTEN), Fallback(output=ANYTHING))
    )
    return replace(bare, uses=chance.choice((ECHO, KEYED)), fallback=(entry,))


def _waits(chance: random.Random, bare: PlanStep) -> PlanStep:
    key = parse_template(f"${{{{ inputs.keys.{bare.id} }}}}")
    topic = chance.choice((BY_EVENT, BY_SIGNAL))
    wait = Wait(event=EventWait(topic=topic, key=key))
    return replace(bare, kind=StepKind.WAIT, uses=None, wait=wait)
