"""The receiver of a campaign acts once per key and writes down what came in."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from tests.chaos.journal import Journal
from tests.chaos.receiver import HOST, Receiver
from tests.invariants.witnesses import Request, requests_of


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "requests.jsonl"


async def posted(log: Path, *keys: str, query: str = "") -> list[httpx.Response]:
    """One call per key, one after the other; an empty key is none."""
    with Journal(log) as journal:
        server = await asyncio.start_server(Receiver(journal).serve, HOST, 0)
        port = server.sockets[0].getsockname()[1]
        async with server, httpx.AsyncClient(base_url=f"http://{HOST}:{port}") as client:
            return [
                await client.post(
                    f"/effect?{query}",
                    json={"run": "run_1", "step": "pay"},
                    headers={"idempotency-key": key} if key else {},
                )
                for key in keys
            ]


def written(log: Path) -> list[Request]:
    return list(requests_of(log.read_bytes().splitlines()))


async def test_a_repeated_key_acts_once_and_gets_the_first_receipt(log: Path) -> None:
    answers = await posted(log, "a", "a", "b")
    assert [answer.json()["receipt"] for answer in answers] == [1, 1, 2]
    seen = written(log)
    assert [(call.key, call.performed, call.receipt) for call in seen] == [
        ("a", True, 1),
        ("a", False, 1),
        ("b", True, 2),
    ]
    assert {(call.run, call.step) for call in seen} == {("run_1", "pay")}


async def test_a_call_without_key_always_acts(log: Path) -> None:
    answers = await posted(log, "", "")
    assert [answer.json()["receipt"] for answer in answers] == [1, 2]
    assert all(call.performed for call in written(log))


async def test_a_first_call_can_be_refused_before_it_acts(log: Path) -> None:
    answers = await posted(log, "a", "a", "a", query="refuse_first=1")
    assert [answer.status_code for answer in answers] == [503, 200, 200]
    assert [call.performed for call in written(log)] == [
        False,
        True,
        False,
    ]


def test_the_log_holds_a_request_raw(log: Path) -> None:
    asyncio.run(posted(log, "a", query="nap_ms=1"))
    raw = json.loads(log.read_bytes())
    assert (raw["method"], raw["target"]) == ("POST", "/effect?nap_ms=1")
    assert raw["headers"]["idempotency-key"] == "a"
    assert json.loads(raw["body"]) == {"run": "run_1", "step": "pay"}
