"""Signals and events through the command line, the API and five separate processes."""

import json
from pathlib import Path

from tests.e2e.command_line import CommandLine, of_tenant
from tests.e2e.suite import Suite
from tests.e2e.test_cli import started

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


def publish(headrace: CommandLine, tmp_path: Path, text: str) -> None:
    file = tmp_path / "flow.flow.yaml"
    file.write_text(text)
    headrace.well("publish", str(file))


def waiting(headrace: CommandLine, order: str) -> str:
    return started(headrace, "order", json.dumps({"order": order}))


def amount(headrace: CommandLine, run: str) -> object:
    return headrace.well("watch", run, "--json").document["output"]["amount"]


def test_an_event_ends_every_wait_for_its_key_whenever_that_began(
    suite: Suite, tmp_path: Path
) -> None:
    headrace = of_tenant(suite, "events")
    publish(headrace, tmp_path, ORDER)
    runs = [waiting(headrace, order) for order in ("o-1", "o-1", "o-2")]
    send = ("event", "send", "order.paid", "o-1", "--id", "p-1", "--json")
    sent = headrace.well(*send, "--body", '{"amount": 7}').document
    again = headrace.well(*send, "--body", '{"amount": 7}').document
    assert again == {**sent, "repeated": True}
    assert headrace(*send, "--body", '{"amount": 8}').code == 1
    assert [amount(headrace, run) for run in runs[:2]] == [7, 7]
    assert amount(headrace, waiting(headrace, "o-1")) == 7, "it is kept for who comes later"
    assert headrace.well("show", runs[2], "--json").document["status"] == "waiting"
    kinds = [event["kind"] for event in headrace.well("events", runs[0], "--json").documents]
    assert "EventReceived" in kinds


def test_a_signal_ends_the_wait_and_one_nobody_waits_for_is_an_error(
    suite: Suite, tmp_path: Path
) -> None:
    headrace = of_tenant(suite, "signals")
    publish(headrace, tmp_path, ORDER)
    run = waiting(headrace, "o-1")
    nobody = headrace("signal", run, "order.payed")
    assert nobody.code == 1
    assert "nobody waits for signal 'order.payed': the run waits for 'order.paid'" in nobody.err
    assert headrace("signal", run, "order.paid", "--body", '{"amount": 0}').code == 1
    headrace.well("signal", run, "order.paid", "--body", '{"amount": 3}', "--once", "a")
    assert amount(headrace, run) == 3
    headrace.well("signal", run, "order.paid", "--body", '{"amount": 3}', "--once", "a")
    over = headrace("signal", run, "order.paid", "--body", '{"amount": 3}')
    assert over.code == 1 and "is over" in over.err
