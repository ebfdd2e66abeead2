"""Journal chunks as turns."""

from collections.abc import Sequence
from pathlib import Path

from headrace_core.ids import RunId, TenantId
from headrace_history.adapters.postgres.faults import passing_faults
from headrace_history.adapters.postgres.tenants import TenantSchemas
from headrace_history.domain.projections.journal import unpack
from headrace_history.domain.turns import JournalTurn
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_name("reads.sql"))


class PostgresJournal:
    """JournalStore."""

    def __init__(self, pool: Pool, schemas: TenantSchemas) -> None:
        self._pool = pool
        self._schemas = schemas

    async def turns(
        self, tenant: TenantId, run: RunId, after_sequence: int = 0, chunks_max: int | None = None
    ) -> Sequence[JournalTurn]:
        schema = await self._schemas.find(tenant)
        if schema is None:
            return []
        statement = STATEMENTS["turns"].replace("{schema}", schema)
        with passing_faults():
            rows = await self._pool.fetch(statement, run, after_sequence, chunks_max)
        return [turn for row in rows for turn in unpack(row["chunk"])]
