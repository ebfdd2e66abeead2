"""A step's outside effect happens once although services that carry its call are killed with -9."""

import json
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.e2e.suite import Suite, begin, ended, publish, until

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

ORDERING = """\
flow: v1
name: ordering
inputs:
  url: {type: string}
  item: {type: string}
steps:
  order:
    uses: http.post@1
    with: {url: "${{ inputs.url }}", body: {item: "${{ inputs.item }}"}}
outputs:
  order: ${{ steps.order.output.body.order }}
"""
KEYED = ORDERING.replace("name: ordering", "name: keyed").replace(
    "    with:", '    idempotency_key: "order-${{ inputs.item }}"\n    with:'
)


@dataclass(slots=True)
class Shop:
    """Takes each order once by its key: refuses the first call, acts on the second and does not
    answer it while `held`, and then tells what it has."""

    port: int = 0
    calls: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    orders: dict[str, int] = field(default_factory=dict[str, int])
    effects: list[str] = field(default_factory=list[str])
    held: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/orders"

    def answer(self, key: str, item: str) -> tuple[int, dict[str, int]]:
        with self.lock:
            self.calls.append((key, item))
            number = sum(1 for called, _ in self.calls if called == key)
            if number == 1:
                return 503, {}
            is_new = key not in self.orders
            if is_new:
                self.orders[key] = 100 + len(self.orders)
                self.effects.append(item)
        if is_new:
            self.held.wait(60)
        return 200, {"order": self.orders[key]}


@contextmanager
def shop() -> Generator[Shop]:
    found = Shop()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, document = found.answer(self.headers["Idempotency-Key"], body["item"])
            content = json.dumps(document).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                # Whoever asked was killed meanwhile.
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base names it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield found
    finally:
        found.held.set()
        server.shutdown()
        serving.join()
        server.server_close()


@contextmanager
def customer(suite: Suite, name: str, port: int) -> Generator[httpx.Client]:
    with suite.new_tenant(name) as client:
        pair = {"host": "127.0.0.1", "port": port}
        client.put("/v1/egress", json=pair).raise_for_status()
        yield client


@pytest.mark.parametrize("victim", ["executor", "connectors"])
def test_every_order_is_placed_once_although_its_call_is_killed_in_the_middle(
    suite: Suite, victim: str
) -> None:
    items = [f"item-{number}" for number in range(4)]
    with shop() as far, customer(suite, f"orders-{victim}", far.port) as client:
        publish(client, ORDERING)
        runs = {item: begin(client, "ordering", {"url": far.url, "item": item}) for item in items}
        until(lambda: len(far.effects) == len(items), "the shop acts on every order")
        suite.kill(victim)
        far.held.set()
        for item, run in runs.items():
            document = ended(client, run)
            assert document["status"] == "succeeded", document
            key = f"{run}/order/0/do"
            assert document["output"] == {"order": far.orders[key]}
            assert far.calls.count((key, item)) >= 3, "refused, held, told"
    assert Counter(far.effects) == dict.fromkeys(items, 1)
    assert {key for key, _ in far.calls} == {f"{run}/order/0/do" for run in runs.values()}


def test_a_custom_key_lets_the_far_side_know_an_order_over_two_runs(suite: Suite) -> None:
    with shop() as far, customer(suite, "keyed", far.port) as client:
        far.held.set()
        publish(client, KEYED)
        given = {"url": far.url, "item": "lamp"}
        outputs = [ended(client, begin(client, "keyed", given))["output"] for _ in range(2)]
    assert outputs == [{"order": 100}] * 2
    assert [key for key, _ in far.calls] == ["order-lamp"] * 3
    assert far.effects == ["lamp"]


def test_a_cancelled_run_says_of_a_call_under_way_that_nobody_knows(suite: Suite) -> None:
    with shop() as far, customer(suite, "cancels", far.port) as client:
        publish(client, ORDERING)
        run = begin(client, "ordering", {"url": far.url, "item": "lamp"})
        until(lambda: len(far.effects) == 1, "the shop acts")
        client.post(f"/v1/runs/{run}/cancel").raise_for_status()
        document = ended(client, run)
        assert document["status"] == "cancelled"
        events = client.get(f"/v1/runs/{run}/events", params={"limit": 500}).json()["events"]
        kinds = [event["kind"] for event in events]
        assert "StepFailed" in kinds and "StepCancelled" not in kinds
        assert "unknown_outcome" in json.dumps(events)
    assert len(far.calls) == 2
