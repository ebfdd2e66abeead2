"""Tenants' keys, as history uses them: to show payloads, and to export the keys of one run."""

import hmac

import orjson

from headrace_core.errors import KeyErased
from headrace_core.ids import RunId, TenantId
from headrace_core.payload import HEADER_BYTES, Stored, key_id_of
from headrace_runtime.blobs import BlobStore
from headrace_runtime.sealing import BODY_AT, Keyring, RunKey, TenantVault


class KeyringVaults:
    """Vaults and ExportVaults over one keyring."""

    def __init__(self, keyring: Keyring, blobs: BlobStore) -> None:
        self._keyring = keyring
        self._blobs = blobs

    async def vault(self, tenant: TenantId) -> TenantVault:
        return await self._keyring.ready(tenant)

    async def export_vault(self, tenant: TenantId) -> "RunKeys":
        return RunKeys(await self.vault(tenant), self._blobs)


class RunKeys:
    """ExportVault. Keys are derived per run and per blob, so an export opens nothing else."""

    def __init__(self, vault: TenantVault, blobs: BlobStore) -> None:
        self._vault = vault
        self._blobs = blobs

    async def run_key(self, run: RunId, key_id: int) -> bytes | None:
        await self._vault.bring_key(key_id)
        try:
            return self._derive(run, key_id)
        except KeyErased:
            return None

    async def blob(self, run: RunId, stored: Stored) -> tuple[str, bytes, bytes]:
        await self._vault.fetch(run, stored)
        key = RunKey(self._vault.secret_of(key_id_of(stored)), self._vault.tenant, run)
        header = stored[:HEADER_BYTES]
        opened = key.decrypt(stored[HEADER_BYTES:BODY_AT], stored[BODY_AT:], key.owner + header)
        address: str = orjson.loads(opened)["blob"]
        sealed = await self._blobs.get(self._vault.tenant, address)
        return address, sealed, self._derive(address, key_id_of(Stored(sealed)))

    def _derive(self, owner: str, key_id: int) -> bytes:
        return hmac.digest(self._vault.secret_of(key_id), owner.encode(), "sha256")
