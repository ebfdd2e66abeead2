"""POST /v1/hooks: what a webhook trigger believes, what it starts, and what nobody learns."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

import httpx
import orjson
import pytest

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from tests.integration.api_gateway.conftest import YAML, Gateway

pytestmark = pytest.mark.postgres

KEY = base64.b64encode(b"0123456789abcdef01234567").decode()
BODY = b'{"email": "ada@example.com", "seats": 3}'
SIGNED = "{webhook: {path: leads/new, verify: standard-webhooks, secret: LEADS}, with: {email: "
FLOW = """\
flow: v1
name: leads
triggers:
  form: %s
inputs:
  email: {type: string}
  seats: {type: integer, default: 1}
steps:
  a: {set: {}}
"""
STANDARD = FLOW % (SIGNED + '"${{ trigger.body.email }}"}}')


def hook(settings: str, mapping: str = "") -> str:
    more = f", with: {mapping}" if mapping else ""
    return FLOW % f"{{webhook: {{path: leads/new, {settings}}}{more}}}"


def standard(
    body: bytes = BODY, message: str = "msg_1", key: str = KEY, at: int | None = None
) -> Mapping[str, str]:
    seconds = str(at or int(time.time()))
    signed = f"{message}.{seconds}.".encode() + body
    digest = hmac.digest(base64.b64decode(key), signed, hashlib.sha256)
    return {
        "webhook-id": message,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


async def published(gateway: Gateway, text: str, secret: str = f"whsec_{KEY}") -> httpx.AsyncClient:
    """Answers a client without any credential."""
    editor = await gateway.tenant()
    (await editor.put("/v1/secrets/LEADS", json={"value": secret})).raise_for_status()
    await gateway.publish(editor, text)
    gateway.scheduler.commands.clear()
    return gateway.client()


async def send(
    client: httpx.AsyncClient,
    headers: Mapping[str, str],
    body: bytes = BODY,
    path: str = "acme/leads/new",
) -> httpx.Response:
    return await client.post(f"/v1/hooks/{path}", content=body, headers=dict(headers))


async def input_of(gateway: Gateway, start: pb.StartRun) -> Any:
    return orjson.loads(await gateway.open_payload("acme", start.run, start.input))


async def test_a_signed_request_starts_a_run_with_what_the_trigger_maps(gateway: Gateway) -> None:
    client = await published(gateway, STANDARD)
    answer = await send(client, standard())
    assert answer.status_code == 202
    command = gateway.scheduler.commands[-1]
    start = command.start_run
    assert (command.tenant, command.actor) == ("acme", "webhook")
    assert (start.flow, start.version, start.trigger) == ("leads", 1, "form")
    assert answer.json() == {"id": start.run, "status": "accepted", "repeated": False}
    assert await input_of(gateway, start) == {"email": "ada@example.com", "seats": 1}


async def test_a_message_that_is_sent_again_leads_to_the_first_run(gateway: Gateway) -> None:
    client = await published(gateway, STANDARD)
    first = (await send(client, standard())).json()
    again = (await send(client, standard(BODY + b" "), BODY + b" ")).json()
    other = (await send(client, standard(message="msg_2"))).json()
    assert again == {**first, "repeated": True}
    assert other["id"] != first["id"] and not other["repeated"]


async def test_dedupe_says_which_requests_are_one(gateway: Gateway) -> None:
    client = await published(
        gateway, hook('verify: none, dedupe: "${{ trigger.query.order }}"', "{email: x}")
    )
    path = "acme/leads/new?order="
    ids = [(await send(client, {}, b"", path + one)).json()["id"] for one in ("7", "7", "8")]
    assert ids[0] == ids[1] != ids[2]
    assert (await send(client, {}, b"", "acme/leads/new?order")).status_code == 422


async def test_nobody_learns_what_exists_from_a_request_that_is_not_verified(
    gateway: Gateway,
) -> None:
    client = await published(gateway, STANDARD)
    old = int(time.time()) - 600
    other_key = base64.b64encode(b"another key of some bytes").decode()
    answers = [
        await send(client, {}),
        await send(client, standard(key=other_key)),
        await send(client, standard(at=old)),
        await send(client, standard(), BODY + b" "),
        await send(client, standard(), path="acme/leads/old"),
        await send(client, standard(), path="nobody/leads/new"),
    ]
    assert {answer.status_code for answer in answers} == {404}
    told = [{**answer.json(), "instance": ""} for answer in answers]
    assert all(one == told[0] for one in told)
    assert gateway.scheduler.commands == []


async def test_an_hmac_and_a_bearer_are_believed(gateway: Gateway) -> None:
    client = await published(gateway, hook("verify: hmac, secret: LEADS"), "s3cret")
    digest = hmac.digest(b"s3cret", BODY, hashlib.sha256).hex()
    answer = await send(client, {"X-Hub-Signature-256": f"sha256={digest}"})
    assert answer.status_code == 202
    start = gateway.scheduler.commands[-1].start_run
    assert await input_of(gateway, start) == {"email": "ada@example.com", "seats": 3}
    assert (
        await send(client, {"X-Hub-Signature-256": f"sha256={digest[::-1]}"})
    ).status_code == 404
    editor = await gateway.tenant()
    await gateway.publish(editor, hook('verify: bearer, secret: "${{ secrets.LEADS }}"'))
    assert (await send(client, {"authorization": "Bearer s3cret"})).status_code == 202
    assert (await send(client, {"authorization": "Bearer other"})).status_code == 404


async def test_a_flow_does_not_see_the_credential(gateway: Gateway) -> None:
    maps = (
        "{email: \"${{ trigger.headers['x-from'] + string('authorization' in trigger.headers) }}\"}"
    )
    client = await published(gateway, hook("verify: bearer, secret: LEADS", maps), "s3cret")
    headers = {"authorization": "Bearer s3cret", "X-From": "Ada"}
    assert (await send(client, headers)).status_code == 202
    start = gateway.scheduler.commands[-1].start_run
    assert (await input_of(gateway, start))["email"] == "Adafalse"


async def test_a_request_that_does_not_fit_the_inputs_is_refused_with_its_faults(
    gateway: Gateway,
) -> None:
    client = await published(gateway, hook("verify: none"))
    answer = await send(client, {}, b'{"seats": "many"}')
    assert answer.status_code == 422
    assert "email" in answer.text and "seats" in answer.text
    assert (await send(client, {}, b"not json")).status_code == 422
    assert gateway.scheduler.commands == []


async def test_a_form_gives_its_fields(gateway: Gateway) -> None:
    client = await published(gateway, hook("verify: none"))
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (await send(client, headers, b"email=ada%40example.com")).status_code == 202
    start = gateway.scheduler.commands[-1].start_run
    assert (await input_of(gateway, start))["email"] == "ada@example.com"


async def test_respond_result_answers_with_what_the_run_gave(gateway: Gateway) -> None:
    client = await published(gateway, hook("verify: none, respond: result"))
    gateway.scheduler.asked.clear()
    sending = asyncio.create_task(send(client, {}))
    await gateway.scheduler.asked.wait()
    run = gateway.scheduler.commands[-1].start_run.run
    gateway.history.add(run, "acme", output={"text": "Hello Ada"}, input={"email": "x"}).end()
    answer = await sending
    assert answer.status_code == 200
    assert answer.json() == {"id": run, "status": "succeeded", "output": {"text": "Hello Ada"}}


async def test_a_body_above_the_limit_is_refused(gateway: Gateway) -> None:
    client = await published(gateway, hook("verify: none"))
    assert (await send(client, {}, b"x" * 300_001)).status_code == 413


async def test_a_path_belongs_to_one_flow(gateway: Gateway) -> None:
    await published(gateway, hook("verify: none"))
    editor = await gateway.tenant()
    other = hook("verify: none").replace("name: leads", "name: other")
    answer = await editor.post("/v1/workflows", content=other, headers=YAML)
    assert answer.status_code == 422
    assert "belongs to flow 'leads'" in answer.text
