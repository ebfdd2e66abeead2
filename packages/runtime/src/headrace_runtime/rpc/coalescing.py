"""Natural batching on a stream: whatever gathered while the last write was in flight goes into
the next message. No timer, so an idle stream adds no latency and a busy one gets cheaper.

A gRPC message costs some 70 CPU-us at each end and an item in it four or five, so this is where
the throughput of every stream between services comes from.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Generic, TypeVar

from headrace_core.errors import TooLarge, Unavailable
from headrace_runtime.metrics import STREAM_ITEMS, STREAM_MESSAGES
from headrace_runtime.rpc.limits import MESSAGE_BYTES_MAX

MESSAGE_BYTES = 900_000
MESSAGE_ITEMS = 512
"""Bounds how long the other side is busy with one message."""
BUFFER_ITEMS = 16_384
BUFFER_BYTES = 32 * 1024 * 1024
FRAME_BYTES = 1_024
"""Room for what a message holds beside its items."""

Item = TypeVar("Item")
Message = TypeVar("Message")
Incoming = TypeVar("Incoming")


class Outgoing(Generic[Item, Message]):
    """The sending half of one stream: many put, one task writes.

    `pack` makes one message of items in the order they were put; `size` is an item's bytes on the
    wire. With generated messages: `WorkResponse.tasks.extend` in the first, `ByteSize` as the
    second (joining serialised items was measured: no cheaper). Messages stay below
    `message_bytes` unless one item alone is larger.
    """

    def __init__(
        self,
        name: str,
        pack: Callable[[list[Item]], Message],
        size: Callable[[Item], int],
        *,
        buffer_items: int = BUFFER_ITEMS,
        buffer_bytes: int = BUFFER_BYTES,
        message_items: int = MESSAGE_ITEMS,
        message_bytes: int = MESSAGE_BYTES,
    ) -> None:
        """`name` is the stream's in metrics and errors, one per kind of stream."""
        self.name = name
        self._pack = pack
        self._size = size
        self._buffer_items = buffer_items
        self._buffer_bytes = buffer_bytes
        self._message_items = message_items
        self._message_bytes = message_bytes
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._writer: asyncio.Future[None] | None = None
        self._turns = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, item: Item) -> None:
        """Queue without waiting.

        Raises Unavailable when the stream is closed or its buffer full: the other side does not
        read, and whoever has no credit scheme of his own should use `put_when_room`. Raises
        TooLarge for what gRPC would refuse.
        """
        size = self._size(item)
        if self._closed:
            raise Unavailable(f"Stream {self.name} is closed. Try again when it is connected.")
        if size > MESSAGE_BYTES_MAX - FRAME_BYTES:
            raise TooLarge(
                f"One item of {size} bytes does not fit into stream {self.name}, whose messages "
                f"hold at most {MESSAGE_BYTES_MAX}. Send large values by reference."
            )
        if not self._fits(size):
            raise Unavailable(
                f"Stream {self.name} holds {len(self._items)} items that the other side has not "
                "taken yet. Try again."
            )
        self._items.append((item, size))
        self._bytes += size
        _wake(self._writer)

    async def put_when_room(self, item: Item) -> None:
        """`put` that waits for room instead: backpressure reaches the caller, first come first
        served. Raises Unavailable when the stream closes meanwhile."""
        size = self._size(item)
        if self._turns.locked() or not self._fits(size):
            async with self._turns:
                while not self._closed and not self._fits(size):
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
                self.put(item)
        else:
            self.put(item)

    def close(self) -> None:
        """Nothing more comes; `write_all` returns when the rest is written."""
        self._closed = True
        _wake(self._writer)
        _wake(self._room)

    def abandon(self) -> list[Item]:
        """Close and take out what was never written, for whoever sends it another way."""
        left = [item for item, _ in self._items]
        self._items.clear()
        self._bytes = 0
        self.close()
        return left

    async def write_all(self, write: Callable[[Message], Awaitable[object]]) -> None:
        """The one writer: until `close`, or until `write` raises, which closes the stream.

        What `write` failed on may or may not have arrived; the stream's protocol must know how
        to repeat it.
        """
        messages, items = STREAM_MESSAGES.of(self.name), STREAM_ITEMS.of(self.name)
        try:
            while True:
                if not self._items:
                    if self._closed:
                        return
                    self._writer = asyncio.get_running_loop().create_future()
                    await self._writer
                    continue
                batch = self._take()
                await write(self._pack(batch))
                messages.inc()
                items.inc(len(batch))
        finally:
            self.close()

    def _take(self) -> list[Item]:
        batch: list[Item] = []
        taken_bytes = 0
        queue, bytes_max = self._items, self._message_bytes
        while queue and len(batch) < self._message_items:
            size = queue[0][1]
            if batch and taken_bytes + size > bytes_max:
                break
            batch.append(queue.popleft()[0])
            taken_bytes += size
        self._bytes -= taken_bytes
        _wake(self._room)
        return batch

    def _fits(self, size: int) -> bool:
        if not self._items:
            return True
        return len(self._items) < self._buffer_items and self._bytes + size <= self._buffer_bytes


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


async def converse(
    outgoing: Outgoing[Item, Message],
    write: Callable[[Message], Awaitable[object]],
    incoming: AsyncIterable[Incoming],
    receive: Callable[[Incoming], Awaitable[None]],
) -> None:
    """Both directions of one stream, at either end, until the other side ends its half.

    Then what is queued is still written. Ends with the first error of either direction; the
    outgoing half is closed in any case. A client calls `done_writing` afterwards.
    """
    writer = asyncio.create_task(outgoing.write_all(write), name=f"{outgoing.name} writer")
    reader = asyncio.create_task(_read_all(incoming, receive), name=f"{outgoing.name} reader")
    try:
        await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
        if reader.done() and reader.exception() is None:
            outgoing.close()
            await writer
        elif writer.done() and (
            writer.exception() is None or isinstance(writer.exception(), asyncio.InvalidStateError)
        ):
            # Closed by us: what the other side still says is taken until it ends too. Or gRPC
            # refused to write because the call is over: only the reader is told why.
            await reader
    finally:
        outgoing.close()
        for task in (writer, reader):
            task.cancel()
        ended = await asyncio.gather(reader, writer, return_exceptions=True)
    for fault in ended:
        if isinstance(fault, Exception):
            raise fault


async def _read_all(
    incoming: AsyncIterable[Incoming], receive: Callable[[Incoming], Awaitable[None]]
) -> None:
    async for message in incoming:
        await receive(message)
