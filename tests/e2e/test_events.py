"""Signals and events through the command line, the API and five separate processes."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.e2e.command_line import CommandLine, of_tenant
from tests.e2e.suite import Suite

ORDER = """\
flow: v1
name: order
inputs: {order: {type: string}}
steps:
  paid:
    wait:
      event: {topic: order.paid, key: "${{ inputs.order }}", match: event.body.amount > 0}
      expires: 1h
  thanks: {needs: [paid.received], set: {amount: "${{ steps.paid.output.body.amount }}"}}
outputs: {amount: "${{ steps.thanks.output.amount }}"}
"""


RECEIPT = """\
flow: v1
name: receipt
triggers:
  paid:
    event: {topic: order.paid, match: trigger.body.amount > 0}
    with: {order: "${{ trigger.key }}", amount: "${{ trigger.body.amount }}"}
inputs:
  order: {type: string}
  amount: {type: integer}
steps:
  write: {set: {text: "${{ inputs.order }}: ${{ inputs.amount }}"}}
outputs: {text: "${{ steps.write.output.text }}"}
"""


@contextmanager
def api_of(suite: Suite, headrace: CommandLine) -> Generator[httpx.Client]:
    """Of the tenant, with the flow published."""
    tenant = headrace.settings["HEADRACE_TENANT"]
    made = headrace.well("keys", "add", tenant, "--name", "all", "--role", "editor", "--json")
    yaml = {"content-type": "application/yaml"}
    with suite.client(made.document["key"]) as client:
        client.post("/v1/workflows", content=ORDER, headers=yaml).raise_for_status()
        yield client


def started(api: httpx.Client, order: str, wait: str = "") -> Any:
    body = {"workflow": "order", "input": {"order": order}}
    return api.post("/v1/runs", params={"wait": wait}, json=body).json()


def ended(api: httpx.Client, run: str) -> Any:
    events: list[str] = []
    while "RunSucceeded" not in events:
        page = api.get(f"/v1/runs/{run}/events").json()["events"]
        events = [event["kind"] for event in page]
    return api.get(f"/v1/runs/{run}").json()


def test_an_event_ends_every_wait_for_its_key_whenever_that_began(suite: Suite) -> None:
    headrace = of_tenant(suite, "events")
    with api_of(suite, headrace) as api:
        runs = [started(api, order)["id"] for order in ("o-1", "o-1", "o-2")]
        send = ("event", "send", "order.paid", "o-1", "--id", "p-1", "--json")
        sent = headrace.well(*send, "--body", '{"amount": 7}').document
        again = headrace.well(*send, "--body", '{"amount": 7}').document
        assert again == {**sent, "repeated": True}
        early = [ended(api, run) for run in runs[:2]]
        assert [run["output"] for run in early] == [{"amount": 7}] * 2
        assert early[0]["steps"]["paid"]["event"] == sent["id"]
        late = started(api, "o-1", wait="30s")
        assert late["output"] == {"amount": 7}, "it is kept for who comes later"
        assert api.get(f"/v1/runs/{runs[2]}").json()["status"] == "waiting"


def test_a_signal_ends_the_wait_and_one_nobody_waits_for_is_an_error(suite: Suite) -> None:
    headrace = of_tenant(suite, "signals")
    with api_of(suite, headrace) as api:
        run = started(api, "o-1")["id"]
        nobody = headrace("signal", run, "order.payed")
        assert nobody.code == 1
        assert "nobody waits for signal 'order.payed': the run waits for 'order.paid'" in nobody.err
        once = ("signal", run, "order.paid", "--body", '{"amount": 3}', "--once", "a")
        headrace.well(*once)
        assert ended(api, run)["output"] == {"amount": 3}
        assert "before" in headrace.well(*once).err
        over = api.post(f"/v1/runs/{run}/signals/order.paid", json={"body": 1})
        assert over.status_code == 409


def test_an_event_starts_the_flows_that_it_meets_once(suite: Suite) -> None:
    headrace = of_tenant(suite, "triggered")
    with api_of(suite, headrace) as api:
        yaml = {"content-type": "application/yaml"}
        api.post("/v1/workflows", content=RECEIPT, headers=yaml).raise_for_status()
        for amount, key in ((0, "none"), (7, "seven"), (7, "seven")):
            body = {"topic": "order.paid", "key": "o-9", "body": {"amount": amount}, "id": key}
            api.post("/v1/events", json=body).raise_for_status()
        found: list[Any] = []
        while not found:
            found = api.get("/v1/runs", params={"workflow": "receipt"}).json()["runs"]
        [run] = found
        assert ended(api, run["id"])["output"] == {"text": "o-9: 7"}
        waits = started(api, "o-9", wait="30s")
        assert waits["output"] == {"amount": 7}, "who waits for the event has it too"
