"""API keys and schedules' names in `headrace_control`."""

from collections.abc import Sequence
from pathlib import Path

import asyncpg

from headrace_api_gateway.app.ports import StoredKey
from headrace_core.errors import NotFound
from headrace_core.ids import TenantId
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))


class PostgresKeys:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, key_id: str) -> StoredKey | None:
        row = await self._pool.fetchrow(STATEMENTS["find"], key_id)
        return None if row is None else _key(row)

    async def add(
        self, key_id: str, tenant: TenantId, secret_hash: bytes, name: str, role: str
    ) -> StoredKey:
        try:
            row = await self._pool.fetchrow(
                STATEMENTS["add"], key_id, tenant, secret_hash, name, role
            )
        except asyncpg.ForeignKeyViolationError:
            raise NotFound(f"There is no tenant {tenant!r}.") from None
        assert row is not None, "an insert without a condition returns its row"
        return _key(row)

    async def of_tenant(self, tenant: TenantId) -> Sequence[StoredKey]:
        return [_key(row) for row in await self._pool.fetch(STATEMENTS["of_tenant"], tenant)]

    async def revoke(self, tenant: TenantId, key_id: str) -> None:
        if await self._pool.fetchval(STATEMENTS["revoke"], tenant, key_id) is None:
            raise NotFound(f"Tenant {tenant!r} has no API key {key_id!r}.")


class PostgresScheduleNames:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def scheduled_triggers(self, tenant: TenantId, flow: str) -> Sequence[str]:
        rows = await self._pool.fetch(STATEMENTS["scheduled_triggers"], tenant, flow)
        return [row["name"] for row in rows]


async def ping(pool: Pool) -> None:
    await pool.fetchval(STATEMENTS["ping"], timeout=2)


def _key(row: asyncpg.Record) -> StoredKey:
    return StoredKey(
        row["id"],
        row["tenant"],
        row["name"],
        row["role"],
        row["secret_sha256"],
        int(row["created"].timestamp() * 1000),
        row["revoked"] is not None,
    )
