"""Secrets and allowed egress: of the key's own tenant, and of a named one for administrators.

A value comes in and is passed on; no answer, log line or error holds it.
"""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.responses import Response

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.answers import json_answer
from headrace_api_gateway.api.guard import Caller, needs
from headrace_api_gateway.app.vault import AllowedPair, NamedTenants, SecretEntry, Vault
from headrace_api_gateway.domain.authorisation import Permission
from headrace_core.ids import TenantId
from headrace_core.workflow.values import time_text

SECRETS, EGRESS = "/v1/secrets", "/v1/egress"
OF_TENANT = "/v1/tenants/{tenant}"
OF_A_TENANT = " of a tenant"
ALLOW_TEXT = (
    "Opens exactly this host and port to the tenant's steps: an address that is not public, or a "
    "port beyond 80, 443, 5432 and 6432. A link-local address (metadata services) can be allowed "
    "as an address only, never by a name. May be repeated."
)


class SecretBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": examples.SECRET_VALUE})

    value: SecretStr
    """UTF-8 text of at most 64 KiB."""


class PairBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": examples.PAIR})

    host: str = Field(min_length=1, max_length=300)
    port: int = Field(ge=1, le=65_535)


class VaultRoutes:
    def __init__(self, vault: Vault, tenants: NamedTenants) -> None:
        self._vault = vault
        self._tenants = tenants

    def add_to(self, app: FastAPI) -> None:
        own, admin = Permission.SECRETS_ADMIN, Permission.TENANTS_ADMIN
        _add_secrets(app, SECRETS, own, "", self.set_own, self.list_own, self.delete_own)
        _add_secrets(
            app,
            OF_TENANT + SECRETS.removeprefix("/v1"),
            admin,
            OF_A_TENANT,
            self.set_named,
            self.list_named,
            self.delete_named,
        )
        own = Permission.EGRESS_ADMIN
        _add_egress(app, EGRESS, own, "", self.allow_own, self.allowed_own, self.deny_own)
        _add_egress(
            app,
            OF_TENANT + EGRESS.removeprefix("/v1"),
            admin,
            OF_A_TENANT,
            self.allow_named,
            self.allowed_named,
            self.deny_named,
        )

    async def set_own(self, secret: str, body: SecretBody, caller: Caller) -> Response:
        return await self._set(caller.tenant, secret, body)

    async def set_named(self, tenant: str, secret: str, body: SecretBody) -> Response:
        return await self._set(await self._tenants.checked(tenant), secret, body)

    async def list_own(self, caller: Caller) -> Response:
        return await self._list(caller.tenant)

    async def list_named(self, tenant: str) -> Response:
        return await self._list(await self._tenants.checked(tenant))

    async def delete_own(self, secret: str, caller: Caller) -> Response:
        return await self._delete(caller.tenant, secret)

    async def delete_named(self, tenant: str, secret: str) -> Response:
        return await self._delete(await self._tenants.checked(tenant), secret)

    async def allow_own(self, body: PairBody, caller: Caller) -> Response:
        return await self._allow(caller.tenant, body)

    async def allow_named(self, tenant: str, body: PairBody) -> Response:
        return await self._allow(await self._tenants.checked(tenant), body)

    async def allowed_own(self, caller: Caller) -> Response:
        return await self._allowed(caller.tenant)

    async def allowed_named(self, tenant: str) -> Response:
        return await self._allowed(await self._tenants.checked(tenant))

    async def deny_own(
        self, caller: Caller, host: str = Query(), port: int = Query(ge=1, le=65_535)
    ) -> Response:
        return await self._deny(caller.tenant, host, port)

    async def deny_named(
        self, tenant: str, host: str = Query(), port: int = Query(ge=1, le=65_535)
    ) -> Response:
        return await self._deny(await self._tenants.checked(tenant), host, port)

    async def _set(self, tenant: TenantId, name: str, body: SecretBody) -> Response:
        version = await self._vault.set_secret(tenant, name, body.value.get_secret_value())
        return json_answer({"name": name, "version": version})

    async def _list(self, tenant: TenantId) -> Response:
        found = await self._vault.secrets(tenant)
        return json_answer({"secrets": [_secret(one) for one in found]})

    async def _delete(self, tenant: TenantId, name: str) -> Response:
        await self._vault.delete_secret(tenant, name)
        return Response(status_code=204)

    async def _allow(self, tenant: TenantId, body: PairBody) -> Response:
        return json_answer(_pair(await self._vault.allow(tenant, body.host, body.port)))

    async def _allowed(self, tenant: TenantId) -> Response:
        found = await self._vault.allowed(tenant)
        return json_answer({"allowed": [_pair(one) for one in found]})

    async def _deny(self, tenant: TenantId, host: str, port: int) -> Response:
        await self._vault.deny(tenant, host, port)
        return Response(status_code=204)


Answers = Callable[..., Awaitable[Response]]


def _add_secrets(
    app: FastAPI,
    path: str,
    permission: Permission,
    of: str,
    put: Answers,
    show: Answers,
    delete: Answers,
) -> None:
    app.put(
        f"{path}/{{secret}}",
        summary=f"Set a secret{of}",
        description="Each setting makes the next version, which counts from the next attempt on. "
        "No call gives a value back.",
        openapi_extra=needs(permission),
        responses=examples.answer(examples.SET_SECRET),
    )(put)
    app.get(
        path,
        summary=f"The secrets{of}, without their values",
        openapi_extra=needs(permission),
        responses=examples.answer({"secrets": [examples.SECRET]}),
    )(show)
    app.delete(
        f"{path}/{{secret}}",
        summary=f"Delete a secret{of} with all its versions",
        status_code=204,
        openapi_extra=needs(permission),
    )(delete)


def _add_egress(
    app: FastAPI,
    path: str,
    permission: Permission,
    of: str,
    put: Answers,
    show: Answers,
    delete: Answers,
) -> None:
    app.put(
        path,
        summary=f"Allow connections to a host and port{of}",
        description=ALLOW_TEXT,
        openapi_extra=needs(permission),
        responses=examples.answer(examples.PAIR),
    )(put)
    app.get(
        path,
        summary=f"What is allowed beyond the public internet{of}",
        openapi_extra=needs(permission),
        responses=examples.answer({"allowed": [examples.PAIR]}),
    )(show)
    app.delete(
        path,
        summary=f"Take an allowed host and port back{of}",
        description="It holds from the next connection on, and for connections that are open.",
        status_code=204,
        openapi_extra=needs(permission),
    )(delete)


def _secret(entry: SecretEntry) -> dict[str, object]:
    return {
        "name": entry.name,
        "version": entry.version,
        "set_at": time_text(entry.set_ms),
    }


def _pair(pair: AllowedPair) -> dict[str, object]:
    return {"host": pair.host, "port": pair.port}
