"""http.* against a real server: what is sent, and in which word each answer ends."""

import asyncio
import gzip
from typing import Any

import grpc
import pytest

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace_core.workflow.builtin_actions import HTTP_ACTIONS
from tests.integration.connectors.conftest import ANSWER_BYTES_MAX, Connectors, output_of
from tests.support.far_server import Answer, FarServer, Received

pytestmark = pytest.mark.postgres

TEXT = {"content-type": "text/plain"}


async def test_a_get_brings_status_headers_and_the_json_body(
    connectors: Connectors, reachable: FarServer
) -> None:
    reachable.script = lambda _: Answer(
        body=b'{"name": "Ada"}',
        headers={"content-type": "application/json", "set-cookie": "session=1", "x-page": "2"},
    )
    given = {"url": reachable.url("/people?sort=name"), "query": {"page": 2, "tag": ["a", "b"]}}
    output = output_of(await connectors.invoke("http.get", given))
    assert (output["status"], output["body"]) == (200, {"name": "Ada"})
    assert output["headers"]["x-page"] == "2"
    assert "set-cookie" not in output["headers"]
    assert reachable.received[0].target == "/people?sort=name&page=2&tag=a&tag=b"
    assert reachable.received[0].headers["host"] == f"127.0.0.1:{reachable.port}"


async def test_a_post_carries_json_and_the_idempotency_key(
    connectors: Connectors, reachable: FarServer
) -> None:
    given = {"url": reachable.url(), "body": {"amount": 3}, "auth": "token-of-acme"}
    messages = await connectors.messages("http.post", given, idempotency_key="run/step")
    assert [message.WhichOneof("message") for message in messages] == ["progress", "outcome"]
    sent = reachable.received[0]
    assert (sent.body, sent.headers["content-type"]) == (b'{"amount":3}', "application/json")
    assert sent.headers["idempotency-key"] == "run/step"
    assert sent.headers["authorization"] == "Bearer token-of-acme"


@pytest.mark.parametrize(
    ("body", "headers", "sent"),
    [
        ("plain words", {}, b"plain words"),
        ("plain", {"content-type": "application/json"}, b'"plain"'),
        ({"a": "b c"}, {"content-type": "application/x-www-form-urlencoded"}, b"a=b+c"),
        ([1, 2], {}, b"[1,2]"),
        (None, {}, b"null"),
    ],
)
async def test_a_body_is_sent_as_its_header_says(
    connectors: Connectors,
    reachable: FarServer,
    body: object,
    headers: dict[str, str],
    sent: bytes,
) -> None:
    given = {"url": reachable.url(), "body": body, "headers": headers}
    output_of(await connectors.invoke("http.put", given))
    assert reachable.received[0].body == sent


@pytest.mark.parametrize("action", [one.name for one in HTTP_ACTIONS])
async def test_every_method_is_used(
    connectors: Connectors, reachable: FarServer, action: str
) -> None:
    output_of(await connectors.invoke(action, {"url": reachable.url()}))
    assert reachable.received[0].method == action.removeprefix("http.").upper()


@pytest.mark.parametrize(
    ("action", "key", "status", "word", "acted"),
    [
        ("http.get", "", 401, pb.WORD_AUTH_EXPIRED, False),
        ("http.get", "", 404, pb.WORD_PERMANENT, False),
        ("http.get", "", 408, pb.WORD_RETRY, False),
        ("http.get", "", 429, pb.WORD_RATE_LIMITED, False),
        ("http.get", "", 503, pb.WORD_RETRY, False),
        ("http.get", "", 501, pb.WORD_PERMANENT, False),
        ("http.post", "key", 429, pb.WORD_RATE_LIMITED, False),
        ("http.post", "key", 503, pb.WORD_RETRY, True),
        ("http.post", "", 503, pb.WORD_UNKNOWN_OUTCOME, True),
        ("http.post", "", 422, pb.WORD_PERMANENT, False),
        ("http.delete", "key", 500, pb.WORD_RETRY, True),
        ("http.delete", "", 500, pb.WORD_UNKNOWN_OUTCOME, True),
    ],
)
async def test_a_status_becomes_a_word(
    connectors: Connectors,
    reachable: FarServer,
    action: str,
    key: str,
    status: int,
    word: int,
    *,
    acted: bool,
) -> None:
    reachable.script = lambda _: Answer(status, b"because so", {**TEXT, "retry-after": "7"})
    outcome = await connectors.invoke(action, {"url": reachable.url()}, idempotency_key=key)
    assert (outcome.word, outcome.may_have_acted) == (word, acted)
    assert "because so" in outcome.error_message
    if word != pb.WORD_UNKNOWN_OUTCOME:
        assert outcome.error_type == f"http.{status}"
    if status in (429, 503) and word != pb.WORD_UNKNOWN_OUTCOME:
        assert outcome.retry_after_ms == 7_000


