"""Workers' API keys, as the gateway wrote them."""

from headrace_core.errors import Forbidden
from headrace_core.ids import TenantId
from headrace_runtime.api_keys import SERVING_ROLES, ApiKeys, proven_key
from headrace_runtime.postgres.pool import Pool
from headrace_scheduler.adapters.database import unavailable_when_lost


class StoredWorkerKeys:
    """Implements app.admission.WorkerKeys."""

    def __init__(self, pool: Pool) -> None:
        self._keys = ApiKeys(pool)

    async def tenant_of(self, api_key: str) -> TenantId:
        with unavailable_when_lost("looking up an API key"):
            key = await proven_key(self._keys, api_key)
        if key.role not in SERVING_ROLES:
            raise Forbidden(
                f"This key has the role {key.role!r}, which does not include 'tasks.serve'. "
                "Use a worker's or an editor's."
            )
        return key.tenant
