"""Schedules' names in `headrace_control`."""

from collections.abc import Sequence
from pathlib import Path

from headrace_core.ids import TenantId
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))


class PostgresScheduleNames:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def scheduled_triggers(self, tenant: TenantId, flow: str) -> Sequence[str]:
        rows = await self._pool.fetch(STATEMENTS["scheduled_triggers"], tenant, flow)
        return [row["name"] for row in rows]


async def ping(pool: Pool) -> None:
    await pool.fetchval(STATEMENTS["ping"], timeout=2)
