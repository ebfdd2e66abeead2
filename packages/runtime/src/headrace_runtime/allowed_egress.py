"""The host:port pairs that a tenant's admin opened, in `headrace_vault`. Written by connectors."""

from collections.abc import Sequence
from pathlib import Path

from headrace_core.errors import InvalidInput, NotFound
from headrace_core.ids import TenantId
from headrace_runtime.egress import HostPort
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))
PAIRS_MAX = 1_000


class AllowedEgress:
    """Asked at each connection, without a cache: what was taken back holds at once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def allows(self, tenant: TenantId, pair: HostPort) -> bool:
        return await self._pool.fetchval(STATEMENTS["has"], tenant, pair.host, pair.port)

    async def list(self, tenant: TenantId) -> Sequence[HostPort]:
        rows = await self._pool.fetch(STATEMENTS["list"], tenant)
        return [HostPort(row["host"], row["port"]) for row in rows]

    async def allow(self, tenant: TenantId, pair: HostPort) -> None:
        """May be repeated. Raises InvalidInput above the bound on pairs."""
        if len(await self.list(tenant)) >= PAIRS_MAX:
            raise InvalidInput(f"A tenant has at most {PAIRS_MAX} allowed host:port pairs.")
        await self._pool.execute(STATEMENTS["add"], tenant, pair.host, pair.port)

    async def deny(self, tenant: TenantId, pair: HostPort) -> None:
        """Raises NotFound for a pair that is not in the list."""
        if await self._pool.fetchval(STATEMENTS["remove"], tenant, pair.host, pair.port) is None:
            raise NotFound(f"{pair} is not in the list of tenant {tenant!r}.")
