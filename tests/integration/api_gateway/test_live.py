"""The WebSocket: events from a number on, then live, without gap or repeat."""

import asyncio
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.integration.api_gateway.conftest import Gateway

pytestmark = pytest.mark.postgres

RUN = "run_0g0jq8a1b2c3d4e5f6g7h8"


def live(gateway: Gateway, key: str = "", after: object = 0) -> connect:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    url = f"ws://{gateway.address}/v1/runs/{RUN}/live?after={after}"
    return connect(url, additional_headers=headers)


async def heard(socket: ClientConnection, count: int) -> list[int]:
    """Sequences of the next so many events."""
    sequences: list[int] = []
    while len(sequences) < count:
        message: dict[str, Any] = orjson.loads(await socket.recv())
        sequences += [event["sequence"] for event in message["events"]]
    return sequences


async def close_code(socket: ClientConnection) -> int | None:
    await socket.wait_closed()
    return socket.close_code


async def test_what_was_and_what_comes_is_heard_to_the_end(gateway: Gateway) -> None:
    key = await gateway.key("acme", "viewer")
    run = gateway.history.add(RUN, "acme")
    async with live(gateway, key) as socket:
        assert await heard(socket, 1) == [1]
        run.add("StepSucceeded")
        assert await heard(socket, 1) == [2]
        run.end()
        assert await heard(socket, 1) == [3]
        assert await close_code(socket) == 1000


async def test_a_client_that_was_cut_goes_on_where_it_was(gateway: Gateway) -> None:
    key = await gateway.key("acme", "viewer")
    run = gateway.history.add(RUN, "acme")
    for _ in range(5):
        run.add("StepSucceeded")
    async with live(gateway, key) as socket:
        first = await heard(socket, 3)
    run.end()
    async with live(gateway, key, after=first[-1]) as socket:
        rest = await heard(socket, 7 - len(first))
    assert first + rest == [1, 2, 3, 4, 5, 6, 7]


async def test_a_history_that_restarts_is_not_noticed(gateway: Gateway) -> None:
    key = await gateway.key("acme", "viewer")
    run = gateway.history.add(RUN, "acme")
    for _ in range(8):
        run.add("StepSucceeded")
    gateway.history.cut_after_events = 3
    run.end()
    async with live(gateway, key) as socket:
        assert await heard(socket, 10) == list(range(1, 11))


async def test_the_key_may_come_as_the_first_message(gateway: Gateway) -> None:
    key = await gateway.key("acme", "viewer")
    gateway.history.add(RUN, "acme")
    async with live(gateway) as socket:
        await socket.send(orjson.dumps({"key": key}).decode())
        assert await heard(socket, 1) == [1]


@pytest.mark.parametrize("said", ["{}", "no json", '{"key": "hr_live_x"}', '{"key": 7}'])
async def test_a_first_message_without_a_key_ends_the_connection(
    gateway: Gateway, said: str
) -> None:
    gateway.history.add(RUN, "acme")
    async with live(gateway) as socket:
        await socket.send(said)
        assert await close_code(socket) == 4401


async def test_an_unknown_run_ends_the_connection(gateway: Gateway) -> None:
    key = await gateway.key("acme", "viewer")
    async with live(gateway, key) as socket:
        assert await close_code(socket) == 4404
        assert "HR-2003" in (socket.close_reason or "")


async def test_a_number_that_is_none_ends_the_connection(gateway: Gateway) -> None:
    key = await gateway.key("acme", "viewer")
    gateway.history.add(RUN, "acme")
    async with live(gateway, key, after="first") as socket:
        assert await close_code(socket) == 4422


async def test_a_client_that_leaves_ends_its_subscription(gateway: Gateway) -> None:
    key = await gateway.key("acme", "viewer")
    gateway.history.add(RUN, "acme")
    async with live(gateway, key) as socket:
        await heard(socket, 1)
        assert gateway.history.following == 1
    async with asyncio.timeout(10):
        await gateway.history.left.wait()
    assert gateway.history.following == 0
