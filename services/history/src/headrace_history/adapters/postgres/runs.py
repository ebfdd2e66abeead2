"""Rows of runs, by id and as pages of a list."""

from collections.abc import Sequence
from pathlib import Path

from headrace_core.ids import RunId, TenantId
from headrace_history.adapters.postgres.conditions import Conditions
from headrace_history.adapters.postgres.faults import passing_faults
from headrace_history.adapters.postgres.rows import run_row
from headrace_history.adapters.postgres.tenants import TenantSchemas
from headrace_history.app.ports import Place, RunFilter
from headrace_history.domain.projections.runs import RunRow
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_name("reads.sql"))


class PostgresRuns:
    """RunStore."""

    def __init__(self, pool: Pool, schemas: TenantSchemas) -> None:
        self._pool = pool
        self._schemas = schemas

    async def row(self, tenant: TenantId, run: RunId) -> RunRow | None:
        schema = await self._schemas.find(tenant)
        if schema is None:
            return None
        with passing_faults():
            row = await self._pool.fetchrow(STATEMENTS["run"].replace("{schema}", schema), run)
        return run_row(tenant, row) if row is not None else None

    async def rows(
        self, tenant: TenantId, wanted: RunFilter, after: Place | None, limit: int
    ) -> Sequence[RunRow]:
        schema = await self._schemas.find(tenant)
        if schema is None:
            return []
        conditions = _conditions(wanted, after)
        statement = conditions.fill(STATEMENTS["runs"], schema)
        with passing_faults():
            rows = await self._pool.fetch(statement, *conditions.arguments, limit)
        return [run_row(tenant, row) for row in rows]


def _conditions(wanted: RunFilter, after: Place | None) -> Conditions:
    conditions = Conditions()
    if wanted.flow:
        conditions.add("flow = {}", wanted.flow)
    if wanted.status is not None:
        conditions.add("status = {}", int(wanted.status))
    if wanted.started_after_ms:
        conditions.add("started_ms >= {}", wanted.started_after_ms)
    if wanted.started_before_ms:
        conditions.add("started_ms < {}", wanted.started_before_ms)
    if after is not None:
        conditions.add("(started_ms, run) < ({}, {})", after.started_ms, after.run)
    return conditions
