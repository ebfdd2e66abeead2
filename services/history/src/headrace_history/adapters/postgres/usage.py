"""Usage per day, flow and model."""

from collections.abc import Mapping
from pathlib import Path

from headrace_core.ids import DAY_MS, TenantId
from headrace_history.adapters.postgres.faults import passing_faults
from headrace_history.adapters.postgres.tenants import TenantSchemas
from headrace_history.domain.projections.usage import UsageDelta, UsageKey
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_name("reads.sql"))


class PostgresUsage:
    """UsageStore."""

    def __init__(self, pool: Pool, schemas: TenantSchemas) -> None:
        self._pool = pool
        self._schemas = schemas

    async def usage(
        self, tenant: TenantId, from_ms: int, to_ms: int
    ) -> Mapping[UsageKey, UsageDelta]:
        schema = await self._schemas.find(tenant)
        if schema is None:
            return {}
        statement = STATEMENTS["usage"].replace("{schema}", schema)
        with passing_faults():
            rows = await self._pool.fetch(statement, from_ms // DAY_MS, to_ms // DAY_MS)
        return {UsageKey(*tuple(row)[:3]): UsageDelta(*tuple(row)[3:]) for row in rows}
