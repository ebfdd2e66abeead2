"""A TCP proxy before a database that cuts a connection at the worst moment.

Doomed is the next thing that the client sends: it is lost, or stored without an answer, or held
back until the client has given up and done something else.
"""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from headrace_runtime.eventlog.memory import Fate

CHUNK_BYTES = 1 << 20


class CuttingProxy:
    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._fate = Fate.LANDS
        self._server: asyncio.Server | None = None
        self._held: list[tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._relays: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """DSN of the same database through this proxy."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{port}"))

    def doom(self, fate: Fate) -> None:
        self._fate = fate

    async def land_delayed(self) -> None:
        while self._held:
            chunk, reader, writer = self._held.pop(0)
            writer.write(chunk)
            assert await reader.read(CHUNK_BYTES), "the server answers what was held back"
            await _close(writer)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)
        for _, _, writer in self._held:
            await _close(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        answers = asyncio.create_task(_relay(upstream[0], writer))
        requests = asyncio.create_task(self._forward(reader, upstream, answers))
        self._relays |= {answers, requests}
        await asyncio.wait({answers, requests}, return_when=asyncio.FIRST_COMPLETED)
        await _close(writer)
        if not any(held is upstream[1] for _, _, held in self._held):
            await _close(upstream[1])

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        answers: asyncio.Task[None],
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            fate, self._fate = self._fate, Fate.LANDS
            if fate is Fate.LANDS:
                upstream[1].write(chunk)
                continue
            answers.cancel()
            await asyncio.wait({answers})
            if fate is Fate.ACK_LOST:
                upstream[1].write(chunk)
                await upstream[0].read(CHUNK_BYTES)
            elif fate is Fate.DELAYED:
                self._held.append((chunk, *upstream))
            return


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
