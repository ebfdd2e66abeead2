"""What one entry of one plan step needs to run, worked out once per plan."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace_core.ids import PlanHash, StepKey, TenantId, name_of
from headrace_core.workflow.plan import Plan, PlanStep
from headrace_core.workflow.plan_parts import Action
from headrace_core.workflow.template import Expression, Members, Template
from headrace_executor.app.failures import INPUT_INVALID, StepFailed
from headrace_executor.app.ports import Operation, Transform
from headrace_worker.messages import Task

PREPARED_MAX = 16_384
_OUTPUT_PATH = ("steps", "output")


@dataclass(frozen=True, slots=True)
class Kinds:
    """Who runs an action, by the part of its name before the dot."""

    transforms: Mapping[str, Transform]
    operations: Mapping[str, Operation]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Without an action the entry is a fallback's output: the template's value itself.

    `passed_step` names the step whose whole output is this one's, empty where there is work.
    """

    plan: Plan
    step: PlanStep
    template: Template | None
    action: Action | None = None
    transform: Transform | None = None
    operation: Operation | None = None
    passed_step: str = ""


class PreparedSteps:
    """Bounded: all of it is made anew once it is full, which costs microseconds per entry."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._prepared: dict[tuple[TenantId, PlanHash, str, int], Prepared] = {}

    def get(self, plan: Plan, task: Task) -> Prepared:
        """Raises StepFailed when this executor cannot run it at all."""
        step = task.attempt.step
        # Not by the hash alone: another tenant's equal definition may lock other versions.
        name = step if step in plan.steps else name_of(step)
        key = (task.attempt.tenant, task.plan, name, task.fallback)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepare(plan, name, task.fallback)
            if len(self._prepared) >= PREPARED_MAX:
                self._prepared.clear()
            self._prepared[key] = prepared
        return prepared

    def _prepare(self, plan: Plan, name: str, fallback: int) -> Prepared:
        step = plan.find(StepKey(name))
        if step is None or fallback > len(step.fallback):
            raise StepFailed(INPUT_INVALID, f"the plan has no step {name!r} with that fallback")
        action, template = step.uses, step.arguments
        if fallback:
            entry = step.fallback[fallback - 1]
            action, template = entry.uses, entry.arguments
            if action is None:
                return Prepared(plan, step, entry.output)
        if action is None:
            raise StepFailed(INPUT_INVALID, f"step {name!r} calls nothing")
        family = action.name.partition(".")[0]
        transform = self._kinds.transforms.get(family)
        operation = self._kinds.operations.get(family)
        if transform is None and operation is None:
            raise StepFailed(INPUT_INVALID, f"no executor here runs {action.reference}")
        passed = _passed_step(transform, action, template)
        return Prepared(plan, step, template, action, transform, operation, passed)


def action_at(plan: Plan, task: Task) -> Action | None:
    """What the task calls; None for a fallback's output, and for what the plan does not have."""
    step = plan.find(task.attempt.step)
    if step is None or task.fallback > len(step.fallback):
        return None
    return step.fallback[task.fallback - 1].uses if task.fallback else step.uses


def _passed_step(transform: Transform | None, action: Action, template: Template | None) -> str:
    """`with: {value: "${{ steps.prev.output }}"}` of an action that gives `value` back."""
    if transform is None or template is None or not isinstance(template.node, Members):
        return ""
    if len(template.node.nodes) != 1:
        return ""
    name, node = template.node.nodes[0]
    if name != transform.passes_through(action.name) or not isinstance(node, Expression):
        return ""
    path = node.path
    if path is None or len(path) != 3 or (path[0], path[2]) != _OUTPUT_PATH:
        return ""
    return str(path[1])
