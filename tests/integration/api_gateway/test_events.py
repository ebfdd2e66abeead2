"""Events and signals: what the gateway makes of them for the scheduler."""

import secrets
from functools import partial

import orjson
import pytest

from headrace_api_gateway.app import events
from headrace_core.errors import InvalidState, NotFound, Unavailable
from headrace_core.ids import TenantId, correlation_of, event_id, slot_of, stable_hash
from tests.integration.api_gateway.conftest import Gateway
from tests.integration.api_gateway.peers import rejected

pytestmark = pytest.mark.postgres

RUN = "run_0g0jq8a1b2c3d4e5f6g7h8"
WAITS = """\
flow: v1
name: {name}
steps:
  paid: {{wait: {{event: {{topic: order.paid, key: k{keep}}}}}}}
"""
STARTS = """\
flow: v1
name: {name}
title: x
triggers:
  paid:
    event: {{topic: {topic}, match: trigger.body.amount > 0}}
    with: {{amount: "${{{{ trigger.body.amount }}}}", order: "${{{{ trigger.key }}}}"}}
inputs:
  amount: {{type: integer}}
  order: {{type: string}}
steps: {{a: {{set: {{}}}}}}
"""
PAID = {"topic": "order.paid", "key": "o-1", "body": {"amount": 7}}


async def test_an_event_goes_sealed_to_the_home_of_its_key(gateway: Gateway) -> None:
    client = await gateway.tenant()
    answer = await client.post("/v1/events", json=PAID)
    assert answer.status_code == 202
    assert answer.json() == {
        "id": answer.json()["id"],
        "topic": "order.paid",
        "key": "o-1",
        "repeated": False,
    }
    command = gateway.scheduler.commands[-1].publish_event
    assert command.correlation == correlation_of(TenantId("acme"), "order.paid", "o-1")
    assert command.event == answer.json()["id"]
    content = orjson.loads(await gateway.open_payload("acme", command.event, command.content))
    assert (content["id"], content["body"]) == (command.event, {"amount": 7})
    assert content["sent_by"] == "key:editor-of-acme"
    assert b"amount" not in command.content


async def test_an_event_is_kept_as_long_as_the_longest_keep_of_the_flows_that_wait_for_it(
    gateway: Gateway,
) -> None:
    client, other = await gateway.tenant(), await gateway.tenant("globex")
    await gateway.publish(other, WAITS.format(name="a", keep=", keep: 90d"))

    async def keep_ms() -> int:
        assert (await client.post("/v1/events", json=PAID)).is_success
        return gateway.scheduler.commands[-1].publish_event.keep_ms

    assert await keep_ms() == 0, "nobody of this tenant waits for it"
    await gateway.publish(client, WAITS.format(name="a", keep=", keep: 2m"))
    assert await keep_ms() == 120_000
    await gateway.publish(client, WAITS.format(name="b", keep=""))
    assert await keep_ms() == 86_400_000


async def test_an_event_goes_with_what_it_starts(gateway: Gateway) -> None:
    client, other = await gateway.tenant(), await gateway.tenant("globex")
    for tenant, name in ((other, "foreign"), (client, "taken"), (client, "narrow")):
        await gateway.publish(tenant, STARTS.format(name=name, topic="order.paid"))
    await gateway.publish(client, STARTS.format(name="elsewhere", topic="order.lost"))
    moved = STARTS.format(name="narrow", topic="order.paid")
    moved = moved.replace("> 0", "> 100").replace("title: x", "title: y")
    await gateway.publish(client, moved)
    event = (await client.post("/v1/events", json=PAID)).json()["id"]
    command = gateway.scheduler.commands[-1].publish_event
    [start] = command.starts
    assert (start.flow, start.version, start.trigger, start.event) == ("taken", 1, "paid", event)
    fields = orjson.loads(await gateway.open_payload("acme", start.run, start.input))
    assert (fields, b"order" in start.input) == ({"amount": 7, "order": "o-1"}, False)
    assert not start.HasField("error")


async def test_an_event_that_fits_no_input_is_taken_and_the_run_will_say_so(
    gateway: Gateway,
) -> None:
    client = await gateway.tenant()
    await gateway.publish(client, STARTS.format(name="taken", topic="order.paid"))
    wrong = {**PAID, "body": {"amount": 0.5}}
    assert (await client.post("/v1/events", json=wrong)).status_code == 202
    [start] = gateway.scheduler.commands[-1].publish_event.starts
    assert start.error.type == "input.invalid"
    told = orjson.loads(await gateway.open_payload("acme", start.run, start.error.message))
    assert "amount" in told
    assert (await client.post("/v1/events", json={**PAID, "body": "?"})).status_code == 202
    assert not gateway.scheduler.commands[-1].publish_event.starts, "it cannot be judged"


