"""Rows of dead letters, as pages of a list."""

from collections.abc import Sequence
from pathlib import Path

from headrace_core.ids import TenantId
from headrace_history.adapters.postgres.conditions import Conditions
from headrace_history.adapters.postgres.faults import passing_faults
from headrace_history.adapters.postgres.rows import letter_row
from headrace_history.adapters.postgres.tenants import TenantSchemas
from headrace_history.app.ports import LetterFilter
from headrace_history.domain.projections.letters import LetterRow
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_name("reads.sql"))


class PostgresLetters:
    """LetterStore."""

    def __init__(self, pool: Pool, schemas: TenantSchemas) -> None:
        self._pool = pool
        self._schemas = schemas

    async def letters(
        self, tenant: TenantId, wanted: LetterFilter, limit: int
    ) -> Sequence[LetterRow]:
        schema = await self._schemas.find(tenant)
        if schema is None:
            return []
        conditions = _conditions(wanted)
        statement = conditions.fill(STATEMENTS["letters"], schema)
        with passing_faults():
            rows = await self._pool.fetch(statement, *conditions.arguments, limit)
        return [letter_row(tenant, row) for row in rows]


def _conditions(wanted: LetterFilter) -> Conditions:
    conditions = Conditions()
    # A decision may have been read before its letter.
    conditions.add("added_ms is not null")
    for name in ("letter", "flow", "status", "run"):
        value = getattr(wanted, name)
        if value:
            conditions.add(name + " = {}", value)
    if wanted.after is not None:
        conditions.add("(added_ms, letter) < ({}, {})", *wanted.after)
    return conditions
