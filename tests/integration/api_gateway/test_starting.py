"""POST /v1/runs: what is taken, what is refused, and what the scheduler is told."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace_core.ids import is_run_id, slot_for, slot_of
from headrace_core.payload import NOTHING, Stored, is_reference
from tests.integration.api_gateway.conftest import Gateway, lease_all

pytestmark = pytest.mark.postgres

ADA = {"workflow": "greet", "input": {"name": "Ada"}}


async def test_a_start_is_accepted_once_the_scheduler_says_that_it_is_durable(
    gateway: Gateway,
) -> None:
    client = await gateway.tenant()
    published = await gateway.publish(client)
    answer = await client.post("/v1/runs", json={**ADA, "priority": 3})
    assert answer.status_code == 202
    accepted = answer.json()
    assert is_run_id(accepted["id"])
    assert accepted["url"] == answer.headers["location"] == f"/v1/runs/{accepted['id']}"
    command = gateway.scheduler.commands[-1]
    start = command.start_run
    assert (command.tenant, command.actor) == ("acme", "key:editor-of-acme")
    assert (start.run, start.flow, start.version) == (accepted["id"], "greet", 1)
    assert (start.plan, start.priority, start.client_key) == (published["hash"], 3, False)


async def test_the_input_travels_sealed_with_its_defaults_filled_in(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    await client.post("/v1/runs", json=ADA)
    start = gateway.scheduler.commands[-1].start_run
    assert b"Ada" not in start.input
    opened = await gateway.open_payload("acme", start.run, start.input)
    assert orjson.loads(opened) == {"name": "Ada", "times": 1}


async def test_a_large_input_travels_by_reference_and_its_blob_is_there_before(
    gateway: Gateway,
) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    name = "x" * 100_000
    answer = await client.post("/v1/runs", json={"workflow": "greet", "input": {"name": name}})
    assert answer.status_code == 202
    start = gateway.scheduler.commands[-1].start_run
    assert len(start.input) < 1_000 and is_reference(Stored(start.input))
    opened = await gateway.open_payload("acme", start.run, start.input)
    assert orjson.loads(opened)["name"] == name


async def test_the_same_idempotency_key_leads_to_the_first_run(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    headers = {"idempotency-key": "order-17"}
    first = (await client.post("/v1/runs", json=ADA, headers=headers)).json()
    again = (await client.post("/v1/runs", json=ADA, headers=headers)).json()
    assert (again["id"], again["repeated"], first["repeated"]) == (first["id"], True, False)
    start = gateway.scheduler.commands[-1].start_run
    assert start.client_key
    assert slot_of(start.run) == slot_for("acme", "order-17")


async def test_the_same_key_with_another_body_is_refused(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    headers = {"idempotency-key": "order-17"}
    await client.post("/v1/runs", json=ADA, headers=headers)
    other = {"workflow": "greet", "input": {"name": "Bob"}}
    answer = await client.post("/v1/runs", json=other, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "HR-2004")


async def test_keys_of_two_tenants_do_not_meet(gateway: Gateway) -> None:
    runs: list[str] = []
    for tenant in ("acme", "other"):
        client = await gateway.tenant(tenant)
        await gateway.publish(client)
        answer = await client.post("/v1/runs", json=ADA, headers={"idempotency-key": "one"})
        runs.append(answer.json()["id"])
    assert runs[0] != runs[1]


async def test_every_fault_of_an_input_is_listed(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    fields = {"times": 0, "nmae": "Ada"}
    answer = await client.post("/v1/runs", json={"workflow": "greet", "input": fields})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "HR-2005" and problem["type"] == "docs/errors/HR-2005.md"
    named = [fault.split(":")[0] for fault in problem["faults"]]
    assert named == ["input.name", "input.nmae", "input.times"]
    assert gateway.scheduler.commands == []


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b'{"workflow": ', 422, "not JSON"),
        (b"[]", 422, "must be a JSON object"),
        (b"{}", 422, "cannot be read"),
        (b'{"workflow": "missing"}', 404, "missing"),
        (b'{"workflow": "greet@7"}', 404, "no version 7"),
        (b'{"workflow": "greet@canary"}', 404, "no label 'canary'"),
    ],
)
async def test_a_start_that_cannot_be_is_refused_with_its_reason(
    gateway: Gateway, body: bytes, status: int, word: str
) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    answer = await client.post("/v1/runs", content=body)
    assert answer.status_code == status
    assert word in answer.json()["detail"]


async def test_a_body_above_the_limit_is_refused_before_it_is_read(gateway: Gateway) -> None:
    client = await gateway.tenant()
    answer = await client.post("/v1/runs", content=b"x" * 300_001)
    assert (answer.status_code, answer.json()["code"]) == (413, "HR-2006")


async def test_a_body_of_unknown_length_is_cut_at_the_limit(gateway: Gateway) -> None:
    client = await gateway.tenant()

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 10_000

    answer = await client.post("/v1/runs", content=parts())
    assert answer.status_code == 413


async def test_a_wait_is_answered_with_the_run_when_it_ends(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    starting = asyncio.create_task(client.post("/v1/runs?wait=10s", json=ADA))
    await gateway.scheduler.asked.wait()
    run = gateway.scheduler.commands[-1].start_run.run
    gateway.history.add(run, "acme", output={"text": "Hello Ada"}).end()
    answer = await starting
    assert answer.status_code == 200
    assert answer.json()["output"] == {"text": "Hello Ada"}


async def test_a_wait_that_is_too_short_is_an_accepted_run(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)

    def known_to_history(command: pb.Command) -> pb.Reply:
        gateway.history.add(command.start_run.run, "acme")
        return gateway.scheduler.take(command)

    gateway.scheduler.answer = known_to_history
    answer = await client.post("/v1/runs?wait=50ms", json=ADA)
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")


async def test_a_wait_that_is_no_duration_starts_nothing(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    answer = await client.post("/v1/runs?wait=soon", json=ADA)
    assert answer.status_code == 422
    assert gateway.scheduler.commands == []


async def test_without_an_owner_a_start_is_answered_503_with_a_time_to_retry(
    gateway: Gateway,
) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    await lease_all(gateway.dsn, None)
    # What was read before is believed for a second.
    await asyncio.sleep(1.1)
    answer = await client.post("/v1/runs", json=ADA)
    assert (answer.status_code, answer.json()["code"]) == (503, "HR-2007")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_start_names_an_exact_version_or_a_label(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    await gateway.publish(client, GREET_AGAIN)
    for reference, version in (("greet", 2), ("greet@stable", 2), ("greet@1", 1)):
        await client.post("/v1/runs", json={**ADA, "workflow": reference})
        assert gateway.scheduler.commands[-1].start_run.version == version


async def test_a_flow_without_inputs_takes_a_start_without_input(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client, "flow: v1\nname: tick\nsteps:\n  one: {set: {a: 1}}\n")
    answer = await client.post("/v1/runs", json={"workflow": "tick"})
    assert answer.status_code == 202
    start = gateway.scheduler.commands[-1].start_run
    opened = await gateway.open_payload("acme", start.run, start.input or NOTHING)
    assert orjson.loads(opened) == {}


GREET_AGAIN = """\
flow: v1
name: greet
inputs:
  name: {type: string}
steps:
  hello: {uses: data.echo@1, with: {value: "Good day ${{ inputs.name }}"}}
"""
