"""Dead letters, as an operator meets them: a shop that refuses, is mended, and is called again."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.e2e.command_line import CommandLine, of_tenant
from tests.e2e.suite import Suite, begin, ended, publish, until

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

SELLING = """\
flow: v1
name: selling
on_failure: ON_FAILURE
inputs:
  url: {type: string}
  item: {type: string}
steps:
  price: {uses: data.echo@1, with: {value: 12}}
  order:
    needs: [price]
    uses: http.post@1
    with: {url: "${{ inputs.url }}", body: {item: "${{ inputs.item }}"}}
    retry: {max_attempts: 1}
outputs:
  order: ${{ steps.order.output.body.order }}
"""


@dataclass(slots=True)
class Shop:
    """Answers 400 until it is `mended`."""

    port: int = 0
    mended: bool = False
    sold: list[str] = field(default_factory=list[str])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/orders"


@contextmanager
def shop() -> Generator[Shop]:
    found = Shop()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            item = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["item"]
            if found.mended:
                found.sold.append(item)
            content = json.dumps({"order": len(found.sold)}).encode()
            self.send_response(200 if found.mended else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base names it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield found
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@contextmanager
def seller(
    suite: Suite, name: str, far: Shop, on_failure: str = "drain"
) -> Generator[tuple[httpx.Client, CommandLine]]:
    headrace = of_tenant(suite, name)
    made = headrace.well("keys", "add", name, "--name", "all", "--role", "editor", "--json")
    headrace.well("egress", "allow", f"127.0.0.1:{far.port}")
    with suite.client(made.document["key"]) as api:
        publish(api, SELLING.replace("ON_FAILURE", on_failure))
        yield api, headrace


def open_letters(headrace: CommandLine) -> list[str]:
    listed = headrace.well("letters", "list", "--json").document
    return [letter["id"] for letter in listed["letters"]]


def test_a_letter_of_a_failed_run_is_replayed_as_a_fork_and_another_discarded(
    suite: Suite,
) -> None:
    with shop() as far, seller(suite, "letters", far) as (api, headrace):
        runs = [begin(api, "selling", {"url": far.url, "item": item}) for item in ("lamp", "rug")]
        assert [ended(api, run)["status"] for run in runs] == ["failed", "failed"]
        listed = headrace.well("letters", "list", "--json").document["letters"]
        letters = {letter["run"]: letter["id"] for letter in listed}
        assert set(letters) == set(runs)
        assert {(one["step"], one["operation"], one["error_type"]) for one in listed} == {
            ("order", "http.post@1", "http.400")
        }
        lamp, rug = (letters[run] for run in runs)
        shown = headrace.well("letters", "inspect", lamp).out
        assert f"headrace letters replay {lamp}" in shown and "http.400" in shown
        assert "reused   price" in headrace.well("letters", "replay", lamp, "--preview").out

        far.mended = True
        replayed = headrace.well("letters", "replay", lamp, "--reason", "mended", "--json")
        document = replayed.document
        assert (document["status"], document["output"]) == ("succeeded", {"order": 1})
        assert document["forked_from"]["run"] == runs[0] and far.sold == ["lamp"]

        again = headrace("letters", "replay", lamp)
        assert again.code == 1 and "replayed by key:" in again.err and document["id"] in again.err
        headrace.well("letters", "discard", rug, "--reason", "bought elsewhere")
        assert headrace("letters", "replay", rug).code == 1
        assert "No dead letter" in headrace.well("letters", "list").err
        discarded = headrace.well("letters", "inspect", rug, "--json").document
        assert (discarded["status"], discarded["reason"]) == ("discarded", "bought elsewhere")
        assert api.post("/v1/letters/ltr_none/replay").status_code == 404
    assert far.sold == ["lamp"]


def test_a_letter_of_a_suspended_run_is_replayed_in_the_run_itself(suite: Suite) -> None:
    with shop() as far, seller(suite, "suspended-letters", far, "suspend") as (api, headrace):
        run = begin(api, "selling", {"url": far.url, "item": "lamp"})
        until(lambda: status(api, run) == "suspended", "the run is suspended")
        [letter] = open_letters(headrace)
        far.mended = True
        suite.kill("scheduler")
        assert headrace.well("letters", "replay", letter, "--detach").out.strip() == run
        assert ended(api, run)["status"] == "succeeded" and far.sold == ["lamp"]
        assert open_letters(headrace) == []
        decided = headrace.well("letters", "inspect", letter, "--json").document
        assert (decided["status"], decided["as_run"]) == ("replayed", run)


def status(api: httpx.Client, run: str) -> str:
    return api.get(f"/v1/runs/{run}").raise_for_status().json()["status"]
