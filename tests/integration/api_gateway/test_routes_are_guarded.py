"""A walk over every way into the gateway: each declares who may use it, and holds to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import httpx
import pytest
from starlette.routing import BaseRoute, WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from headrace_api_gateway.api.guard import UndeclaredRoute, permission_of
from headrace_api_gateway.domain.authorisation import PERMISSIONS, Permission, Role
from headrace_core.errors import NotFound
from headrace_runtime.postgres.pool import open_connection
from tests.integration.api_gateway.conftest import YAML, Gateway
from tests.integration.api_gateway.peers import rejected

pytestmark = pytest.mark.postgres

RUN = "run_0g0jq8a1b2c3d4e5f6g7h8"
PLACES = {
    "run": RUN,
    "name": "greet",
    "label": "stable",
    "step": "manager",
    "tenant": "other",
    "key": "0123456789ab",
    "secret": "shop_db",
    "path": "leads",
    "letter": "ltr_7g0jq8a1b2c3d4e5f6g7h8",
}
HOOKS = "/v1/hooks/{tenant}/{path:path}"
PUBLIC_PATHS = {"/livez", "/readyz", "/metrics", "/openapi.json", "/docs"} | {HOOKS}


@dataclass(frozen=True)
class Entry:
    method: str
    path: str
    permission: Permission | None

    @property
    def url(self) -> str:
        return self.path.replace(":path}", "}").format(**PLACES)


def entries(routes: list[BaseRoute]) -> Iterator[Entry]:
    for route in routes:
        path: str = getattr(route, "path")  # noqa: B009 - not every route has one
        methods: set[str] = getattr(route, "methods", None) or {"WEBSOCKET"}
        for method in sorted(methods - {"HEAD"}):
            yield Entry(method, path, permission_of(route))


def role_without(permission: Permission) -> Role:
    return next(role for role in Role if permission not in PERMISSIONS[role])


async def call(
    client: httpx.AsyncClient, entry: Entry, gateway: Gateway
) -> tuple[int, dict[str, str]]:
    """Status and problem of a request with a body that its route can take."""
    if entry.method == "WEBSOCKET":
        headers = {"authorization": client.headers.get("authorization", "")}
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://{gateway.address}{entry.url}", additional_headers=headers):
                raise AssertionError("a socket was opened")
        return refused.value.response.status_code, {}
    body: dict[str, object] = {"decision": "approved"} if "approvals" in entry.path else {}
    if entry.path.startswith("/v1/workflows") and entry.method == "POST":
        answer = await client.request(entry.method, entry.url, content="flow: v1", headers=YAML)
    else:
        answer = await client.request(entry.method, entry.url, json=body)
    return answer.status_code, answer.json() if answer.content else {}


async def all_entries(gateway: Gateway) -> list[Entry]:
    found = list(entries(gateway.application.api.routes))
    assert len(found) >= 25
    return found


async def test_every_way_in_declares_a_permission_or_is_one_of_the_public_ones(
    gateway: Gateway,
) -> None:
    open_to_all = {one.path for one in await all_entries(gateway) if one.permission is None}
    assert open_to_all == PUBLIC_PATHS


async def test_without_a_credential_every_way_in_is_closed(gateway: Gateway) -> None:
    client = gateway.client()
    for entry in await all_entries(gateway):
        if entry.permission is not None:
            status, problem = await call(client, entry, gateway)
            assert (status, problem.get("code", "HR-2001")) == (401, "HR-2001"), entry


async def test_a_role_without_the_permission_is_forbidden(gateway: Gateway) -> None:
    clients = {
        Role.VIEWER: await gateway.tenant("acme", "viewer"),
        Role.STARTER: await gateway.tenant("acme", "starter"),
        Role.EDITOR: await gateway.tenant("acme", "editor"),
        Role.WORKER: await gateway.tenant("acme", "worker"),
        Role.ADMIN: gateway.admin,
    }
    for entry in await all_entries(gateway):
        if entry.permission is not None:
            client = clients[role_without(entry.permission)]
            status, problem = await call(client, entry, gateway)
            assert (status, problem.get("code", "HR-2002")) == (403, "HR-2002"), entry


@pytest.mark.parametrize(
    "key", ["nonsense", "hr_live_0123456789ab_" + "0" * 32 + "_00000000", "revoked", "unknown"]
)
async def test_a_key_that_proves_nothing_is_as_good_as_none(gateway: Gateway, key: str) -> None:
    if key == "revoked":
        key = await gateway.key("acme")
        key_id = key.split("_")[2]
        await gateway.admin.delete(f"/v1/tenants/acme/keys/{key_id}")
    elif key == "unknown":
        key = gateway.admin_key
        await delete_all_keys(gateway)
        # A key that was looked up a moment ago is believed for a few seconds: this one was not.
    client = gateway.client(key)
    assert (await client.get("/v1/runs")).status_code == 401


async def test_what_belongs_to_another_tenant_is_not_found(gateway: Gateway) -> None:
    owner, stranger = await gateway.tenant("other"), await gateway.tenant("acme")
    published = await gateway.publish(owner, APPROVAL)
    gateway.history.add(RUN, "other", plan=published["hash"])
    # As the real one, which looks runs up by tenant too.
    gateway.scheduler.answer = partial(rejected, error=NotFound("there is no such run"))
    assert (await owner.get(f"/v1/runs/{RUN}")).status_code == 200
    for entry in await all_entries(gateway):
        is_object = "{run}" in entry.path or "{name}" in entry.path
        if not is_object or entry.method == "WEBSOCKET":
            continue
        body: dict[str, object] = {}
        if "labels" in entry.path:
            body = {"version": 1}
        elif "approvals" in entry.path:
            body = {"decision": "approved"}
        answer = await stranger.request(entry.method, entry.url, json=body)
        assert answer.status_code == 404, (entry, answer.text)
    async with connect(
        f"ws://{gateway.address}/v1/runs/{RUN}/live",
        additional_headers={"authorization": stranger.headers["authorization"]},
    ) as socket:
        await socket.wait_closed()
        assert socket.close_code == 4404


async def test_lists_show_nothing_of_another_tenant(gateway: Gateway) -> None:
    owner, stranger = await gateway.tenant("other"), await gateway.tenant("acme")
    await gateway.publish(owner)
    gateway.history.add(RUN, "other")
    assert (await stranger.get("/v1/runs")).json()["runs"] == []
    assert (await stranger.get("/v1/workflows")).json()["workflows"] == []


async def test_no_header_or_parameter_names_the_tenant(gateway: Gateway) -> None:
    stranger = await gateway.tenant("acme")
    gateway.history.add(RUN, "other")
    for name in ("x-tenant", "x-headrace-tenant"):
        answer = await stranger.get(f"/v1/runs/{RUN}?tenant=other", headers={name: "other"})
        assert answer.status_code == 404


def test_a_route_without_a_declared_permission_cannot_be_made() -> None:
    with pytest.raises(UndeclaredRoute):
        permission_of(WebSocketRoute("/v1/anything", object))


async def delete_all_keys(gateway: Gateway) -> None:
    session = await open_connection(gateway.dsn, application_name="tests")
    await session.execute("delete from headrace_control.api_key")
    await session.close()


APPROVAL = """\
flow: v1
name: greet
steps:
  manager: {approval: {assignees: [boss]}}
"""