async def test_a_connection_that_breaks_after_the_request_leaves_a_write_unknown(
    connectors: Connectors, reachable: FarServer
) -> None:
    reachable.script = lambda _: Answer(cut=True)
    url = {"url": reachable.url()}
    read = await connectors.invoke("http.get", url)
    assert (read.word, read.error_type, read.may_have_acted) == (pb.WORD_RETRY, "network", False)
    keyed = await connectors.invoke("http.post", url, idempotency_key="k")
    assert (keyed.word, keyed.may_have_acted) == (pb.WORD_RETRY, True)
    plain = await connectors.invoke("http.post", url)
    assert (plain.word, plain.may_have_acted) == (pb.WORD_UNKNOWN_OUTCOME, True)


async def test_where_nobody_listens_nothing_was_done(
    connectors: Connectors, unused_tcp_port: int
) -> None:
    await connectors.allow("127.0.0.1", unused_tcp_port)
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    messages = await connectors.messages("http.post", {"url": url})
    outcome = messages[-1].outcome
    assert len(messages) == 1
    assert (outcome.word, outcome.error_type) == (pb.WORD_RETRY, "network")
    assert not outcome.may_have_acted


async def test_an_attempt_ends_with_its_time(connectors: Connectors, reachable: FarServer) -> None:
    async def never(_: object) -> Answer:
        await asyncio.Event().wait()
        return Answer()

    reachable.script = never
    read = await connectors.invoke("http.get", {"url": reachable.url()}, timeout_ms=100)
    assert (read.word, read.error_type) == (pb.WORD_RETRY, "timeout.attempt")
    write = await connectors.invoke("http.post", {"url": reachable.url()}, timeout_ms=100)
    assert write.word == pb.WORD_UNKNOWN_OUTCOME


async def test_cancelling_the_call_closes_the_connection(
    connectors: Connectors, reachable: FarServer
) -> None:
    left = asyncio.Event()

    async def until_left(sent: Received) -> Answer:
        await sent.client_gone()
        left.set()
        return Answer(cut=True)

    reachable.script = until_left
    call = connectors.stub.Invoke(
        pb.InvokeRequest(
            tenant="acme",
            action="http.get",
            input=b'{"url": "%s"}' % reachable.url().encode(),
        )
    )
    reading = asyncio.ensure_future(call.read())
    await reachable.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await call.code() == grpc.StatusCode.CANCELLED
    await left.wait()


async def test_more_attempts_than_may_run_are_told_to_wait(
    connectors: Connectors, reachable: FarServer
) -> None:
    go = asyncio.Event()
    all_there = asyncio.Event()

    async def wait(_: object) -> Answer:
        if len(reachable.received) == 5:
            all_there.set()
        await go.wait()
        return Answer()

    reachable.script = wait
    url = {"url": reachable.url()}
    running = [asyncio.ensure_future(connectors.invoke("http.get", url)) for _ in range(5)]
    await all_there.wait()
    outcome = await connectors.invoke("http.get", url)
    assert (outcome.word, outcome.error_type) == (pb.WORD_RETRY, "connectors.busy")
    go.set()
    assert {one.word for one in await asyncio.gather(*running)} == {pb.WORD_SUCCESS}


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    connectors: Connectors, reachable: FarServer
) -> None:
    reachable.script = lambda _: Answer(body=b"x" * (ANSWER_BYTES_MAX + 1), headers=TEXT)
    read = await connectors.invoke("http.get", {"url": reachable.url()})
    assert (read.word, read.error_type) == (pb.WORD_PERMANENT, "output.invalid")
    write = await connectors.invoke("http.post", {"url": reachable.url()}, idempotency_key="k")
    assert write.word == pb.WORD_UNKNOWN_OUTCOME


