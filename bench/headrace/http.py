"""A load generator's HTTP client: keep-alive connections and nothing that costs without need."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

CONNECTIONS = 32


@dataclass(slots=True)
class HttpClient:
    """A pool of connections to one address; each request takes one and gives it back."""

    base: str
    api_key: str
    _free: "asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None]" = field(
        init=False
    )

    def __post_init__(self) -> None:
        self._free = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self._free.put_nowait(None)

    async def send(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """(status, body). Raises ConnectionError when the server is gone."""
        connection = await self._free.get()
        try:
            if connection is None:
                parts = urlsplit(self.base)
                connection = await asyncio.open_connection(parts.hostname, parts.port)
            reader, writer = connection
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: bench\r\n"
                f"Authorization: Bearer {self.api_key}\r\n"
                f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await _read_answer(reader)
        except BaseException:
            self._free.put_nowait(None)
            raise
        self._free.put_nowait(connection)
        return answer

    async def call(self, method: str, path: str, document: Any = None) -> Any:
        """JSON in, JSON out. Raises RuntimeError for an error status."""
        body = b"" if document is None else json.dumps(document).encode()
        status, answer = await self.send(method, path, body)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer.decode()[:500]}")
        return json.loads(answer) if answer else None


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    length = 0
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    body = await reader.readexactly(length) if length else b""
    return int(lines[0].split()[1]), body
