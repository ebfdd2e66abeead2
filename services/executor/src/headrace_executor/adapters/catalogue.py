"""Plans, payload keys and secrets from PostgreSQL, behind the executor's ports."""

from collections.abc import Awaitable, Collection, Mapping
from typing import TypeVar

from headrace_core.errors import Unavailable
from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.payload import Stored
from headrace_core.workflow.plan import Plan
from headrace_runtime.definitions import Definitions
from headrace_runtime.postgres.pool import CONNECTION_LOST
from headrace_runtime.sealing import Keyring, TenantVault
from headrace_runtime.secret_text import SecretText
from headrace_runtime.tenant_secrets import TenantSecrets

Loaded = TypeVar("Loaded")


class PublishedPlans:
    """Implements app.ports.Plans."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def get_cached(self, tenant: TenantId, plan: PlanHash) -> Plan | None:
        return self._definitions.get_cached(tenant, plan)

    async def load(self, tenant: TenantId, plan: PlanHash) -> Plan:
        return await _or_unavailable(self._definitions.plan(tenant, plan))


class PayloadVaults:
    """Implements app.ports.Vaults."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def get_cached(self, tenant: TenantId) -> TenantVault | None:
        try:
            return self._keyring.vault(tenant)
        except LookupError:
            return None

    async def load(self, tenant: TenantId) -> TenantVault:
        return await _or_unavailable(self._keyring.ready(tenant))

    async def fetch(self, tenant: TenantId, run: RunId, stored: Stored) -> None:
        await _or_unavailable(self._keyring.vault(tenant).fetch(run, stored))

    async def store_pending_blobs(self) -> None:
        await _or_unavailable(self._keyring.store_pending_blobs())


class VaultSecrets:
    """Implements app.ports.Secrets."""

    def __init__(self, secrets: TenantSecrets) -> None:
        self._secrets = secrets

    async def open_all(self, tenant: TenantId, names: Collection[str]) -> Mapping[str, SecretText]:
        return await _or_unavailable(self._secrets.open_all(tenant, names))


async def _or_unavailable(asked: Awaitable[Loaded]) -> Loaded:
    try:
        return await asked
    except CONNECTION_LOST as fault:
        raise Unavailable(
            f"the database or the blob store is away: {fault or type(fault).__name__}"
        ) from fault
