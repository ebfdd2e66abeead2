"""The immutable plan that scheduler, executor and history fold with.

Everything is resolved when a version is published, and parsed when its plan is loaded, so that
nothing is parsed while runs run. A plan is stored with its version and cached by its hash.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from headrace_core.ids import (
    PlanHash,
    StepKey,
    compensated_by,
    compensation_key,
    group_of,
    item_of,
    member_key,
    step_path,
    wholes_of,
)
from headrace_core.workflow.firing import Catchup, OnConflict, Overlap
from headrace_core.workflow.joins import Join
from headrace_core.workflow.plan_parts import (
    Action,
    Approval,
    Case,
    Compensation,
    Concurrency,
    Edge,
    Effect,
    Escalation,
    EventWait,
    Failure,
    Fallback,
    Foreach,
    Idempotency,
    Input,
    Jitter,
    OnError,
    OnExpire,
    OnFailure,
    RateLimit,
    Repeat,
    RetryPolicy,
    Trigger,
    TriggerKind,
    UsesKind,
    Wait,
)
from headrace_core.workflow.references import References, union
from headrace_core.workflow.template import Expression, Template

__all__ = [
    "Action",
    "Approval",
    "Case",
    "Catchup",
    "Compensation",
    "Concurrency",
    "Edge",
    "Effect",
    "Escalation",
    "EventWait",
    "Failure",
    "Fallback",
    "Foreach",
    "Idempotency",
    "Input",
    "Jitter",
    "OnConflict",
    "OnError",
    "OnExpire",
    "OnFailure",
    "Overlap",
    "Plan",
    "PlanStep",
    "RateLimit",
    "Repeat",
    "RetryPolicy",
    "Scope",
    "StepKind",
    "Trigger",
    "TriggerKind",
    "UsesKind",
    "Wait",
]


class StepKind(StrEnum):
    USES = "uses"
    SWITCH = "switch"
    WAIT = "wait"
    APPROVAL = "approval"
    GROUP = "group"
    SET = "set"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One step, with the flow's defaults already filled in.

    `references` is what an executor needs to evaluate `arguments`, the `with` of fallback entries,
    their outputs and the idempotency key; control expressions carry their own. Times that are
    None have no limit.
    """

    id: str
    index: int
    kind: StepKind
    title: str = ""
    needs: tuple[Edge, ...] = ()
    join: Join = Join()
    cancel_others: bool = False
    when: Expression | None = None
    foreach: Foreach | None = None
    repeat: Repeat | None = None
    uses: Action | None = None
    arguments: Template | None = None
    switch: tuple[Case, ...] = ()
    wait: Wait | None = None
    approval: Approval | None = None
    group: "Scope | None" = None
    set: Template | None = None
    fail: Failure | None = None
    outputs: Template | None = None
    detach: bool = False
    retry: RetryPolicy = RetryPolicy()
    timeout_ms: int | None = None
    deadline_ms: int | None = None
    heartbeat_ms: int | None = None
    fallback: tuple[Fallback, ...] = ()
    on_error: OnError = OnError.FAIL
    on_error_output: Template | None = None
    compensate: Compensation | None = None
    idempotency_key: Template | None = None
    priority: int = 0
    rate_limit: RateLimit | None = None
    sensitive: bool = False
    references: References = field(init=False, compare=False, repr=False)
    undo: "PlanStep | None" = field(init=False, compare=False, repr=False)
    """The call that compensates this step, as a step of its own."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "references", union(self._evaluated_by_executor()))
        object.__setattr__(self, "undo", self._undo())

    def _undo(self) -> "PlanStep | None":
        if self.compensate is None:
            return None
        return PlanStep(
            id=compensation_key(StepKey(self.id)),
            index=self.index,
            kind=StepKind.USES,
            foreach=self.foreach,
            uses=self.compensate.uses,
            arguments=self.compensate.arguments,
            retry=self.compensate.retry,
            timeout_ms=self.timeout_ms,
            priority=self.priority,
            sensitive=self.sensitive,
        )

    def _evaluated_by_executor(self) -> Iterator[References]:
        templates = [self.arguments, self.idempotency_key]
        for entry in self.fallback:
            templates += (entry.arguments, entry.output)
        for template in templates:
            if template is not None:
                yield template.references

    @property
    def catches(self) -> bool:
        return self.on_error is OnError.CATCH

    @property
    def inline(self) -> bool:
        """Decided in place by the scheduler: no executor is asked."""
        return self.kind is not StepKind.USES


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Steps of one level. `successors` names each step's dependents once, in the order of `order`,
    which is topological; `entry` are the steps without `needs`."""

    steps: Mapping[str, PlanStep]
    order: tuple[str, ...]
    entry: tuple[str, ...]
    successors: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`lock` is what each `@` reference of the definition meant when it was published; `hash`
    covers the definition without its title and description, and the lock."""

    hash: PlanHash
    flow: str
    steps: Mapping[str, PlanStep]
    order: tuple[str, ...]
    entry: tuple[str, ...]
    successors: Mapping[str, tuple[str, ...]]
    inputs: tuple[Input, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict[str, Any])
    outputs: Template | None = None
    timeout_ms: int | None = None
    on_failure: OnFailure = OnFailure.DRAIN
    triggers: Mapping[str, Trigger] = field(default_factory=dict[str, Trigger])
    subject: Expression | None = None
    concurrency: Concurrency | None = None
    depth: int = 1
    """Levels of sub-flows, this one included."""
    lock: Mapping[str, str] = field(default_factory=dict[str, str])

    def step_at(self, key: StepKey) -> PlanStep:
        """The step that a key addresses: of a step, of one of its items or passes, or of what
        undoes it, at the top or inside groups.

        Raises KeyError for a key of no step.
        """
        found = self.steps.get(key) or self.find(key)
        if found is None:
            raise KeyError(key)
        return found

    def find(self, key: StepKey) -> PlanStep | None:
        """As `step_at`, but None for a key of no step."""
        found = self.steps.get(key)
        if found is not None:
            return found
        *groups, name = step_path(key)
        steps = self.steps
        for group in groups:
            outer = steps.get(group)
            if outer is None or outer.group is None:
                return None
            steps = outer.group.steps
        found = steps.get(name)
        if found is None or compensated_by(key) is None:
            return found
        return found.undo

    def level_at(self, key: StepKey) -> "Plan | Scope":
        """The level that the addressed step stands on: the flow's, or that of its group."""
        group = group_of(key)
        return self if group is None else self.scope_of(group)

    def scope_of(self, group: StepKey) -> Scope:
        """What is inside of a group."""
        scope = self.step_at(group).group
        assert scope is not None, "asked only of groups"
        return scope

    def key_meant(self, key: StepKey | None, step: str) -> StepKey:
        """What `steps.<step>` means where it is evaluated for `key`: the nearest one outwards. Of a
        repeated fan-out each item goes round by itself, so for its passes it means the item."""
        if key is None or key in self.steps:
            return StepKey(step)
        place: StepKey | None = key
        while place is not None:
            if step_path(place)[-1] == step and self.step_at(place).repeat is not None:
                item = next((one for one in wholes_of(place) if item_of(one) is not None), None)
                if item is not None:
                    return item
            group = group_of(place)
            if group is not None and step in self.scope_of(group).steps:
                return member_key(group, step)
            place = group
        return StepKey(step)
