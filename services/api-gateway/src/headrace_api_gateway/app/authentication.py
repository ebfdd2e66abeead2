"""From a credential to a principal. A revoked key is refused after at most five seconds."""

from collections.abc import Callable

from headrace_api_gateway.app.expiring_cache import ExpiringCache
from headrace_api_gateway.app.ports import KeyStore
from headrace_api_gateway.domain.authorisation import Principal, Role
from headrace_core.errors import Unauthenticated
from headrace_runtime.api_keys import proven_key

KEPT_S = 5.0
PRINCIPALS_MAX = 10_000
_SCHEME = "bearer "


class Authenticator:
    def __init__(self, keys: KeyStore, now_s: Callable[[], float]) -> None:
        self._keys = keys
        self._principals = ExpiringCache(self._look_up, KEPT_S, PRINCIPALS_MAX, now_s)

    async def principal(self, authorization: str | None) -> Principal:
        """Of an Authorization header. Raises Unauthenticated."""
        if not authorization:
            raise Unauthenticated(
                "This needs an API key: send it as `Authorization: Bearer hr_live_...`."
            )
        return self._principals.get_fresh(authorization) or await self._principals.get(
            authorization
        )

    def forget(self) -> None:
        """A key was revoked here: it counts at once."""
        self._principals.clear()

    async def _look_up(self, authorization: str) -> Principal:
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthenticated(
                "The Authorization header must be `Bearer` and an API key, with one space between."
            )
        stored = await proven_key(self._keys, authorization[len(_SCHEME) :].strip())
        return Principal(stored.tenant, Role(stored.role), f"key:{stored.name}")
