"""Plans of published versions, as far as history shows them."""

from collections.abc import Iterator, Mapping

import asyncpg
import orjson

from headrace_core.errors import NotFound
from headrace_core.ids import PlanHash, TenantId
from headrace_core.workflow.plan import Plan, PlanStep
from headrace_core.workflow.plan_json import plan_to_json
from headrace_history.adapters.postgres.faults import passing_faults
from headrace_runtime.definitions import Definitions
from headrace_runtime.loading_cache import LoadingCache

SENSITIVE_MAX = 4_096


class PublishedPlans:
    """Plans. The sensitive steps of a plan never change, so they are kept apart from it."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._sensitive = LoadingCache(self._load_sensitive, SENSITIVE_MAX)

    async def sensitive_steps(self, tenant: TenantId, plan: PlanHash) -> frozenset[str] | None:
        try:
            return await self._sensitive.get((tenant, plan))
        except NotFound:
            return None

    async def document(self, tenant: TenantId, plan: PlanHash) -> Mapping[str, object] | None:
        try:
            return orjson.loads(plan_to_json(await self._load(tenant, plan)))
        except NotFound:
            return None

    async def _load_sensitive(self, key: tuple[TenantId, PlanHash]) -> frozenset[str]:
        plan = await self._load(*key)
        return frozenset(step.id for step in _steps(plan.steps) if step.sensitive)

    async def _load(self, tenant: TenantId, plan: PlanHash) -> Plan:
        try:
            with passing_faults():
                return await self._definitions.plan(tenant, plan)
        except asyncpg.UndefinedTableError:
            raise NotFound("nothing was ever published here") from None


def _steps(steps: Mapping[str, PlanStep]) -> Iterator[PlanStep]:
    for step in steps.values():
        yield step
        if step.group is not None:
            yield from _steps(step.group.steps)
