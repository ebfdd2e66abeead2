"""Tenants, their keys, and the first administrator's."""

import stat
from pathlib import Path

import pytest

from headrace_core.errors import SetupError
from headrace_runtime.api_keys import ApiKey, parse_key
from headrace_runtime.postgres.pool import open_connection
from tests.integration.api_gateway.conftest import Gateway, running
from tests.integration.api_gateway.peers import ScriptedHistory, ScriptedScheduler

pytestmark = pytest.mark.postgres


async def test_the_first_administrators_key_stands_in_a_file_for_its_owner_alone(
    gateway: Gateway,
) -> None:
    file = gateway.home / "admin.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert parse_key(gateway.admin_key).text == gateway.admin_key
    assert (await gateway.admin.get("/v1/tenants")).json() == {"tenants": []}


async def test_the_first_key_stays_over_a_restart(
    gateway_database: str, tmp_path: Path, scheduler: ScriptedScheduler, history: ScriptedHistory
) -> None:
    keys: list[str] = []
    for _ in range(2):
        async with running(gateway_database, tmp_path, scheduler, history) as gateway:
            keys.append(gateway.admin_key)
            assert (await gateway.admin.get("/v1/tenants")).status_code == 200
    assert keys[0] == keys[1]


async def test_a_key_file_that_outlived_its_database_is_taken_in(
    gateway_database: str, tmp_path: Path, scheduler: ScriptedScheduler, history: ScriptedHistory
) -> None:
    key = ApiKey("0123456789ab", "0123456789abcdefghjkmnpqrstvwxyz")
    (tmp_path / "admin.key").write_text(key.text)
    async with running(gateway_database, tmp_path, scheduler, history) as gateway:
        assert (await gateway.admin.get("/v1/tenants")).status_code == 200


async def test_a_key_file_that_holds_no_key_stops_the_start(
    gateway_database: str, tmp_path: Path, scheduler: ScriptedScheduler, history: ScriptedHistory
) -> None:
    (tmp_path / "admin.key").write_text("not a key\n")
    with pytest.raises(BaseExceptionGroup) as refused:
        async with running(gateway_database, tmp_path, scheduler, history):
            raise AssertionError("the gateway started")
    assert refused.group_contains(SetupError)


async def test_adding_a_tenant_may_be_repeated(gateway: Gateway) -> None:
    admin = gateway.admin
    for _ in range(2):
        answer = await admin.post("/v1/tenants", json={"id": "acme", "weight": 2})
        assert answer.status_code == 201
        assert (answer.json()["id"], answer.json()["weight"]) == ("acme", 2)
    assert len((await admin.get("/v1/tenants")).json()["tenants"]) == 1


@pytest.mark.parametrize(
    "body", [{"id": "Acme!"}, {"id": "admin"}, {"id": "acme", "weight": 0}, {}, {"id": 7}]
)
async def test_a_tenant_that_cannot_be_is_refused(
    gateway: Gateway, body: dict[str, object]
) -> None:
    answer = await gateway.admin.post("/v1/tenants", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "HR-2005")


async def test_a_tenants_key_is_shown_once_and_works(gateway: Gateway) -> None:
    key = await gateway.key("acme", "viewer")
    assert (await gateway.client(key).get("/v1/runs")).status_code == 200
    listed = (await gateway.admin.get("/v1/tenants/acme/keys")).json()["keys"]
    assert [(one["name"], one["role"], one["revoked"]) for one in listed] == [
        ("viewer-of-acme", "viewer", False)
    ]
    secret = key.split("_")[3]
    assert all(secret not in str(one) for one in listed)


async def test_a_revoked_key_is_refused_here_at_once(gateway: Gateway) -> None:
    key = await gateway.key("acme")
    client = gateway.client(key)
    assert (await client.get("/v1/runs")).status_code == 200
    key_id = parse_key(key).id
    assert (await gateway.admin.delete(f"/v1/tenants/acme/keys/{key_id}")).status_code == 204
    answer = await client.get("/v1/runs")
    assert (answer.status_code, "was revoked" in answer.json()["detail"]) == (401, True)


@pytest.mark.parametrize("tenant", ["nobody", "admin"])
async def test_keys_of_a_tenant_that_is_not_there_are_not_found(
    gateway: Gateway, tenant: str
) -> None:
    url = f"/v1/tenants/{tenant}/keys"
    body = {"name": "x", "role": "editor"}
    assert (await gateway.admin.post(url, json=body)).status_code == 404
    assert (await gateway.admin.get(url)).status_code == 404
    assert (await gateway.admin.delete(f"{url}/0123456789ab")).status_code == 404


async def test_a_tenant_gets_no_administrators_key(gateway: Gateway) -> None:
    await gateway.key("acme")
    body = {"name": "boss", "role": "admin"}
    answer = await gateway.admin.post("/v1/tenants/acme/keys", json=body)
    assert answer.status_code == 422


async def test_no_secret_stands_in_the_database(gateway: Gateway) -> None:
    secret = (await gateway.key("acme")).split("_")[3]
    session = await open_connection(gateway.dsn, application_name="tests")
    rows = await session.fetch("select row_to_json(k)::text as row from headrace_control.api_key k")
    await session.close()
    assert len(rows) == 2
    assert all(secret not in row["row"] for row in rows)
    assert not any(secret.encode() in line for line in gateway.logged)
