"""What gathers while a write is in flight goes into the next message, in order, within bounds."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace_core.errors import TooLarge, Unavailable
from headrace_runtime.rpc.coalescing import Outgoing, converse


class Wire:
    """A stream whose writes end when the test lets them."""

    def __init__(self) -> None:
        self.messages: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, message: list[str]) -> None:
        self.messages.append(message)
        await self.gate.wait()


class BrokenWire(Wire):
    async def write(self, message: list[str]) -> None:
        raise ConnectionError("reset")


def outgoing(**bounds: int) -> Outgoing[str, list[str]]:
    return Outgoing("test", list, len, **bounds)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_items_of_one_loop_pass_are_one_message() -> None:
    wire, out = Wire(), outgoing()
    writer = asyncio.create_task(out.write_all(wire.write))
    await settle()
    for item in ("a", "b", "c"):
        out.put(item)
    out.close()
    await writer
    assert wire.messages == [["a", "b", "c"]]


async def test_what_gathers_during_a_write_is_the_next_message() -> None:
    wire, out = Wire(), outgoing()
    wire.gate.clear()
    writer = asyncio.create_task(out.write_all(wire.write))
    out.put("a")
    await settle()
    for item in ("b", "c"):
        out.put(item)
        await settle()
    assert wire.messages == [["a"]]
    wire.gate.set()
    out.close()
    await writer
    assert wire.messages == [["a"], ["b", "c"]]


async def test_a_message_holds_at_most_its_number_of_items() -> None:
    wire, out = Wire(), outgoing(message_items=2)
    for item in "abcde":
        out.put(item)
    out.close()
    await out.write_all(wire.write)
    assert wire.messages == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_message_stays_below_its_bytes_but_for_one_large_item() -> None:
    wire, out = Wire(), outgoing(message_bytes=10)
    for size in (4, 4, 4, 20, 1):
        out.put("x" * size)
    out.close()
    await out.write_all(wire.write)
    assert [[len(item) for item in message] for message in wire.messages] == [
        [4, 4],
        [4],
        [20],
        [1],
    ]


async def test_a_full_buffer_refuses_and_says_so() -> None:
    out = outgoing(buffer_items=2)
    out.put("a")
    out.put("b")
    with pytest.raises(Unavailable, match="holds 2 items"):
        out.put("c")
    assert len(out) == 2


async def test_the_buffer_is_bounded_in_bytes_too() -> None:
    out = outgoing(buffer_bytes=10)
    out.put("x" * 8)
    with pytest.raises(Unavailable):
        out.put("x" * 3)
    out.put("xx")


async def test_an_item_that_no_message_can_hold_is_too_large() -> None:
    with pytest.raises(TooLarge, match="by reference"):
        outgoing().put("x" * 17_000_000)


async def test_those_who_wait_for_room_come_in_the_order_they_asked() -> None:
    wire, out = Wire(), outgoing(buffer_items=1, message_items=1)
    out.put("a")
    waiting = [asyncio.create_task(out.put_when_room(item)) for item in "bcd"]
    await settle()
    assert not any(task.done() for task in waiting)
    writer = asyncio.create_task(out.write_all(wire.write))
    await asyncio.gather(*waiting)
    out.close()
    await writer
    assert wire.messages == [["a"], ["b"], ["c"], ["d"]]


async def test_one_who_stops_waiting_does_not_block_the_next() -> None:
    wire, out = Wire(), outgoing(buffer_items=1)
    out.put("a")
    first, second = (asyncio.create_task(out.put_when_room(item)) for item in "bc")
    await settle()
    first.cancel()
    writer = asyncio.create_task(out.write_all(wire.write))
    await second
    out.close()
    await writer
    assert wire.messages == [["a"], ["c"]]


async def test_a_closed_stream_takes_nothing_and_frees_who_waits() -> None:
    out = outgoing(buffer_items=1)
    out.put("a")
    waiting = asyncio.create_task(out.put_when_room("b"))
    await settle()
    out.close()
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    with pytest.raises(Unavailable, match="closed"):
        out.put("c")


async def test_a_failed_write_closes_the_stream() -> None:
    out = outgoing()
    out.put("a")
    with pytest.raises(ConnectionError):
        await out.write_all(BrokenWire().write)
    assert out.closed


async def test_what_was_never_written_can_be_taken_back() -> None:
    wire, out = Wire(), outgoing(message_items=1)
    wire.gate.clear()
    for item in "abc":
        out.put(item)
    writer = asyncio.create_task(out.write_all(wire.write))
    await settle()
    assert out.abandon() == ["b", "c"]
    wire.gate.set()
    await writer
    assert wire.messages == [["a"]]


class OtherSide:
    """What a test says on the incoming half."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[str | Exception | None] = asyncio.Queue()

    async def messages(self) -> AsyncIterator[str]:
        while (message := await self.said.get()) is not None:
            if isinstance(message, Exception):
                raise message
            yield message


async def test_when_the_other_side_ends_what_is_queued_is_still_written() -> None:
    wire, out, other, heard = Wire(), outgoing(), OtherSide(), list[str]()

    async def receive(message: str) -> None:
        heard.append(message)
        out.put(f"re: {message}")

    for message in ("x", "y", None):
        other.said.put_nowait(message)
    await converse(out, wire.write, other.messages(), receive)
    assert heard == ["x", "y"]
    assert [item for message in wire.messages for item in message] == ["re: x", "re: y"]
    assert out.closed


@pytest.mark.parametrize("wire_breaks", [True, False])
async def test_either_direction_that_breaks_ends_both(*, wire_breaks: bool) -> None:
    out, other = outgoing(), OtherSide()
    wire = BrokenWire() if wire_breaks else Wire()

    async def receive(message: str) -> None:
        out.put(message)

    other.said.put_nowait("x" if wire_breaks else ConnectionError("reset"))
    with pytest.raises(ConnectionError):
        await converse(out, wire.write, other.messages(), receive)
    assert out.closed
    assert len(asyncio.all_tasks()) == 1


async def test_after_our_own_close_the_other_side_is_heard_to_its_end() -> None:
    wire, out, other, heard = Wire(), outgoing(), OtherSide(), list[str]()

    async def receive(message: str) -> None:
        heard.append(message)

    talking = asyncio.create_task(converse(out, wire.write, other.messages(), receive))
    await settle()
    out.close()
    await settle()
    other.said.put_nowait("last word")
    other.said.put_nowait(None)
    await talking
    assert heard == ["last word"]
