"""The service around attempts: descriptors, the vault, the drain, a restart."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import orjson
import pytest

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace.connector.v1 import vault_service_pb2 as vpb
from headrace_core.errors import InvalidInput, NotFound, TooLarge
from headrace_core.workflow.builtin_actions import HTTP_ACTIONS, POSTGRES_ACTIONS
from headrace_runtime.postgres.pool import open_connection
from headrace_runtime.tenant_secrets import VALUE_BYTES_MAX
from tests.integration.connectors.conftest import TENANT, Connectors, output_of, running
from tests.support.far_server import Answer, FarServer, Received

pytestmark = pytest.mark.postgres


async def test_every_action_of_the_catalogue_is_described(connectors: Connectors) -> None:
    listed = await connectors.stub.ListConnectors(pb.ListConnectorsRequest(tenant=TENANT))
    assert [one.id for one in listed.connectors] == ["http", "postgres"]
    named = [action for one in listed.connectors for action in one.actions]
    assert named == [one.name for one in (*HTTP_ACTIONS, *POSTGRES_ACTIONS)]
    request = pb.DescribeRequest(tenant=TENANT, action="http.post")
    action = (await connectors.stub.Describe(request)).action
    assert (action.effect, action.idempotency) == ("write", "header")
    assert "url" in orjson.loads(action.input_schema)["properties"]
    assert action.lock == next(one.lock for one in HTTP_ACTIONS if one.name == action.id)


async def test_an_action_that_is_not_there_is_not_found(connectors: Connectors) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await connectors.stub.Describe(pb.DescribeRequest(tenant=TENANT, action="http.fly"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    outcome = await connectors.invoke("http.fly", {})
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "action.unknown")


async def test_an_action_is_called_only_as_it_was_when_the_flow_was_published(
    connectors: Connectors, reachable: FarServer
) -> None:
    lock = next(one.lock for one in HTTP_ACTIONS if one.name == "http.get")
    given = {"url": reachable.url()}
    output_of(await connectors.invoke("http.get", given, lock=lock))
    changed = await connectors.invoke("http.get", given, lock="1.0.0#another")
    assert (changed.word, changed.error_type) == (pb.WORD_PERMANENT, "action.changed")


async def test_each_setting_of_a_secret_makes_the_next_version(connectors: Connectors) -> None:
    assert [await connectors.set_secret("token", text) for text in ("one", "two")] == [1, 2]
    request = vpb.ListSecretsRequest(tenant=TENANT)
    listed = (await connectors.vault.ListSecrets(request)).secrets
    assert [(one.name, one.version) for one in listed] == [("token", 2)]
    assert listed[0].set_ms > 1_700_000_000_000
    other = await connectors.vault.ListSecrets(vpb.ListSecretsRequest(tenant="other"))
    assert not other.secrets


async def test_no_value_of_a_secret_stands_in_the_database_or_the_log(
    connectors: Connectors, vault_dsn: str
) -> None:
    await connectors.set_secret("token", "a-value-nobody-sees")
    session = await open_connection(vault_dsn, application_name="tests")
    rows = await session.fetch("select secret::text, sealed from headrace_vault.secret")
    await session.close()
    assert len(rows) == 1
    assert b"nobody-sees" not in rows[0]["sealed"]
    assert b"nobody-sees".hex() not in rows[0]["secret"]
    assert not any(b"nobody-sees" in line for line in connectors.logged)


async def test_a_deleted_secret_is_gone(connectors: Connectors) -> None:
    await connectors.set_secret("token", "value")
    request = vpb.DeleteSecretRequest(tenant=TENANT, name="token")
    await connectors.vault.DeleteSecret(request)
    assert await code_of(connectors.vault.DeleteSecret(request)) == (
        grpc.StatusCode.NOT_FOUND,
        NotFound.code,
    )


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("1token", b"v", InvalidInput.code),
        ("to ken", b"v", InvalidInput.code),
        ("x" * 65, b"v", InvalidInput.code),
        ("token", b"", InvalidInput.code),
        ("token", b"\xff\xfe", InvalidInput.code),
        ("token", b"v" * (VALUE_BYTES_MAX + 1), TooLarge.code),
    ],
)
async def test_a_secret_that_cannot_be_is_refused(
    connectors: Connectors, name: str, value: bytes, code: str
) -> None:
    request = vpb.SetSecretRequest(tenant=TENANT, name=name, value=value)
    assert (await code_of(connectors.vault.SetSecret(request)))[1] == code


async def test_a_pair_that_is_none_or_not_there_is_refused(connectors: Connectors) -> None:
    bad = vpb.AllowEgressRequest(tenant=TENANT, pair=vpb.HostPort(host="a b", port=80))
    assert (await code_of(connectors.vault.AllowEgress(bad)))[1] == InvalidInput.code
    missing = vpb.DenyEgressRequest(tenant=TENANT, pair=vpb.HostPort(host="a.test", port=80))
    assert (await code_of(connectors.vault.DenyEgress(missing)))[1] == NotFound.code


async def test_secrets_and_the_list_stay_over_a_restart(
    vault_dsn: str, tmp_path: Path, far: FarServer
) -> None:
    async with running(vault_dsn, tmp_path) as first:
        await first.set_secret("token", "still-the-same")
        await first.allow("127.0.0.1", far.port)
    far.script = lambda sent: Answer(body=orjson.dumps(sent.headers["x-token"]))
    given = {"url": far.url(), "headers": {"x-token": "still-the-same"}}
    async with running(vault_dsn, tmp_path) as second:
        output = output_of(await second.invoke("http.get", given, secret_names=["token"]))
    assert output["body"] == "***"


async def test_a_root_key_that_was_replaced_is_said(vault_dsn: str, tmp_path: Path) -> None:
    async with running(vault_dsn, tmp_path) as first:
        await first.set_secret("shop", "postgresql://u:p@db/x")
    (tmp_path / "root.key").unlink()
    async with running(vault_dsn, tmp_path) as second:
        outcome = await second.invoke("postgres.query", {"connection": "shop", "sql": "select 1"})
    assert (outcome.word, outcome.error_type) == (pb.WORD_AUTH_EXPIRED, "auth")
    assert "root key" in outcome.error_message


async def test_a_stopping_service_lets_attempts_end_and_cuts_those_that_do_not(
    vault_dsn: str, tmp_path: Path, far: FarServer
) -> None:
    ending = asyncio.Event()
    both_there = asyncio.Event()

    async def script(sent: Received) -> Answer:
        if len(far.received) == 2:
            both_there.set()
        if sent.target == "/never":
            await sent.client_gone()
            return Answer(cut=True)
        await ending.wait()
        return Answer()

    far.script = script
    async with running(vault_dsn, tmp_path) as connectors:
        await connectors.allow("127.0.0.1", far.port)
        ends = asyncio.ensure_future(connectors.invoke("http.get", {"url": far.url("/ends")}))
        never = asyncio.ensure_future(connectors.invoke("http.post", {"url": far.url("/never")}))
        await both_there.wait()
        connectors.life.stop()
        ending.set()
    assert (await ends).word == pb.WORD_SUCCESS
    outcome = await never
    assert (outcome.word, outcome.may_have_acted) == (pb.WORD_CANCELLED, True)


async def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    metadata = dict(refused.value.trailing_metadata() or ())
    return refused.value.code(), str(metadata.get("headrace-code"))
