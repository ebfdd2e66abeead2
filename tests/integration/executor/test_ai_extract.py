"""`ai.extract` against a real HTTP server that answers as OpenAI-compatible endpoints do."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from headrace_core.errors import EgressRefused
from headrace_core.workflow.plan_parts import Effect
from headrace_executor.adapters import openai_client
from headrace_executor.adapters.openai_client import EndpointTransport, OpenAiModels
from headrace_executor.app.failures import StepFailed
from headrace_executor.app.ports import Call, Completion
from headrace_executor.app.steps.ai_extract import AiExtract
from headrace_executor.domain.prompt import prompt_hash
from headrace_runtime.egress import HostPort, resolve_by_system
from headrace_runtime.secret_text import SecretText
from headrace_worker.messages import Outcome
from tests.support.attempts import action, attempt, task
from tests.support.far_server import Answer, FarServer, Received, far_server
from tests.support.model_endpoint import JSON, asked, completion, error
from tests.support.run_harness import plan_of
from tests.support.tenant_keys import MovableClock

KEY = "sk-operator-4711"
SCHEMA = {
    "type": "object",
    "required": ["licence"],
    "properties": {"licence": {"type": "string"}, "year": {"type": "integer"}},
}
WRITTEN = {"prompt": {"system": "Read licences.", "user": "${{ inputs.text }}"}, "schema": SCHEMA}
MIT = completion({"licence": "MIT", "year": None})


def call(**fields: Any) -> Call:
    arguments: dict[str, Any] = {
        "prompt": {"system": "Read licences.", "user": "Permission is hereby granted"},
        "schema": SCHEMA,
        **fields,
    }
    extract = action("ai.extract", Effect.READ)
    return Call(task(attempt("read"), plan_of()), extract, arguments, written=WRITTEN)


class Seconds:
    """A clock that is a quarter of a second later whenever it is asked."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.25
        return self.now_s


@asynccontextmanager
async def extracting(
    base_url: str, key: str = KEY, addresses: Sequence[str] = ("127.0.0.1",)
) -> AsyncGenerator[AiExtract]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    models = OpenAiModels(
        base_url, SecretText("HEADRACE_AI_API_KEY", key), "small", MovableClock(), resolve
    )
    try:
        yield AiExtract(models, Seconds())
    finally:
        await models.close()


@pytest.fixture
async def far() -> AsyncIterator[FarServer]:
    async with far_server() as server:
        yield server


@pytest.fixture
async def extract(far: FarServer) -> AsyncIterator[AiExtract]:
    async with extracting(far.url("/v1")) as found:
        yield found


async def answered(far: FarServer, extract: AiExtract, answer: Answer) -> tuple[Call, Completion]:
    far.script = lambda _: answer
    made = call()
    return made, await extract.run(made)


async def test_a_value_that_fits_the_schema_comes_back_with_what_it_cost(
    far: FarServer, extract: AiExtract
) -> None:
    made, ended = await answered(far, extract, MIT)
    assert ended == Completion(Outcome.SUCCEEDED, {"licence": "MIT"})
    usage = made.meter.usage
    assert usage is not None
    assert (usage.model, usage.input_tokens, usage.output_tokens) == ("small", 20, 5)
    assert (usage.duration_ms, usage.prompt_hash) == (250, prompt_hash(WRITTEN))


async def test_the_schema_is_asked_for_in_the_strict_form(
    far: FarServer, extract: AiExtract
) -> None:
    far.script = lambda _: MIT
    await extract.run(call(model="large", temperature=0, budget={"tokens": 60}))
    (received,) = far.received
    assert (received.method, received.target) == ("POST", "/v1/chat/completions")
    members = {"licence": {"type": "string"}, "year": {"type": ["integer", "null"]}}
    strict = {
        "type": "object",
        "properties": members,
        "required": ["licence", "year"],
        "additionalProperties": False,
    }
    assert asked(received) == {
        "model": "large",
        "messages": [
            {"role": "system", "content": "Read licences."},
            {"role": "user", "content": "Permission is hereby granted"},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": strict},
        },
        "max_tokens": 60,
        "temperature": 0,
    }


