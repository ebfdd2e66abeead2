"""The far side of a campaign: a process that takes each call, writes it down raw, and is slow.

It keeps idempotency keys as careful services do: the first call with a key acts, a repeat gets
the first's receipt and does nothing. A call without key always acts. `?nap_ms=` is how long it
takes after it has acted; `?refuse_first=1` refuses the first call of a key before it acts.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.chaos.journal import Journal

HEAD_BYTES_MAX = 64 * 1024
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class RawRequest:
    method: str
    target: str
    headers: Mapping[str, str]
    body: str


class Receiver:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._numbers = 0
        self._receipts = 0
        self._receipt_of: dict[str, int] = {}
        self._refused: set[str] = set()
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which may carry many requests."""
        try:
            while (request := await read_request(reader)) is not None:
                status, answer = await self._answer(request)
                body = json.dumps(answer).encode()
                head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
                head += f"content-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _answer(self, request: RawRequest) -> tuple[int, Mapping[str, object]]:
        parts = urlsplit(request.target)
        if parts.path == "/open":
            return 200, {"open": self._open, "requests": self._numbers}
        query = parse_qs(parts.query)
        self._numbers += 1
        number = self._numbers
        key = request.headers.get("idempotency-key", "")
        refused = bool(key) and "refuse_first" in query and key not in self._refused
        receipt, performed = (0, False) if refused else self._act(key)
        self._refused.add(key)
        self._journal.write(
            number=number,
            method=request.method,
            target=request.target,
            headers=request.headers,
            body=request.body,
            performed=performed,
            receipt=receipt,
        )
        self._open += 1
        try:
            await asyncio.sleep(int(query.get("nap_ms", ["0"])[0]) / 1_000)
        finally:
            self._open -= 1
        if refused:
            return 503, {"refused": number}
        return 200, {"receipt": receipt}

    def _act(self, key: str) -> tuple[int, bool]:
        if key and key in self._receipt_of:
            return self._receipt_of[key], False
        self._receipts += 1
        if key:
            self._receipt_of[key] = self._receipts
        return self._receipts, True


async def read_request(reader: asyncio.StreamReader) -> RawRequest | None:
    """None at the end of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = b""
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    elif length := int(headers.get("content-length", "0")):
        body = await reader.readexactly(length)
    return RawRequest(method, target, headers, body.decode("utf-8", "replace"))


async def serve(log: Path) -> None:
    """Prints the port once it listens, and serves until the process is ended."""
    with Journal(log) as journal:
        receiver = Receiver(journal)
        server = await asyncio.start_server(receiver.serve, HOST, 0, limit=HEAD_BYTES_MAX)
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    asyncio.run(serve(parser.parse_args().log))