async def test_a_small_answer_that_unpacks_to_a_large_one_is_refused(
    connectors: Connectors, reachable: FarServer
) -> None:
    packed = {**TEXT, "content-encoding": "gzip"}
    reachable.script = lambda _: Answer(body=gzip.compress(bytes(50_000_000)), headers=packed)
    outcome = await connectors.invoke("http.get", {"url": reachable.url()})
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "output.invalid")
    reachable.script = lambda _: Answer(body=gzip.compress(b"small"), headers=packed)
    assert output_of(await connectors.invoke("http.get", {"url": reachable.url()}))["body"] == (
        "small"
    )


async def test_json_that_is_none_may_pass_for_a_read(
    connectors: Connectors, reachable: FarServer
) -> None:
    reachable.script = lambda _: Answer(body=b'{"cut": ')
    read = await connectors.invoke("http.get", {"url": reachable.url()})
    assert (read.word, read.error_type) == (pb.WORD_RETRY, "output.invalid")


async def test_a_value_of_a_secret_comes_back_masked(
    connectors: Connectors, reachable: FarServer
) -> None:
    await connectors.set_secret("api_token", "very-secret-token")
    reachable.script = lambda sent: Answer(
        status=200 if sent.target == "/ok" else 403,
        body=b'{"you": "%s"}' % sent.headers["authorization"].encode(),
    )
    given: dict[str, Any] = {"url": reachable.url("/ok"), "auth": "very-secret-token"}
    known = ["api_token"]
    output = output_of(await connectors.invoke("http.get", given, secret_names=known))
    assert output["body"] == {"you": "Bearer ***"}
    given["url"] = reachable.url("/refused")
    refused = await connectors.invoke("http.get", given, secret_names=known)
    assert "***" in refused.error_message
    assert "very-secret-token" not in refused.error_message
    header = {"url": reachable.url("/ok"), "headers": {"authorization": "very-secret-token"}}
    output = output_of(await connectors.invoke("http.get", header, secret_names=known))
    assert output["body"] == {"you": "***"}
    assert not any(b"very-secret-token" in line for line in connectors.logged)


async def test_a_secret_that_is_not_there_needs_somebody_to_set_it(
    connectors: Connectors, reachable: FarServer
) -> None:
    outcome = await connectors.invoke(
        "http.get", {"url": reachable.url()}, secret_names=["missing"]
    )
    assert (outcome.word, outcome.error_type) == (pb.WORD_AUTH_EXPIRED, "auth")
    assert "headrace secrets set missing" in outcome.error_message
    assert reachable.received == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "url: Field required"),
        ({"url": "ftp://example.com/"}, "http or https"),
        ({"url": "/relative"}, "absolute"),
        ({"url": "http://user:pass@example.com/"}, "login"),
        ({"url": "http://example.com/", "headers": {"host": "other"}}, "set by Headrace"),
        ({"url": "http://example.com/", "headers": {"x": "a\r\nb: c"}}, "characters"),
        ({"url": "http://example.com/", "headers": {"a b": "c"}}, "not the name"),
        ({"url": "http://example.com/", "auth": "two words"}, "auth:"),
        ({"url": "http://example.com/", "auth": "a", "headers": {"Authorization": "b"}}, "one of"),
        ({"url": "http://example.com/", "body": 1}, "body: Extra inputs"),
        ({"url": "http://2130706433/"}, "not a host"),
        ([], "not a JSON object"),
    ],
)
async def test_input_that_does_not_fit_is_refused_before_anything_is_done(
    connectors: Connectors, given: object, said: str
) -> None:
    messages = await connectors.messages("http.get", given)
    outcome = messages[-1].outcome
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "input.invalid")
    assert said in outcome.error_message
    assert len(messages) == 1
