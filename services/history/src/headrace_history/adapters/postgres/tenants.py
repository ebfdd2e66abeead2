"""Which schema is whose. Made on first sight, under the name that onboarding chose.

A tenant that the control schema does not know gets an opaque name from its hash, so that no name
of a customer can be read in the catalogue.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from headrace_core.ids import TenantId, stable_hash
from headrace_history.adapters.postgres.faults import passing_faults
from headrace_runtime.postgres.migrate import load_migrations, migrate
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import identifier, load_statements

STATEMENTS = load_statements(Path(__file__).with_name("tenants.sql"))
MIGRATIONS = Path(__file__).parents[2] / "migrations"
SHARED_SCHEMA = "headrace_history"


async def migrate_shared(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await migrate(connection, SHARED_SCHEMA, load_migrations(MIGRATIONS / "shared"))


class TenantSchemas:
    """Names are cached for ever: a tenant's schema is never renamed while history runs."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._names: dict[TenantId, str] = {}
        self._migrations = load_migrations(MIGRATIONS / "tenant")

    async def find(self, tenant: TenantId) -> str | None:
        """None for a tenant of which history has nothing."""
        name = self._names.get(tenant)
        if name is None:
            with passing_faults():
                found = await self._pool.fetchval(STATEMENTS["find"], tenant)
            if found is None:
                return None
            name = identifier(found)
            await self._upgrade(name)
            self._names[tenant] = name
        return name

    async def _upgrade(self, name: str) -> None:
        """An older version of history may have made this schema."""
        with passing_faults():
            async with self._pool.acquire() as connection:
                await migrate(connection, name, self._migrations)

    async def ensure(self, tenants: Iterable[TenantId]) -> Mapping[TenantId, str]:
        """The names of these tenants' schemas, which exist afterwards."""
        for tenant in tenants:
            if tenant not in self._names and await self.find(tenant) is None:
                self._names[tenant] = await self._create(tenant)
        return self._names

    async def all(self) -> Mapping[TenantId, str]:
        with passing_faults():
            rows = await self._pool.fetch(STATEMENTS["all"])
        names = {TenantId(row["tenant"]): identifier(row["schema_name"]) for row in rows}
        for name in names.values():
            await self._upgrade(name)
        return names

    async def _create(self, tenant: TenantId) -> str:
        with passing_faults():
            async with self._pool.acquire() as connection:
                name = opaque_name(tenant)
                if await connection.fetchval(STATEMENTS["has_control"]):
                    name = await connection.fetchval(STATEMENTS["chosen"], tenant) or name
                identifier(name)
                await migrate(connection, name, self._migrations)
                await connection.execute(STATEMENTS["remember"], tenant, name)
        return name


def opaque_name(tenant: TenantId) -> str:
    return f"t_{stable_hash(tenant).hex()[:24]}"
