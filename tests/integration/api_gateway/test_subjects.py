"""Data subjects: whose key a run is sealed under, who has one, and the erasure."""

import orjson
import pytest

from headrace_core.errors import KeyErased
from headrace_core.payload import Stored, subject_key_of
from headrace_runtime.postgres.pool import open_connection
from tests.integration.api_gateway.conftest import Gateway

pytestmark = pytest.mark.postgres

NEWSLETTER = """\
flow: v1
name: newsletter
inputs:
  reader: {}
subject: inputs.reader
triggers:
  subscribed: {webhook: {path: subscribed}}
steps:
  hello: {uses: data.echo@1, with: {value: "Hello ${{ inputs.reader }}"}}
"""
ZOE = "zoe@example.com"  # no hexadecimal digit in "zo": rows hold random ones


async def start(gateway: Gateway, reader: object = ZOE) -> Stored:
    client = await gateway.tenant()
    await gateway.publish(client, NEWSLETTER)
    body = {"workflow": "newsletter", "input": {"reader": reader}}
    (await client.post("/v1/runs", json=body)).raise_for_status()
    return Stored(gateway.scheduler.commands[-1].start_run.input)


async def test_a_run_s_input_is_sealed_under_its_data_subject_s_key(gateway: Gateway) -> None:
    sealed = await start(gateway)
    again, other = await start(gateway), await start(gateway, "bob")
    keys = [subject_key_of(one) for one in (sealed, again, other)]
    assert keys[0] == keys[1] != 0 and keys[2] not in (0, keys[0])
    run = gateway.scheduler.commands[-3].start_run.run
    assert orjson.loads(await gateway.open_payload("acme", run, sealed)) == {"reader": ZOE}


async def test_a_webhook_s_run_is_sealed_under_its_data_subject_s_key(gateway: Gateway) -> None:
    key = subject_key_of(await start(gateway))
    answer = await gateway.client().post("/v1/hooks/acme/subscribed", json={"reader": ZOE})
    assert answer.status_code == 202, answer.text
    assert subject_key_of(Stored(gateway.scheduler.commands[-1].start_run.input)) == key


@pytest.mark.parametrize("reader", [None, "", 7, ["zoe"], "x" * 1_001])
async def test_an_input_that_names_no_data_subject_starts_nothing(
    gateway: Gateway, reader: object
) -> None:
    client = await gateway.tenant()
    await gateway.publish(client, NEWSLETTER)
    before = len(gateway.scheduler.commands)
    body = {"workflow": "newsletter", "input": {"reader": reader}}
    answer = await client.post("/v1/runs", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("`subject` of workflow newsletter: it gave")
    assert len(gateway.scheduler.commands) == before


async def test_an_erased_data_subject_opens_nowhere_and_comes_back_with_another_key(
    gateway: Gateway,
) -> None:
    sealed = await start(gateway)
    run = gateway.scheduler.commands[-1].start_run.run
    client = await gateway.tenant()
    erased = (await client.post("/v1/subjects/erase", json={"subject": ZOE})).json()
    assert erased["key"] == subject_key_of(sealed)
    assert erased["erased_by"] == "key:editor-of-acme" and erased["erased_at"]
    with pytest.raises(KeyErased):
        await gateway.open_payload("acme", run, sealed)
    twice = await client.post("/v1/subjects/erase", json={"subject": ZOE})
    assert twice.status_code == 404
    assert subject_key_of(await start(gateway)) != erased["key"]
    found = (await client.post("/v1/subjects/find", json={"subject": ZOE})).json()["subjects"]
    assert [one["erased_at"] is None for one in found] == [False, True]
    assert {one["id"] for one in found} == {erased["id"]}


async def test_data_subjects_are_listed_page_by_page_and_by_no_name(gateway: Gateway) -> None:
    keys = [subject_key_of(await start(gateway, f"reader-{number}")) for number in range(3)]
    client = await gateway.tenant()
    first = (await client.get("/v1/subjects", params={"limit": 2})).json()
    rest = await client.get("/v1/subjects", params={"limit": 2, "cursor": first["next_cursor"]})
    assert [one["key"] for one in first["subjects"]] == keys[:2]
    assert [one["key"] for one in rest.json()["subjects"]] == keys[2:]
    assert rest.json()["next_cursor"] is None
    assert "reader-" not in (await client.get("/v1/subjects")).text
    for wrong in ({"limit": 0}, {"limit": 501}, {"cursor": "x"}):
        assert (await client.get("/v1/subjects", params=wrong)).status_code == 422


async def test_data_subjects_are_the_tenant_s_own(gateway: Gateway) -> None:
    await start(gateway)
    other = await gateway.tenant("other")
    assert (await other.get("/v1/subjects")).json()["subjects"] == []
    assert (await other.post("/v1/subjects/erase", json={"subject": ZOE})).status_code == 404
    starter = await gateway.tenant("acme", "starter")
    assert (await starter.post("/v1/subjects/erase", json={"subject": ZOE})).status_code == 403


async def test_no_table_and_no_log_line_names_a_data_subject(gateway: Gateway) -> None:
    await start(gateway)
    client = await gateway.tenant()
    (await client.post("/v1/subjects/erase", json={"subject": ZOE})).raise_for_status()
    assert ZOE.encode() not in b"".join(gateway.logged)
    connection = await open_connection(gateway.dsn, application_name="tests")
    rows = await connection.fetch("select t::text from headrace_keys.data_key t")
    await connection.close()
    assert rows and ZOE not in str(rows) and "zoe" not in str(rows)
