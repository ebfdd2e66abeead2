"""An HTTP server of the test's own, as the far side: answers by a script, keeps what it got."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Received:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    reader: asyncio.StreamReader = field(repr=False, compare=False)

    async def client_gone(self) -> None:
        while await self.reader.read(1):
            pass


@dataclass(frozen=True)
class Answer:
    """`cut` closes the connection in place of an answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    cut: bool = False


Script = Callable[[Received], Answer | Awaitable[Answer]]


class FarServer:
    def __init__(self) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.script: Script = lambda _: Answer()
        self.port = 0
        self._serving: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while (request := await _read(reader)) is not None:
                self.received.append(request)
                self.asked.set()
                answer = self.script(request)
                if not isinstance(answer, Answer):
                    answer = await answer
                if answer.cut:
                    return
                writer.write(_text(answer, request))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            # Swallowed: asyncio reports a cancelled handler of a stream as a fault.
            return
        finally:
            self._serving.discard(task)
            writer.close()

    async def close(self) -> None:
        for task in tuple(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body, reader)


def _text(answer: Answer, request: Received) -> bytes:
    headers = {"content-length": str(len(answer.body)), **answer.headers}
    lines = [f"HTTP/1.1 {answer.status} Said", *(f"{n}: {v}" for n, v in headers.items())]
    body = b"" if request.method == "HEAD" else answer.body
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@asynccontextmanager
async def far_server() -> AsyncGenerator[FarServer]:
    """On 127.0.0.1, at a free port."""
    far = FarServer()
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    far.port = server.sockets[0].getsockname()[1]
    try:
        yield far
    finally:
        server.close()
        await far.close()