@pytest.mark.parametrize(
    ("answer", "error_type", "part", "wait_ms", "tokens"),
    [
        (
            error(429, "slower", headers={"Retry-After": "7"}),
            "http.429",
            "429: slower",
            7_000,
            0,
        ),
        (error(429, "pay", code="insufficient_quota"), "ai.budget.provider", "pay", 0, 0),
        (error(500, "we are sorry"), "http.500", "we are sorry", 0, 0),
        (error(503, "loading", headers={"retry-after-ms": "40"}), "http.503", "loading", 40, 0),
        (error(401, f"wrong key {KEY}"), "auth", "wrong key ***", 0, 0),
        (error(404, "no model small"), "http.404", "no model small", 0, 0),
        (error(400, "long", code="context_length_exceeded"), "ai.context_too_long", "long", 0, 0),
        (Answer(502, b"<html>bad gateway</html>", {}), "http.502", "bad gateway", 0, 0),
        (Answer(302, b"", {"location": "http://127.0.0.1:1/"}), "http.302", "answered 302", 0, 0),
        (Answer(200, b"hello", JSON), "ai.protocol", "than JSON", 0, 0),
        (Answer(200, b'{"object": "list"}', JSON), "ai.protocol", "than a completion", 0, 0),
        (completion(None, refusal="I cannot."), "ai.refusal", "I cannot.", 0, 25),
        (completion('{"lic', finish="length"), "ai.truncated", "after 5 tokens", 0, 25),
        (completion("", finish="content_filter"), "ai.content_filter", "filter", 0, 25),
        (completion("It is MIT."), "ai.schema_mismatch", "not JSON: It is MIT.", 0, 25),
        (completion({"licence": 5}), "ai.schema_mismatch", "licence:", 0, 25),
        (completion({"year": 1}, tokens=None), "ai.schema_mismatch", "licence", 0, 0),
        (Answer(cut=True), "network", "cannot be reached", 0, 0),
    ],
)
async def test_what_goes_wrong_is_typed_metered_and_asked_only_once(
    far: FarServer,
    extract: AiExtract,
    answer: Answer,
    error_type: str,
    part: str,
    wait_ms: int,
    tokens: int,
) -> None:
    made, ended = await answered(far, extract, answer)
    assert (ended.outcome, ended.error_type) == (Outcome.FAILED, error_type)
    assert part in ended.error_message and ended.retry_after_ms == wait_ms
    assert len(far.received) == 1, "the engine tries again, not the client"
    usage = made.meter.usage
    assert usage is not None and usage.input_tokens + usage.output_tokens == tokens
    assert (usage.model, usage.prompt_hash) == ("small", prompt_hash(WRITTEN))


async def test_an_endpoint_that_is_away_is_named() -> None:
    async with far_server() as server:
        gone = server.url("/v1")
    async with extracting(gone) as extract:
        ended = await extract.run(call())
    assert ended.error_type == "network"
    assert f"{gone.split('/')[2]} cannot be reached" in ended.error_message


