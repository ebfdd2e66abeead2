"""The fifth service under `headrace up`: it keeps what it was told over a kill, and is how steps
reach the outside."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.suite import Suite, begin, ended, publish, until

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

SERVICES = {"scheduler", "connectors", "executor", "history", "api-gateway"}


def test_up_runs_five_services_and_lists_them(suite: Suite) -> None:
    document = json.loads((suite.home / "processes.json").read_text(encoding="utf-8"))
    assert set(document["services"]) == SERVICES
    for name, service in document["services"].items():
        assert service["pid"] == document["pids"][name]
        assert service["address"].startswith("127.0.0.1:")
    assert set(suite.said["pids"]) == SERVICES | {"supervisor", "postgres"}


def test_secrets_and_the_list_survive_a_kill_of_connectors(suite: Suite) -> None:
    pair = {"host": "db.internal", "port": 5433}
    with suite.new_tenant("vault") as client:
        client.put("/v1/secrets/shop_db", json={"value": "a-value"}).raise_for_status()
        client.put("/v1/egress", json=pair).raise_for_status()
        suite.kill("connectors")
        until(lambda: client.get("/v1/secrets").status_code == 200, "connectors answer again")
        listed = client.get("/v1/secrets").json()["secrets"]
        assert [(one["name"], one["version"]) for one in listed] == [("shop_db", 1)]
        assert client.get("/v1/egress").json() == {"allowed": [pair]}
        again = client.put("/v1/secrets/shop_db", json={"value": "another"})
        assert again.json()["version"] == 2


ASKING = """\
flow: v1
name: asking
inputs:
  url: {type: string}
steps:
  read:
    uses: http.get@1
    with: {url: "${{ inputs.url }}", auth: "${{ secrets.api_token }}"}
outputs:
  body: ${{ steps.read.output.body }}
"""
TOKEN = "token-that-nobody-sees"


class _Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"you_are": self.headers["Authorization"]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base names it so
        pass


@contextmanager
def echo() -> Generator[int]:
    """The port of a server that says who it was asked by."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield server.server_port
    server.shutdown()
    serving.join()
    server.server_close()


def test_a_step_reaches_what_is_allowed_and_no_secret_is_in_its_events(suite: Suite) -> None:
    with echo() as port, suite.new_tenant("asking") as client:
        publish(client, ASKING)
        given = {"url": f"http://127.0.0.1:{port}/"}
        client.put("/v1/secrets/api_token", json={"value": TOKEN}).raise_for_status()
        refused = ended(client, begin(client, "asking", given))
        assert (refused["status"], refused["error"]["type"]) == ("failed", "egress.refused")
        pair = {"host": "127.0.0.1", "port": port}
        client.put("/v1/egress", json=pair).raise_for_status()
        run = begin(client, "asking", given)
        assert ended(client, run)["output"] == {"body": {"you_are": "Bearer ***"}}
        assert TOKEN not in client.get(f"/v1/runs/{run}/export").text
    logs = list((suite.home / "logs").glob("*.log"))
    assert len(logs) >= len(SERVICES)
    assert not [log.name for log in logs if TOKEN.encode() in log.read_bytes()]
