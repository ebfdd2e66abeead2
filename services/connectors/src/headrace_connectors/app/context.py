"""What one call has at hand, and what it used: for redaction, and to know whether it acted."""

from collections.abc import Callable

from headrace_connectors.app.ports import Secrets
from headrace_core.ids import TenantId
from headrace_runtime.redaction import Redactor
from headrace_runtime.secret_text import SecretText


class AttemptContext:
    """The CallContext of one attempt. `acting_began` is called once at most."""

    def __init__(
        self, secrets: Secrets, tenant: TenantId, acting_began: Callable[[], None]
    ) -> None:
        self._secrets = secrets
        self._tenant = tenant
        self._acting_began = acting_began
        self._used: list[SecretText] = []
        self.acted = False

    async def open_all(self, names: list[str]) -> None:
        """Secrets whose values the input already holds. Raises NotFound."""
        opened = await self._secrets.open_all(self._tenant, names)
        self._used += opened.values()

    async def open_secret(self, name: str) -> SecretText:
        secret = await self._secrets.open(self._tenant, name)
        self._used.append(secret)
        return secret

    def hide(self, value: str) -> None:
        self._used.append(SecretText("", value))

    def acting(self) -> None:
        if not self.acted:
            self.acted = True
            self._acting_began()

    def redactor(self) -> Redactor:
        return Redactor(self._used)
