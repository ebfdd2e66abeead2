"""The Flows port: published plans and the tenants' payload keys."""

from collections.abc import Mapping
from typing import Any

from headrace_api_gateway.app.ports import Startable
from headrace_core.errors import InvalidInput, Unavailable
from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.payload import INLINE_BYTES_MAX, Stored, key_mark
from headrace_core.workflow.expression import ExprError
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.subject import subject_of
from headrace_runtime.blobs import BlobStore
from headrace_runtime.definitions import Definitions
from headrace_runtime.sealing import Keyring, TenantVault

NO_RUN = RunId("")


class VaultSealer:
    def __init__(self, vault: TenantVault, blobs: BlobStore, subject_key: int) -> None:
        self._vault = vault
        self._blobs = blobs
        self._subject_key = subject_key

    async def seal(
        self, run: RunId, json: bytes, inline_bytes_max: int = INLINE_BYTES_MAX
    ) -> Stored:
        stored = self._vault.seal(run, json, inline_bytes_max, self._subject_key)
        await _store_pending(self._vault, self._blobs)
        return stored


class VaultMover:
    def __init__(self, vault: TenantVault, blobs: BlobStore) -> None:
        self._vault = vault
        self._blobs = blobs
        self.reseal = vault.reseal

    async def store_blobs(self) -> None:
        await _store_pending(self._vault, self._blobs)

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
        return Startable(resolved.number, plan)

    async def plan(self, tenant: TenantId, plan: PlanHash) -> Plan:
        return await self._definitions.plan(tenant, plan)

    async def sealer(self, tenant: TenantId, subject_key: int = 0) -> VaultSealer:
        vault = await self._keyring.ready(tenant)
        if subject_key:
            await vault.fetch(NO_RUN, key_mark(subject_key))
        return VaultSealer(vault, self._blobs, subject_key)

    async def subject_key(self, tenant: TenantId, plan: Plan, fields: Mapping[str, Any]) -> int:
        subject = subject_of(plan, fields)
        if isinstance(subject, ExprError):
            raise InvalidInput(f"`subject` of workflow {plan.flow}: {subject}.")
        return await self._keyring.subject_key(tenant, subject) if subject else 0

    async def mover(self, tenant: TenantId) -> VaultMover:
        return VaultMover(await self._keyring.ready(tenant), self._blobs)


async def _store_pending(vault: TenantVault, blobs: BlobStore) -> None:
    if not vault.has_pending_blobs:
        return
    # Taken without giving way in between: what is pending is this request's own.
    pending = vault.take_pending_blobs()
    try:
        for blob in pending:
            await blobs.put(blob.tenant, blob.address, blob.content)
    except OSError as fault:
        raise Unavailable(
            f"The input is too large for a record and cannot be stored: {fault}. "
            "Nothing was started."
        ) from fault
