"""Secrets and allowed egress through the gateway, with the real vault behind it."""

import socket

import httpx
import pytest

from headrace_api_gateway.adapters.connectors import ConnectorsClient
from headrace_api_gateway.api import examples
from headrace_core.errors import Unavailable
from headrace_core.ids import TenantId
from headrace_runtime.address import Address
from headrace_runtime.keys import load_root_key
from headrace_runtime.postgres.pool import open_connection, open_pool
from headrace_runtime.tenant_secrets import TenantSecrets
from tests.integration.api_gateway.conftest import Gateway

pytestmark = pytest.mark.postgres

VALUE = "correct-horse-battery-staple"


async def opened(gateway: Gateway, tenant: str, name: str) -> str:
    """As an executor opens it."""
    pool = await open_pool(gateway.dsn, application_name="tests")
    secrets = TenantSecrets(pool, load_root_key(gateway.home / "root.key"))
    secret = await secrets.open(TenantId(tenant), name)
    await pool.close()
    return secret.reveal()


async def test_an_editor_sets_lists_and_deletes_secrets_of_the_keys_tenant(
    gateway: Gateway,
) -> None:
    client = await gateway.tenant("acme")
    for version in (1, 2):
        answer = await client.put("/v1/secrets/shop_db", json={"value": f"{VALUE}-{version}"})
        assert (answer.status_code, answer.json()) == (200, {"name": "shop_db", "version": version})
    assert await opened(gateway, "acme", "shop_db") == f"{VALUE}-2"
    listed = (await client.get("/v1/secrets")).json()["secrets"]
    assert [(one["name"], one["version"]) for one in listed] == [("shop_db", 2)]
    assert listed[0].keys() == examples.SECRET.keys()
    assert listed[0]["set_at"].endswith("Z")
    other = await gateway.tenant("other")
    assert (await other.get("/v1/secrets")).json() == {"secrets": []}
    assert (await other.delete("/v1/secrets/shop_db")).status_code == 404
    assert (await client.delete("/v1/secrets/shop_db")).status_code == 204
    assert (await client.delete("/v1/secrets/shop_db")).status_code == 404


async def test_an_administrator_names_the_tenant(gateway: Gateway) -> None:
    client, admin = await gateway.tenant("acme"), gateway.admin
    path = "/v1/tenants/acme/secrets"
    assert (await admin.put(f"{path}/token", json={"value": VALUE})).json()["version"] == 1
    assert (await client.get("/v1/secrets")).json() == (await admin.get(path)).json()
    assert await opened(gateway, "acme", "token") == VALUE
    assert (await admin.delete(f"{path}/token")).status_code == 204
    pair = {"host": "db.internal", "port": 5433}
    assert (await admin.put("/v1/tenants/acme/egress", json=pair)).json() == pair
    assert (await client.get("/v1/egress")).json() == {"allowed": [pair]}
    assert (await admin.delete("/v1/tenants/acme/egress", params=pair)).status_code == 204
    assert (await admin.get("/v1/tenants/acme/egress")).json() == {"allowed": []}


@pytest.mark.parametrize("tenant", ["nobody", "admin"])
async def test_a_tenant_that_is_not_there_has_no_vault(gateway: Gateway, tenant: str) -> None:
    admin, pair = gateway.admin, {"host": "db.internal", "port": 5433}
    path = f"/v1/tenants/{tenant}"
    answers = [
        await admin.put(f"{path}/secrets/token", json={"value": VALUE}),
        await admin.get(f"{path}/secrets"),
        await admin.delete(f"{path}/secrets/token"),
        await admin.put(f"{path}/egress", json=pair),
        await admin.get(f"{path}/egress"),
        await admin.delete(f"{path}/egress", params=pair),
    ]
    assert {answer.status_code for answer in answers} == {404}


async def test_a_pair_is_kept_in_normal_form_and_taken_back(gateway: Gateway) -> None:
    client = await gateway.tenant("acme")
    answer = await client.put("/v1/egress", json={"host": "DB.Internal.", "port": 5433})
    assert (answer.status_code, answer.json()) == (200, {"host": "db.internal", "port": 5433})
    again = await client.put("/v1/egress", json={"host": "db.internal", "port": 5433})
    assert again.status_code == 200
    assert (await client.get("/v1/egress")).json()["allowed"] == [answer.json()]
    other = await gateway.tenant("other")
    assert (await other.get("/v1/egress")).json() == {"allowed": []}
    params = {"host": "DB.INTERNAL", "port": 5433}
    assert (await client.delete("/v1/egress", params=params)).status_code == 204
    assert (await client.delete("/v1/egress", params=params)).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/secrets/1st", {"value": VALUE}, 422),
        ("/v1/secrets/token", {"value": ""}, 422),
        ("/v1/secrets/token", {"value": 7}, 422),
        ("/v1/secrets/token", {"value": VALUE, "note": VALUE}, 422),
        ("/v1/secrets/token", {}, 422),
        ("/v1/secrets/token", {"value": VALUE + "x" * 65_536}, 413),
        ("/v1/egress", {"host": "a b", "port": 80}, 422),
        ("/v1/egress", {"host": "http://a.test/", "port": 80}, 422),
        ("/v1/egress", {"host": "a.test", "port": 0}, 422),
        ("/v1/egress", {"host": "a.test"}, 422),
    ],
)
async def test_what_cannot_be_is_refused_without_showing_a_value(
    gateway: Gateway, path: str, body: dict[str, object], status: int
) -> None:
    client = await gateway.tenant("acme")
    answer = await client.put(path, json=body)
    assert answer.status_code == status, answer.text
    assert VALUE not in answer.text


async def test_half_a_character_is_no_value(gateway: Gateway) -> None:
    client = await gateway.tenant("acme")
    answer = await client.put(
        "/v1/secrets/token",
        content=rb'{"value": "\ud800"}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 422, answer.text


async def test_a_value_stands_in_no_answer_log_or_row(gateway: Gateway) -> None:
    client = await gateway.tenant("acme")
    answers: list[httpx.Response] = [
        await client.put("/v1/secrets/token", json={"value": VALUE}),
        await client.get("/v1/secrets"),
    ]
    assert all(VALUE not in answer.text for answer in answers)
    assert not any(VALUE.encode() in line for line in gateway.logged)
    session = await open_connection(gateway.dsn, application_name="tests")
    rows = await session.fetch("select s::text as shown, sealed from headrace_vault.secret s")
    await session.close()
    assert [VALUE.encode() in row["sealed"] or VALUE in row["shown"] for row in rows] == [False]


async def test_connectors_that_are_away_are_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = ConnectorsClient(Address("127.0.0.1", taken.getsockname()[1]), call_s=0.3)
        with pytest.raises(Unavailable, match="does not answer"):
            await client.secrets(TenantId("acme"))
        await client.close()
