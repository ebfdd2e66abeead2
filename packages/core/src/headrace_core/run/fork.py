"""What a fork takes over from its source, what it runs again, and which of that shows outside.

A step is taken over if it had ended at the position and nothing that led to it is changed: its
definition, the inputs it refers to, the steps that decided its edges. A failure that nobody
handled, what was undone, and whatever a cancel or a failed neighbour stopped, runs again.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, cast

from headrace_core.errors import InvalidInput
from headrace_core.ids import StepKey, compensated_by, step_path
from headrace_core.payload import Stored
from headrace_core.run.events import InheritedItem, InheritedItems, InheritedStep, StepError
from headrace_core.run.state import FanOutView, RunView, StepView
from headrace_core.run.status import STEP_TERMINAL, SkipReason, StepStatus
from headrace_core.workflow.joins import EdgeState
from headrace_core.workflow.plan import (
    Action,
    Effect,
    OnFailure,
    Plan,
    PlanStep,
    StepKind,
    UsesKind,
)
from headrace_core.workflow.plan_json import plan_to_json
from headrace_core.workflow.references import References
from headrace_core.workflow.template import Expression, Template

_EDITABLE = (StepKind.USES, StepKind.SET)
# They say how a step is run, not what it computes.
_HOW = frozenset(
    {"index", "title", "retry", "timeout_ms", "deadline_ms", "heartbeat_ms", "priority"}
    | {"rate_limit", "sensitive", "compensate"}
)
Reseal = Callable[[Stored], Stored]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkEdits:
    """Names of inputs that have another value, steps that are given an output, and steps that are
    to run again although they had ended."""

    inputs: AbstractSet[str] = frozenset()
    outputs: AbstractSet[str] = frozenset()
    again: AbstractSet[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OutsideEffect:
    """A step to come that changes something outside, or starts a run that may. `repeats` says
    that the source has begun it too; with `custom_key` the outside may recognise it."""

    step: str
    action: str
    effect: str
    repeats: bool
    custom_key: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkPlan:
    """In the plan's order. `reused` includes `edited`; `again` has begun in the source, `first`
    has not."""

    reused: tuple[str, ...]
    edited: tuple[str, ...]
    again: tuple[str, ...]
    first: tuple[str, ...]
    effects: tuple[OutsideEffect, ...]


def plan_fork(
    state: RunView, before: Plan, after: Plan, edits: ForkEdits, begun: AbstractSet[str]
) -> ForkPlan:
    """`before` is the source's plan, `after` the fork's, `begun` what has begun in the source by
    now. Raises InvalidInput that lists every edit that cannot be made."""
    _check(state, after, edits)
    changed = _changed_definitions(before, after)
    stopped = _was_stopped(state, before)
    undone = {step_path(done)[0] for key in state.steps if (done := compensated_by(key))}
    vars_changed = before.vars != after.vars
    dirty: set[str] = set(edits.outputs)
    for name in after.order:
        step, known = after.steps[name], state.steps.get(StepKey(name))
        if (
            known is None
            or name in changed
            or name in undone
            or name in edits.again
            or _runs_again(step, known, stopped=stopped)
            or _is_led_by(known, dirty)
            or _refers_to(step, edits.inputs, vars_changed=vars_changed)
        ):
            dirty.add(name)
    to_come = [name for name in after.order if name in dirty and name not in edits.outputs]
    return ForkPlan(
        reused=tuple(name for name in after.order if name not in to_come),
        edited=tuple(name for name in after.order if name in edits.outputs),
        again=tuple(name for name in to_come if name in begun),
        first=tuple(name for name in to_come if name not in begun),
        effects=tuple(
            effect
            for name in to_come
            for effect in _effects_of(after.steps[name], repeats=name in begun)
        ),
    )


def inherit(
    state: RunView, plan: ForkPlan, outputs: Mapping[str, Stored], reseal: Reseal
) -> tuple[InheritedStep, ...]:
    """The reused steps, in the order in which they ended in the source; `reseal` moves a payload
    to the new run. `outputs` are sealed for it already."""
    kept = sorted(
        (state.steps[StepKey(name)] for name in plan.reused), key=lambda step: step.ended_ms
    )
    return tuple(_inherited(step, outputs.get(step.key), state.time_ms, reseal) for step in kept)


def _check(state: RunView, plan: Plan, edits: ForkEdits) -> None:
    faults: list[str] = []
    for name in sorted(edits.outputs | edits.again):
        field = f"outputs.{name}" if name in edits.outputs else f"again: {name}"
        if name not in plan.steps:
            faults.append(f"{field}: flow {plan.flow!r} has no such step")
        elif name in edits.outputs and name in edits.again:
            faults.append(f"{field}: a step is given an output or runs again, not both")
        elif name in edits.outputs:
            faults += _output_faults(field, plan.steps[name], state.steps.get(StepKey(name)))
    if faults:
        raise InvalidInput("The fork cannot be made as asked.", faults)


def _output_faults(field: str, step: PlanStep, known: StepView | None) -> Iterator[str]:
    if step.kind not in _EDITABLE or step.foreach is not None or step.repeat is not None:
        yield f"{field}: only the output of a single `uses` or `set` step can be edited"
    elif known is None or known.status is StepStatus.SKIPPED:
        yield f"{field}: the step has not begun at this position, so it has no output to edit"


def _changed_definitions(before: Plan, after: Plan) -> AbstractSet[str]:
    if before.hash == after.hash:
        return frozenset()
    old, new = _definitions(before), _definitions(after)
    return {name for name in new if old.get(name) != new[name]}


def _definitions(plan: Plan) -> Mapping[str, Any]:
    steps: Mapping[str, Mapping[str, Any]] = json.loads(plan_to_json(plan))["steps"]
    return {
        name: {field: value for field, value in step.items() if field not in _HOW}
        for name, step in steps.items()
    }


def _was_stopped(state: RunView, plan: Plan) -> bool:
    failed_early = state.first_failed is not None and plan.on_failure is OnFailure.CANCEL
    return state.cancel is not None or failed_early


def _runs_again(step: PlanStep, known: StepView, *, stopped: bool) -> bool:
    """Not ended, or ended in a way that a fork is there to mend."""
    match known.status:
        case StepStatus.FAILED:
            return not step.catches
        case StepStatus.CANCELLED:
            return stopped
        case StepStatus.SKIPPED:
            return known.skip_reason is SkipReason.RUN_CANCELLED
        case _:
            return known.status not in STEP_TERMINAL


def _is_led_by(known: StepView, changed: AbstractSet[str]) -> bool:
    """Whether an edge that decided this step comes from one that changes. What was undecided then
    had no say in it."""
    return any(
        edge.source in changed and edge.state is not EdgeState.UNDECIDED for edge in known.edges
    )


def _refers_to(step: PlanStep, inputs: AbstractSet[str], *, vars_changed: bool) -> bool:
    if not inputs and not vars_changed:
        return False
    for references in _references(step):
        if vars_changed and "vars" in references.names:
            return True
        named = set(references.inputs)
        # A computed name may be any of them.
        if "inputs" in references.names and inputs and (not named or inputs & named):
            return True
    return False


def _references(part: object) -> Iterator[References]:
    if isinstance(part, Expression | Template):
        yield part.references
    elif isinstance(part, tuple):
        for one in cast("tuple[object, ...]", part):
            yield from _references(one)
    elif isinstance(part, Mapping):
        for one in cast("Mapping[str, object]", part).values():
            yield from _references(one)
    elif is_dataclass(part) and not isinstance(part, References):
        for field in fields(part):
            yield from _references(getattr(part, field.name))


def _effects_of(step: PlanStep, *, repeats: bool) -> Iterator[OutsideEffect]:
    if step.group is not None:
        for inner in step.group.steps.values():
            yield from _effects_of(inner, repeats=repeats)
    called = [step.uses, *(entry.uses for entry in step.fallback)]
    custom_key = step.idempotency_key is not None
    for action in called:
        if action is not None and (effect := _effect(action)):
            yield OutsideEffect(step.id, action.reference, effect, repeats, custom_key)


def _effect(action: Action) -> str:
    if action.kind is UsesKind.FLOW:
        return "flow"
    return action.effect.value if action.effect in (Effect.WRITE, Effect.DESTRUCTIVE) else ""


def _inherited(step: StepView, edited: Stored | None, now_ms: int, reseal: Reseal) -> InheritedStep:
    if edited is not None:
        return InheritedStep(
            step=step.key,
            status=StepStatus.SUCCEEDED,
            output=edited,
            edges=tuple(step.edges),
            attempt=step.attempt,
            ready_ms=step.first_ready_ms,
            ended_ms=step.ended_ms or now_ms,
            edited=True,
        )
    return InheritedStep(
        step=step.key,
        status=step.status,
        output=reseal(step.output),
        port=step.port,
        recovered=step.recovered,
        error=_resealed(step.error, reseal),
        skip_reason=step.skip_reason,
        edges=tuple(step.edges),
        items=_items(step.fan_out, reseal) if step.fan_out is not None else None,
        attempt=step.attempt,
        ready_ms=step.first_ready_ms,
        ended_ms=step.ended_ms,
    )


def _items(fan_out: FanOutView, reseal: Reseal) -> InheritedItems:
    return InheritedItems(
        count=fan_out.count,
        items=reseal(fan_out.items),
        outcomes=tuple(
            InheritedItem(
                index=index,
                status=one.status,
                output=reseal(one.output),
                error=_resealed(one.error, reseal),
            )
            for index, one in enumerate(fan_out.outcomes)
            if one is not None
        ),
    )


def _resealed(error: StepError | None, reseal: Reseal) -> StepError | None:
    if error is None:
        return None
    return StepError(type=error.type, message=reseal(error.message))