async def test_large_inputs_of_many_flows_still_go_into_one_record(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await gateway.tenant()
    for number in range(3):
        flow = STARTS.format(name=f"f{number}", topic="order.paid")
        await gateway.publish(client, flow.replace("trigger.key", "trigger.body.text"))
    monkeypatch.setattr(events, "START_BYTES_MAX", 3_000)
    large = {**PAID, "body": {"amount": 7, "text": secrets.token_hex(5_000)}}
    assert (await client.post("/v1/events", json=large)).status_code == 202
    starts = gateway.scheduler.commands[-1].publish_event.starts
    assert [len(start.input) < 1_500 for start in starts] == [True] * 3
    monkeypatch.setattr(events, "STARTS_MAX", 2)
    refused = await client.post("/v1/events", json=PAID)
    assert refused.status_code == 409 and "would start 3 flows" in refused.json()["detail"]


async def test_an_id_makes_a_repeat_known_and_another_event_a_conflict(gateway: Gateway) -> None:
    client = await gateway.tenant()
    first = await client.post("/v1/events", json={**PAID, "id": "p-1"})
    again = await client.post("/v1/events", json={**PAID, "id": "p-1"})
    other = await client.post("/v1/events", json={**PAID, "id": "p-1", "body": 1})
    assert again.json() == {**first.json(), "repeated": True}
    assert (other.status_code, other.json()["code"]) == (422, "HR-2004")


@pytest.mark.parametrize(
    "wrong", [{"topic": ""}, {"topic": "a\n"}, {"topic": "x" * 201}, {"key": 7}, {"more": 1}]
)
async def test_an_event_that_cannot_be_read_is_refused(
    gateway: Gateway, wrong: dict[str, object]
) -> None:
    client = await gateway.tenant()
    answer = await client.post("/v1/events", json={**PAID, **wrong})
    assert (answer.status_code, answer.json()["code"]) == (422, "HR-2005")
    assert not gateway.scheduler.commands


async def test_a_full_home_is_unavailable_for_now(gateway: Gateway) -> None:
    client = await gateway.tenant()
    gateway.scheduler.answer = partial(rejected, error=Unavailable("too many are kept"))
    assert (await client.post("/v1/events", json=PAID)).status_code == 503


async def test_a_viewer_publishes_nothing_and_a_starter_signals_nobody(gateway: Gateway) -> None:
    viewer, starter = await gateway.tenant(role="viewer"), await gateway.tenant(role="starter")
    assert (await viewer.post("/v1/events", json=PAID)).status_code == 403
    assert (await starter.post("/v1/events", json=PAID)).status_code == 202
    assert (await starter.post(f"/v1/runs/{RUN}/signals/go")).status_code == 403


async def test_a_signal_goes_sealed_to_the_run(gateway: Gateway) -> None:
    client = await gateway.tenant()
    answer = await client.post(f"/v1/runs/{RUN}/signals/order.paid", json={"body": [1]})
    assert answer.json() == {"id": RUN, "signal": "order.paid", "repeated": False}
    command = gateway.scheduler.commands[-1].signal_run
    assert (command.run, command.name) == (RUN, "order.paid")
    content = orjson.loads(await gateway.open_payload("acme", RUN, command.content))
    assert (content["topic"], content["body"], content["id"]) == (
        "order.paid",
        [1],
        command.signal,
    )


async def test_a_signal_nobody_waits_for_is_a_conflict(gateway: Gateway) -> None:
    client = await gateway.tenant()
    gateway.scheduler.answer = partial(rejected, error=InvalidState("nobody waits for 'go'"))
    answer = await client.post(f"/v1/runs/{RUN}/signals/go")
    assert (answer.status_code, answer.json()["detail"]) == (409, "nobody waits for 'go'")


async def test_a_signal_to_a_run_that_is_over_says_so_unless_it_ended_by_it(
    gateway: Gateway,
) -> None:
    client = await gateway.tenant()
    gateway.scheduler.answer = partial(rejected, error=NotFound("no open run"))
    assert (await client.post(f"/v1/runs/{RUN}/signals/go")).status_code == 404
    gateway.history.add(RUN, "acme").end()
    over = await client.post(f"/v1/runs/{RUN}/signals/go")
    assert (over.status_code, over.json()["detail"]) == (
        409,
        f"Run {RUN} is over: it has succeeded.",
    )
    signal = event_id(slot_of(RUN), 0, stable_hash(RUN, "go", "once")[:10])
    gateway.history.known[RUN].document["steps"] = {"a": {"event": signal}}
    headers = {"idempotency-key": "once"}
    again = await client.post(f"/v1/runs/{RUN}/signals/go", headers=headers)
    assert again.json() == {"id": RUN, "signal": "go", "repeated": True}