async def test_an_endpoint_that_never_answers_is_given_up(
    far: FarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(received: Received) -> Answer:
        await received.client_gone()
        return MIT

    far.script = never
    monkeypatch.setattr(openai_client, "ANSWER_TIMEOUT_S", 0.05)
    async with extracting(far.url("/v1")) as extract:
        ended = await extract.run(call())
    assert ended.error_type == "timeout.attempt" and "0.05 s" in ended.error_message


async def test_a_call_that_is_cut_off_is_metered_and_its_connection_closed(
    far: FarServer, extract: AiExtract
) -> None:
    gone = asyncio.Event()

    async def never(received: Received) -> Answer:
        await received.client_gone()
        gone.set()
        return MIT

    far.script = never
    made = call()
    running = asyncio.create_task(extract.run(made))
    await far.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone.wait()
    usage = made.meter.usage
    assert usage is not None
    assert (usage.model, usage.duration_ms, usage.input_tokens) == ("small", 250, 0)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"schema": {"type": "object"}}, "object without members"),
        ({"prompt": "licence@3"}, "prompt: must be an object"),
        ({"prompt": {"system": "s"}}, "prompt:"),
        ({"max_tokens": 0}, "max_tokens:"),
        ({"temperature": 3}, "temperature:"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_wrong_arguments_are_never_sent(
    far: FarServer, extract: AiExtract, fields: dict[str, Any], part: str
) -> None:
    with pytest.raises(StepFailed) as failed:
        await extract.run(call(**fields))
    assert failed.value.error_type == "input.invalid" and part in failed.value.message
    assert far.received == []


async def test_what_the_budget_does_not_allow_is_never_sent(
    far: FarServer, extract: AiExtract
) -> None:
    made = call(max_tokens=100, budget={"tokens": 99})
    ended = await extract.run(made)
    assert ended.error_type == "ai.budget" and made.meter.usage is None
    assert far.received == []


async def test_without_an_endpoint_it_says_what_to_set() -> None:
    made = call()
    ended = await AiExtract(None, Seconds()).run(made)
    assert (ended.outcome, ended.error_type) == (Outcome.FAILED, "ai.not_configured")
    assert "HEADRACE_AI_BASE_URL" in ended.error_message and made.meter.usage is None


async def test_only_the_key_and_the_call_leave_this_process(
    far: FarServer, extract: AiExtract
) -> None:
    await answered(far, extract, MIT)
    headers = dict(far.received[0].headers)
    assert headers.pop("authorization") == f"Bearer {KEY}"
    assert headers.pop("user-agent") == "headrace"
    assert set(headers) <= {"accept", "accept-encoding", "content-length", "content-type", "host"}


async def test_other_peoples_settings_do_not_reach_the_endpoint(
    far: FarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebody-elses")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-an-admins")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer mine\nX-Team: blue")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with extracting(far.url("/v1"), key="") as extract:
        _, ended = await answered(far, extract, MIT)
    assert ended.outcome is Outcome.SUCCEEDED
    headers = far.received[0].headers
    assert "authorization" not in headers and "x-team" not in headers
    assert "openai-organization" not in headers


async def test_an_endpoint_is_reached_by_the_address_that_was_checked(far: FarServer) -> None:
    async with extracting(f"http://models.internal:{far.port}/v1") as extract:
        _, ended = await answered(far, extract, MIT)
    assert ended.outcome is Outcome.SUCCEEDED
    assert far.received[0].headers["host"] == f"models.internal:{far.port}"


async def test_a_name_that_leads_to_a_metadata_service_is_refused(far: FarServer) -> None:
    async with extracting(
        f"http://models.internal:{far.port}/v1", addresses=["169.254.169.254"]
    ) as extract:
        ended = await extract.run(call())
    assert ended.error_type == "ai.not_configured"
    assert "HEADRACE_AI_BASE_URL" in ended.error_message and far.received == []


async def test_nothing_but_the_endpoint_is_reachable_through_this_client(far: FarServer) -> None:
    async with far_server() as other:
        transport = EndpointTransport(
            HostPort.normal("127.0.0.1", far.port), SecretText("k", KEY), resolve_by_system
        )
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get(far.url())
            for url in (other.url(), "https://example.com/"):
                with pytest.raises(EgressRefused, match="is not the endpoint"):
                    await client.get(url)
        assert len(far.received) == 1 and other.connections == 0


async def test_many_calls_share_a_few_connections(far: FarServer, extract: AiExtract) -> None:
    far.script = lambda received: completion({"licence": asked(received)["model"]})
    for name in ("a", "b", "c"):
        ended = await extract.run(call(model=name))
        assert json.dumps(ended.output) == json.dumps({"licence": name})
    assert len(far.received) == 3 and far.connections == 1
