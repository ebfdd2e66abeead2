"""Plans of published versions, as far as history shows them."""

from collections.abc import Iterator, Mapping, Sequence

import asyncpg
import orjson

from headrace_core.errors import NotFound
from headrace_core.ids import PlanHash, StepKey, TenantId, compensation_key
from headrace_core.workflow.plan import Action, Plan, PlanStep, UsesKind
from headrace_core.workflow.plan_json import plan_to_json
from headrace_core.workflow.resolution import WORKER_PREFIX
from headrace_history.adapters.postgres.faults import passing_faults
from headrace_runtime.definitions import Definitions
from headrace_runtime.loading_cache import LoadingCache

PLANS_MAX = 4_096


class PublishedPlans:
    """Plans. What is shown of each run never changes, so it is kept apart from its plan."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._sensitive = LoadingCache(self._load_sensitive, PLANS_MAX)
        self._tasks = LoadingCache(self._load_tasks, PLANS_MAX)

    async def sensitive_steps(self, tenant: TenantId, plan: PlanHash) -> frozenset[str] | None:
        try:
            return await self._sensitive.get((tenant, plan))
        except NotFound:
            return None

    async def worker_tasks(self, tenant: TenantId, plan: PlanHash) -> Mapping[str, Sequence[str]]:
        try:
            return await self._tasks.get((tenant, plan))
        except NotFound:
            return {}

    async def document(self, tenant: TenantId, plan: PlanHash) -> Mapping[str, object] | None:
        try:
            return orjson.loads(plan_to_json(await self._load(tenant, plan)))
        except NotFound:
            return None

    async def _load_sensitive(self, key: tuple[TenantId, PlanHash]) -> frozenset[str]:
        plan = await self._load(*key)
        return frozenset(path for path, step in _steps(plan.steps) if step.sensitive)

    async def _load_tasks(self, key: tuple[TenantId, PlanHash]) -> Mapping[str, Sequence[str]]:
        plan = await self._load(*key)
        called = {
            path: [_task(action) for action in (step.uses, *(one.uses for one in step.fallback))]
            for path, step in _calls(plan.steps)
        }
        return {step: tasks for step, tasks in called.items() if any(tasks)}

    async def _load(self, tenant: TenantId, plan: PlanHash) -> Plan:
        try:
            with passing_faults():
                return await self._definitions.plan(tenant, plan)
        except asyncpg.UndefinedTableError:
            raise NotFound("nothing was ever published here") from None


def _task(action: Action | None) -> str:
    if action is None or action.kind is not UsesKind.WORKER:
        return ""
    return action.reference.removeprefix(WORKER_PREFIX)


def _calls(steps: Mapping[str, PlanStep]) -> Iterator[tuple[str, PlanStep]]:
    for path, step in _steps(steps):
        yield path, step
        if step.undo is not None:
            yield compensation_key(StepKey(path)), step.undo


def _steps(steps: Mapping[str, PlanStep], around: str = "") -> Iterator[tuple[str, PlanStep]]:
    for name, step in steps.items():
        yield around + name, step
        if step.group is not None:
            yield from _steps(step.group.steps, f"{around}{name}/")
