"""Tenants in `headrace_control`. Written by the gateway; all may read."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from headrace_core.errors import InvalidInput, NotFound
from headrace_core.ids import TenantId
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))
TENANT_ID = re.compile(r"[a-z][a-z0-9-]{0,38}")
WEIGHT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """`schema_name` is opaque: it is what history names the tenant's schema."""

    id: TenantId
    schema_name: str
    weight: int
    created_ms: int


class Tenants:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, tenant: TenantId, weight: int = 1) -> Tenant:
        """May be repeated: an existing tenant is answered as it is. Raises InvalidInput."""
        if not TENANT_ID.fullmatch(tenant):
            raise InvalidInput(
                f"{tenant!r} is not a tenant id: a lower-case letter, then lower-case letters, "
                "digits and dashes, 39 at most."
            )
        _check_weight(weight)
        await self._pool.execute(STATEMENTS["add"], tenant, f"t_{secrets.token_hex(8)}", weight)
        return await self.get(tenant)

    async def get(self, tenant: TenantId) -> Tenant:
        """Raises NotFound."""
        row = await self._pool.fetchrow(STATEMENTS["one"], tenant)
        if row is None:
            raise NotFound(f"There is no tenant {tenant!r}.")
        return _tenant(row)

    async def all(self) -> Sequence[Tenant]:
        return [_tenant(row) for row in await self._pool.fetch(STATEMENTS["all"])]

    async def set_weight(self, tenant: TenantId, weight: int) -> None:
        """The tenant's share of executors against the others'. Raises NotFound, InvalidInput."""
        _check_weight(weight)
        if await self._pool.fetchval(STATEMENTS["set_weight"], tenant, weight) is None:
            raise NotFound(f"There is no tenant {tenant!r}.")


def _check_weight(weight: int) -> None:
    if not 1 <= weight <= WEIGHT_MAX:
        raise InvalidInput(f"A tenant's weight is between 1 and {WEIGHT_MAX}, not {weight}.")


def _tenant(row: asyncpg.Record) -> Tenant:
    created_ms = int(row["created"].timestamp() * 1000)
    return Tenant(row["id"], row["schema_name"], row["weight"], created_ms)
