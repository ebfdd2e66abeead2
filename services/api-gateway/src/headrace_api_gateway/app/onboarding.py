"""Tenants, their keys, and the first administrator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_api_gateway.app.ports import KeyStore
from headrace_api_gateway.domain.authorisation import Role
from headrace_core.errors import InvalidInput, NotFound, SetupError, Unauthenticated
from headrace_core.ids import TenantId
from headrace_runtime.api_keys import ID_LETTERS, SECRET_LETTERS, ApiKey, StoredKey, new_key
from headrace_runtime.clock import Clock
from headrace_runtime.tenants import Tenant

ADMINISTRATORS = TenantId("admin")
"""Keys belong to a tenant; those of administrators to this one, which runs nothing."""
FIRST_KEY_NAME = "first-administrator"


class TenantStore(Protocol):
    """`headrace_runtime.tenants.Tenants`."""

    async def add(self, tenant: TenantId, weight: int = 1) -> Tenant: ...

    async def get(self, tenant: TenantId) -> Tenant: ...

    async def all(self) -> Sequence[Tenant]: ...


class DataKeyStore(Protocol):
    """`headrace_runtime.keys.DataKeys`."""

    async def ensure(self, tenant: TenantId, now_ms: int) -> int: ...


class AdminKeyFile(Protocol):
    def read(self) -> str | None:
        """None when there is no file."""
        ...

    def write(self, key: str) -> None:
        """For the owner's eyes only; never replaces a file."""
        ...


@dataclass(frozen=True, slots=True)
class MadeKey:
    """`text` is shown once."""

    stored: StoredKey
    text: str


class Onboarding:
    """`chance` answers that many random bytes."""

    def __init__(
        self,
        tenants: TenantStore,
        keys: KeyStore,
        data_keys: DataKeyStore,
        clock: Clock,
        chance: Callable[[int], bytes],
    ) -> None:
        self._tenants = tenants
        self._keys = keys
        self._data_keys = data_keys
        self._clock = clock
        self._chance = chance

    async def add_tenant(self, tenant: TenantId, weight: int) -> Tenant:
        """May be repeated. Raises InvalidInput."""
        if tenant == ADMINISTRATORS:
            raise InvalidInput(f"{tenant!r} is the name of the administrators: take another.")
        added = await self._tenants.add(tenant, weight)
        await self._data_keys.ensure(tenant, self._clock.now_ms())
        return added

    async def tenants(self) -> Sequence[Tenant]:
        return [one for one in await self._tenants.all() if one.id != ADMINISTRATORS]

    async def add_key(self, tenant: TenantId, name: str, role: Role) -> MadeKey:
        """Raises NotFound for an unknown tenant, InvalidInput."""
        await self._check_tenant(tenant)
        if role is Role.ADMIN:
            raise InvalidInput("A tenant's key has the role viewer, starter, editor or worker.")
        return await self._add_key(self._draw(), tenant, name, role)

    async def keys(self, tenant: TenantId) -> Sequence[StoredKey]:
        await self._check_tenant(tenant)
        return await self._keys.of_tenant(tenant)

    async def revoke_key(self, tenant: TenantId, key_id: str) -> None:
        await self._check_tenant(tenant)
        await self._keys.revoke(tenant, key_id)

    async def renew_data_keys(self) -> None:
        """This month's and the next one's, of every tenant."""
        for tenant in await self.tenants():
            await self._data_keys.ensure(tenant.id, self._clock.now_ms())

    async def ensure_first_administrator(
        self, file: AdminKeyFile, parse: Callable[[str], ApiKey]
    ) -> None:
        """The file holds a key that works: made now unless it was there. A file that outlived
        its database is taken in again. Raises SetupError for one that holds no key."""
        await self._tenants.add(ADMINISTRATORS)
        written = file.read()
        try:
            key = self._draw() if written is None else parse(written)
        except Unauthenticated as fault:
            raise SetupError(
                "HEADRACE_ADMIN_KEY_FILE names a file that holds no API key. Remove the file and "
                "start again: a new key is made."
            ) from fault
        if written is None or await self._keys.find(key.id) is None:
            await self._add_key(key, ADMINISTRATORS, FIRST_KEY_NAME, Role.ADMIN)
        if written is None:
            # After the row: a file that is there always names a key that is known.
            file.write(key.text)

    async def _check_tenant(self, tenant: TenantId) -> None:
        if tenant == ADMINISTRATORS:
            raise NotFound(f"There is no tenant {tenant!r}.")
        await self._tenants.get(tenant)

    async def _add_key(self, key: ApiKey, tenant: TenantId, name: str, role: Role) -> MadeKey:
        stored = await self._keys.add(key.id, tenant, key.secret_hash, name, role.value)
        return MadeKey(stored, key.text)

    def _draw(self) -> ApiKey:
        return new_key(self._chance(ID_LETTERS + SECRET_LETTERS))
