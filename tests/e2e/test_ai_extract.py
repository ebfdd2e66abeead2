"""`ai.extract` in real runs: retries and fallbacks by the engine, and tokens where one looks."""

import asyncio
import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.suite import Suite, begin, ended, publish
from tests.support.far_server import Answer, FarServer, Received, far_server
from tests.support.model_endpoint import asked, completion, error

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(120)]

READ = """\
flow: v1
name: read
inputs:
  text: {type: string}
steps:
  read:
    uses: ai.extract@1
    with:
      prompt: {system: You read licences., user: "Name it: ${{ inputs.text }}"}
      schema:
        type: object
        required: [licence]
        properties: {licence: {type: string}, year: {type: integer}}
    retry:
      max_attempts: 3
      backoff: {initial: 1ms, max: 2ms}
      on: [http.429, http.5xx, ai.schema_mismatch]
    fallback:
      - uses: ai.extract@1
        with:
          prompt: {user: "${{ inputs.text }}"}
          schema: {type: object, required: [licence], properties: {licence: {type: string}}}
          model: large
      - output: {licence: unknown, asked: false}
outputs:
  found: ${{ steps.read.output }}
"""
EACH = """\
flow: v1
name: each
inputs:
  texts: {type: array, items: {type: string}}
steps:
  read:
    foreach: {in: inputs.texts, as: text, max_parallel: 2}
    uses: ai.extract@1
    with:
      prompt: {user: "${{ text }}"}
      schema: {type: object, required: [licence], properties: {licence: {type: string}}}
"""
Script = Callable[[Mapping[str, Any]], Answer]


class Endpoint:
    """A server in a thread of its own; `script` answers each request's document."""

    def __init__(self, far: FarServer) -> None:
        self._far = far
        self.script: Script = lambda _: completion({"licence": "MIT"})
        far.script = self._answer

    @property
    def url(self) -> str:
        return self._far.url("/v1")

    def answers(self, *answers: Answer) -> None:
        """These, in this order, to the requests that come from now on."""
        left = iter(answers)
        self._far.received.clear()
        self.script = lambda _: next(left)

    def models(self) -> list[str]:
        return [asked(received)["model"] for received in self._far.received]

    def _answer(self, received: Received) -> Answer:
        return self.script(asked(received))


@contextmanager
def serving() -> Generator[Endpoint]:
    started, loop = threading.Event(), asyncio.new_event_loop()
    found: list[FarServer] = []
    stop = asyncio.Event()

    async def serve() -> None:
        async with far_server() as far:
            found.append(far)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    try:
        yield Endpoint(found[0])
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def endpoint() -> Generator[Endpoint]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def with_model(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Generator[Suite]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_AI_BASE_URL", endpoint.url)
        patch.setenv("HEADRACE_AI_API_KEY", "sk-operator-4711")
        patch.setenv("HEADRACE_AI_MODEL", "small")
        suite = Suite(tmp_path_factory.mktemp("headrace-ai"))
        suite.start()
    yield suite
    assert suite.stop() == 0
    for log in (suite.home / "logs").iterdir():
        assert b"sk-operator-4711" not in log.read_bytes(), log


def test_each_attempts_tokens_are_in_its_event_its_run_and_the_days_usage(
    with_model: Suite, endpoint: Endpoint
) -> None:
    endpoint.answers(
        error(500, "we are sorry"),
        completion("It is MIT.", tokens=(30, 4)),
        completion({"licence": "MIT", "year": None}, tokens=(31, 6)),
    )
    with with_model.new_tenant("metered") as client:
        publish(client, READ)
        run = begin(client, "read", {"text": "a secret text"})
        document = ended(client, run)
        assert document["output"] == {"found": {"licence": "MIT"}}
        attempts = document["steps"]["read"]["attempts"]
        assert [one["error_type"] for one in attempts] == ["http.500", "ai.schema_mismatch", None]
        tokens = [(one["usage"]["input_tokens"], one["usage"]["output_tokens"]) for one in attempts]
        assert tokens == [(0, 0), (30, 4), (31, 6)]
        total = {"calls": 3, "input_tokens": 61, "output_tokens": 10, "cost_micros": 0}
        assert document["usage"] == [{"model": "small", **total}]
        events = client.get(f"/v1/runs/{run}/events", params={"limit": 100}).json()["events"]
        used = [event["usage"] for event in events if event.get("usage")]
        assert len(used) == 3 and {one["model"] for one in used} == {"small"}
        (prompt_hash,) = {one["prompt_hash"] for one in used}
        assert len(prompt_hash) == 64
        rows = client.get("/v1/usage").json()["rows"]
        (metered,) = [row for row in rows if row["model"] == "small"]
        assert {name: metered[name] for name in total} == total
    assert endpoint.models() == ["small"] * 3


def test_what_is_never_retried_goes_to_the_fallbacks_at_once(
    with_model: Suite, endpoint: Endpoint
) -> None:
    endpoint.answers(completion(None, refusal="I cannot."), error(401, "wrong key"))
    with with_model.new_tenant("fallen") as client:
        publish(client, READ)
        document = ended(client, begin(client, "read", {"text": "x"}))
    assert document["status"] == "succeeded"
    assert document["output"] == {"found": {"licence": "unknown", "asked": False}}
    attempts = document["steps"]["read"]["attempts"]
    assert [one["usage"]["model"] for one in attempts] == ["small", "large"]
    hashes = {one["usage"]["prompt_hash"] for one in attempts}
    assert len(hashes) == 2, "two prompts"
    assert [one["model"] for one in document["usage"]] == ["large", "small"]
    assert endpoint.models() == ["small", "large"]


def test_tokens_of_items_that_have_ended_are_in_the_runs_usage(
    with_model: Suite, endpoint: Endpoint
) -> None:
    endpoint.answers(*(completion({"licence": "MIT"}, tokens=(10, 2)) for _ in range(4)))
    with with_model.new_tenant("items") as client:
        publish(client, EACH)
        document = ended(client, begin(client, "each", {"texts": ["a", "b", "c", "d"]}))
    assert document["status"] == "succeeded"
    (used,) = document["usage"]
    assert (used["calls"], used["input_tokens"], used["output_tokens"]) == (4, 40, 8)


def test_a_named_prompt_is_refused_at_publish(with_model: Suite) -> None:
    text = READ.replace('{system: You read licences., user: "Name it: ${{ inputs.text }}"}', "l@3")
    with with_model.new_tenant("named") as client:
        answer = client.post(
            "/v1/workflows", content=text, headers={"Content-Type": "application/yaml"}
        )
    assert answer.status_code == 422 and "HR-1901" in json.dumps(answer.json())


def test_without_a_model_a_run_ends_with_the_fallbacks_output(suite: Suite) -> None:
    with suite.new_tenant("modelless") as client:
        publish(client, READ)
        document = ended(client, begin(client, "read", {"text": "x"}))
    assert document["output"] == {"found": {"licence": "unknown", "asked": False}}
    attempts = document["steps"]["read"]["attempts"]
    assert len(attempts) == 2, "the step's own and the fallback's, each once"
    assert attempts[0]["error_type"] == "ai.not_configured"
    assert document["usage"] == []
