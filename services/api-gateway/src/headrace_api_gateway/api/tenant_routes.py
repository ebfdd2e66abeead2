"""Tenants and their API keys, for administrators."""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.answers import json_answer
from headrace_api_gateway.api.guard import needs
from headrace_api_gateway.app.authentication import Authenticator
from headrace_api_gateway.app.onboarding import Onboarding
from headrace_api_gateway.domain.authorisation import Permission, Role
from headrace_core.ids import TenantId
from headrace_runtime.api_keys import StoredKey
from headrace_runtime.tenants import Tenant

ADMIN = needs(Permission.TENANTS_ADMIN)


class TenantBody(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"id": "acme", "weight": 1}}
    )

    id: str
    weight: int = 1
    """Share of the executors against the other tenants'."""


class KeyBody(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "ci", "role": "starter"}}
    )

    name: str = Field(min_length=1, max_length=100)
    role: Role


class TenantRoutes:
    def __init__(self, onboarding: Onboarding, authenticator: Authenticator) -> None:
        self._onboarding = onboarding
        self._authenticator = authenticator

    def add_to(self, app: FastAPI) -> None:
        keys = "/v1/tenants/{tenant}/keys"
        app.post(
            "/v1/tenants",
            summary="Add a tenant",
            description="May be repeated.",
            status_code=201,
            openapi_extra=ADMIN,
            responses=examples.answer(examples.TENANT, 201),
        )(self.add_tenant)
        app.get(
            "/v1/tenants",
            summary="All tenants",
            openapi_extra=ADMIN,
            responses=examples.answer({"tenants": [examples.TENANT]}),
        )(self.list_tenants)
        app.post(
            keys,
            summary="Make an API key; it is shown this once",
            status_code=201,
            openapi_extra=ADMIN,
            responses=examples.answer(examples.MADE_KEY, 201),
        )(self.add_key)
        app.get(
            keys,
            summary="A tenant's API keys, without their secrets",
            openapi_extra=ADMIN,
            responses=examples.answer({"keys": [examples.KEY]}),
        )(self.list_keys)
        app.delete(
            f"{keys}/{{key}}",
            summary="Revoke an API key",
            description="It is refused everywhere after at most five seconds.",
            status_code=204,
            openapi_extra=ADMIN,
        )(self.revoke_key)

    async def add_tenant(self, body: TenantBody) -> Response:
        tenant = await self._onboarding.add_tenant(TenantId(body.id), body.weight)
        return json_answer(_tenant(tenant), 201)

    async def list_tenants(self) -> Response:
        tenants = await self._onboarding.tenants()
        return json_answer({"tenants": [_tenant(one) for one in tenants]})

    async def add_key(self, tenant: str, body: KeyBody) -> Response:
        made = await self._onboarding.add_key(TenantId(tenant), body.name, body.role)
        answer = json_answer({**_key(made.stored), "key": made.text}, 201)
        answer.headers["cache-control"] = "no-store"
        return answer

    async def list_keys(self, tenant: str) -> Response:
        keys = await self._onboarding.keys(TenantId(tenant))
        return json_answer({"keys": [_key(one) for one in keys]})

    async def revoke_key(self, tenant: str, key: str) -> Response:
        await self._onboarding.revoke_key(TenantId(tenant), key)
        self._authenticator.forget()
        return Response(status_code=204)


def _tenant(tenant: Tenant) -> dict[str, object]:
    return {"id": tenant.id, "weight": tenant.weight, "created_at_ms": tenant.created_ms}


def _key(key: StoredKey) -> dict[str, object]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "role": key.role,
        "created_at_ms": key.created_ms,
        "revoked": key.revoked,
    }
