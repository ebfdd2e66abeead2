"""Triggers and topics of published versions in `headrace_control`."""

from collections.abc import Sequence
from pathlib import Path

from headrace_api_gateway.app.events import Subscription
from headrace_api_gateway.app.receiving import Hook
from headrace_api_gateway.domain.requests import DEFAULT_LABEL
from headrace_core.ids import TenantId
from headrace_core.workflow.plan_parts import EVENT_KEEP_MS
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))


class PostgresScheduleNames:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def scheduled_triggers(self, tenant: TenantId, flow: str) -> Sequence[str]:
        rows = await self._pool.fetch(STATEMENTS["scheduled_triggers"], tenant, flow)
        return [row["name"] for row in rows]


class PostgresHooks:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def at(self, tenant: TenantId, path: str) -> Sequence[Hook]:
        rows = await self._pool.fetch(STATEMENTS["hooks_at"], tenant, path, DEFAULT_LABEL)
        return [Hook(row["flow"], row["version"], row["trigger"]) for row in rows]


class PostgresTopics:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def keep_ms(self, tenant: TenantId, topic: str) -> int:
        statement = STATEMENTS["keep_ms"]
        return await self._pool.fetchval(statement, tenant, topic, EVENT_KEEP_MS)

    async def subscriptions(self, tenant: TenantId, topic: str) -> Sequence[Subscription]:
        rows = await self._pool.fetch(STATEMENTS["subscriptions"], tenant, topic, DEFAULT_LABEL)
        return [Subscription(row["version"], row["hash"], row["trigger"]) for row in rows]


async def ping(pool: Pool) -> None:
    await pool.fetchval(STATEMENTS["ping"], timeout=2)
