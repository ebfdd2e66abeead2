"""Secrets and allowed egress of a tenant: for whoever administers it, never with a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_api_gateway.app.onboarding import ADMINISTRATORS, TenantStore
from headrace_core.errors import NotFound
from headrace_core.ids import TenantId


@dataclass(frozen=True, slots=True)
class SecretEntry:
    name: str
    version: int
    set_ms: int


@dataclass(frozen=True, slots=True)
class AllowedPair:
    """In normal form."""

    host: str
    port: int


class Vault(Protocol):
    """The connectors service. Raises InvalidInput, TooLarge, NotFound, Unavailable."""

    async def set_secret(self, tenant: TenantId, name: str, value: str) -> int:
        """The new version."""
        ...

    async def secrets(self, tenant: TenantId) -> Sequence[SecretEntry]: ...

    async def delete_secret(self, tenant: TenantId, name: str) -> None: ...

    async def allow(self, tenant: TenantId, host: str, port: int) -> AllowedPair: ...

    async def deny(self, tenant: TenantId, host: str, port: int) -> None: ...

    async def allowed(self, tenant: TenantId) -> Sequence[AllowedPair]: ...


class NamedTenants:
    """For the installation's administrators, who name the tenant in the path."""

    def __init__(self, tenants: TenantStore) -> None:
        self._tenants = tenants

    async def checked(self, tenant: str) -> TenantId:
        """Raises NotFound."""
        if tenant == ADMINISTRATORS:
            raise NotFound(f"There is no tenant {tenant!r}.")
        return (await self._tenants.get(TenantId(tenant))).id
