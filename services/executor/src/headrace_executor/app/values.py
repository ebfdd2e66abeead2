"""What a task's templates refer to, opened on demand."""

from collections.abc import Mapping
from typing import cast

import orjson

from headrace_core.ids import RunId, item_of
from headrace_core.payload import Stored, Vault
from headrace_core.run.events import StepError
from headrace_core.workflow.plan import Plan, PlanStep
from headrace_core.workflow.references import StepReference
from headrace_core.workflow.template import JsonValue
from headrace_core.workflow.values import ErrorValue, ItemValue, RunFacts, StepValue
from headrace_executor.app.failures import EXPRESSION, StepFailed
from headrace_worker.messages import ItemInput, StepInput, Task

PENDING = "pending"


class Opened:
    """Values opened for the tasks of one received message: the items of a fan-out share their
    list, and steps side by side their input. Kept no longer, since a key may be erased."""

    def __init__(self) -> None:
        self._values: dict[tuple[RunId, Stored], JsonValue] = {}

    def value(self, vault: Vault, run: RunId, stored: Stored) -> JsonValue:
        """Raises what `Vault.open` raises."""
        if not stored:
            return None
        key = (run, stored)
        if key not in self._values:
            self._values[key] = orjson.loads(vault.open(run, stored))
        return self._values[key]

    def clear(self) -> None:
        self._values.clear()


class TaskValues:
    """A `ValueSource` over what came with the task."""

    def __init__(
        self, task: Task, plan: Plan, step: PlanStep, vault: Vault, opened: Opened
    ) -> None:
        self._task = task
        self._plan = plan
        self._step = step
        self._vault = vault
        self._opened = opened

    def run(self) -> RunFacts:
        task = self._task
        return RunFacts(
            task.attempt.run,
            task.attempt.tenant,
            task.run_started_ms,
            task.scheduled_at_ms,
            task.trigger,
        )

    def input(self) -> JsonValue:
        return self._open(self._task.input)

    def step(self, reference: StepReference) -> StepValue:
        given = step_input(self._task, reference.step)
        if given is None:
            # The scheduler leaves out what has no state yet.
            return StepValue(PENDING)
        meant = self._plan.key_meant(self._task.attempt.step, reference.step)
        source = self._plan.find(meant)
        fans_out = source is not None and source.foreach is not None and item_of(meant) is None
        return StepValue(
            given.status,
            self._open(given.output) if reference.output else None,
            self._error(given.error) if reference.error else None,
            [self._item(item) for item in given.items] if fans_out else None,
        )

    def items(self, wanted: frozenset[str]) -> Mapping[str, JsonValue]:
        task, foreach = self._task, self._step.foreach
        found: dict[str, JsonValue] = {}
        own = foreach.alias if foreach is not None else ""
        if task.item is not None and task.items and own in wanted:
            found[own] = self._item_at(task.items, task.item)
        for outer in task.outer_items:
            if outer.alias in wanted:
                found[outer.alias] = self._item_at(outer.items, outer.item)
        return found

    def _item_at(self, items: Stored, position: int) -> JsonValue:
        pairs = cast("list[tuple[str, JsonValue]] | None", self._open(items))
        if pairs is None or position >= len(pairs):
            raise StepFailed(EXPRESSION, f"the list of this step has no item {position}")
        return pairs[position][1]

    def _item(self, item: ItemInput) -> ItemValue:
        return ItemValue(item.status or PENDING, self._open(item.output), self._error(item.error))

    def _error(self, error: StepError | None) -> ErrorValue | None:
        if error is None:
            return None
        return ErrorValue(error.type, cast(str, self._open(error.message) or ""))

    def _open(self, stored: Stored) -> JsonValue:
        return self._opened.value(self._vault, self._task.attempt.run, stored)


def step_input(task: Task, step: str) -> StepInput | None:
    for given in task.values:
        if given.step == step:
            return given
    return None
