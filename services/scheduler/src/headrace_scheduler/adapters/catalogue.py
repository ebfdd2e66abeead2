"""Plans and payload keys for decisions: loaded ahead, answered at once."""

from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.payload import Stored, Vault
from headrace_core.workflow.plan import Plan
from headrace_runtime.definitions import Definitions
from headrace_runtime.sealing import Keyring
from headrace_scheduler.adapters.database import unavailable_when_lost


class StoredCatalogue:
    """Keeps each plan that was ever asked for: open runs hold on to theirs anyway, and the
    number of versions that run on one scheduler is small beside the number of runs."""

    def __init__(self, definitions: Definitions, keyring: Keyring) -> None:
        self._definitions = definitions
        self._keyring = keyring
        self._plans: dict[tuple[TenantId, PlanHash], Plan] = {}

    async def load(self, tenant: TenantId, plan: PlanHash) -> None:
        key = (tenant, plan)
        if key in self._plans:
            return
        with unavailable_when_lost("loading a plan"):
            await self._keyring.ready(tenant)
            self._plans[key] = await self._definitions.plan(tenant, plan)

    def plan(self, tenant: TenantId, plan: PlanHash) -> Plan:
        return self._plans[tenant, plan]

    def vault(self, tenant: TenantId) -> Vault:
        return self._keyring.vault(tenant)

    async def subject_key(self, tenant: TenantId, subject: str) -> int:
        with unavailable_when_lost("looking up a data subject"):
            return await self._keyring.subject_key(tenant, subject)

    async def version(self, tenant: TenantId, plan: PlanHash) -> int:
        with unavailable_when_lost("looking up a version"):
            return await self._definitions.number_of(tenant, plan)

    async def fetch(self, tenant: TenantId, owner: RunId, stored: Stored) -> None:
        with unavailable_when_lost("fetching a payload"):
            vault = await self._keyring.ready(tenant)
            await vault.fetch(owner, stored)

    async def store_blobs(self) -> None:
        await self._keyring.store_pending_blobs()
