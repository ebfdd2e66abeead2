"""The Flows port: published plans and the tenants' payload keys."""

from headrace_api_gateway.app.ports import Startable
from headrace_core.errors import Unavailable
from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.payload import INLINE_BYTES_MAX, Stored
from headrace_core.workflow.plan import Plan
from headrace_runtime.blobs import BlobStore
from headrace_runtime.definitions import Definitions
from headrace_runtime.sealing import Keyring, TenantVault


class VaultSealer:
    def __init__(self, vault: TenantVault, blobs: BlobStore) -> None:
        self._vault = vault
        self._blobs = blobs

    async def seal(
        self, run: RunId, json: bytes, inline_bytes_max: int = INLINE_BYTES_MAX
    ) -> Stored:
        stored = self._vault.seal(run, json, inline_bytes_max)
        if not self._vault.has_pending_blobs:
            return stored
        # Taken without giving way in between: what is pending is this request's own.
        pending = self._vault.take_pending_blobs()
        try:
            for blob in pending:
                await self._blobs.put(blob.tenant, blob.address, blob.content)
        except OSError as fault:
            raise Unavailable(
                f"The input is too large for a record and cannot be stored: {fault}. "
                "Nothing was started."
            ) from fault
        return stored


class VaultMover:
    def __init__(self, vault: TenantVault) -> None:
        self._vault = vault
        self.reseal = vault.reseal

    async def open(self, run: RunId, stored: Stored) -> bytes:
        return await self._vault.fetch(run, stored)


class PublishedFlows:
    def __init__(self, definitions: Definitions, keyring: Keyring, blobs: BlobStore) -> None:
        self._definitions = definitions
        self._keyring = keyring
        self._blobs = blobs

    async def startable(self, tenant: TenantId, flow: str, version: str) -> Startable:
        resolved = await self._definitions.resolve(tenant, flow, version)
        plan = await self._definitions.plan(tenant, resolved.hash)
        return Startable(resolved.number, plan, await self.sealer(tenant))

    async def plan(self, tenant: TenantId, plan: PlanHash) -> Plan:
        return await self._definitions.plan(tenant, plan)

    async def sealer(self, tenant: TenantId) -> VaultSealer:
        return VaultSealer(await self._keyring.ready(tenant), self._blobs)

    async def mover(self, tenant: TenantId) -> VaultMover:
        return VaultMover(await self._keyring.ready(tenant))
