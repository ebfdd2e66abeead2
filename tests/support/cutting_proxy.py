"""A TCP proxy that can lose what a server answers: its client never learns what happened."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 65_536


class CuttingProxy:
    """While armed, the next answer of the server is thrown away and the connection cut."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._armed = False
        self._serving: set[asyncio.Task[None]] = set()
        self.cuts = 0

    def lose_next_answer(self) -> None:
        self._armed = True

    async def serve(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        reader, writer = await asyncio.open_connection(self._host, self._port)
        asking = asyncio.create_task(_pass_on(client_reader, writer))
        try:
            while data := await reader.read(CHUNK_BYTES):
                if self._armed:
                    self._armed = False
                    self.cuts += 1
                    return
                client_writer.write(data)
                await client_writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            # Swallowed: asyncio reports a cancelled handler of a stream as a fault.
            return
        finally:
            self._serving.discard(task)
            asking.cancel()
            client_writer.close()
            writer.close()

    async def close(self) -> None:
        """For clients that keep their connections longer than the proxy lives."""
        for task in tuple(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return


@asynccontextmanager
async def cutting_proxy(dsn: str) -> AsyncGenerator[tuple[str, CuttingProxy]]:
    """The DSN through the proxy, and the proxy."""
    parts = urlsplit(dsn)
    proxy = CuttingProxy(parts.hostname or "127.0.0.1", parts.port or 5432)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    login, at, _ = parts.netloc.rpartition("@")
    through = urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{port}"))
    try:
        yield through, proxy
    finally:
        server.close()
        await proxy.close()
