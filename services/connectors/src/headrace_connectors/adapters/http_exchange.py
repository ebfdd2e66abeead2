"""One HTTP request and its answer, through the egress guard, bounded in bytes."""

import ssl
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import httpx2

from headrace_connectors.app.ports import HttpAnswer, HttpFailed, HttpRequest
from headrace_core.errors import InvalidInput
from headrace_core.ids import TenantId
from headrace_runtime.egress import EgressGuard
from headrace_runtime.guarded_http import PORTS, GuardedTransport

CONNECT_S = 10.0
TENANTS_MAX = 256
ENCODINGS = "gzip, deflate"
_GZIP_OR_ZLIB = 47
# Reading and writing end with the attempt's own time.
_TIMEOUTS = {"connect": CONNECT_S, "pool": CONNECT_S, "read": None, "write": None}


class _Client:
    def __init__(self, transport: GuardedTransport) -> None:
        self.transport = transport
        self.open = 0


class HttpClients:
    """A pool of connections per tenant. No cookies, no proxies, no redirects."""

    def __init__(
        self, guard: EgressGuard, answer_bytes_max: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._guard = guard
        self._bytes_max = answer_bytes_max
        self._tls = tls or ssl.create_default_context()
        self._clients: OrderedDict[TenantId, _Client] = OrderedDict()

    async def exchange(
        self, tenant: TenantId, request: HttpRequest, sending: Callable[[], None]
    ) -> HttpAnswer:
        client = await self._client(tenant)
        sent = False

        async def trace(event: str, info: dict[str, Any]) -> None:
            nonlocal sent
            if event.endswith("send_request_headers.started"):
                sent = True
                sending()

        outgoing = _outgoing(request, trace)
        client.open += 1
        try:
            incoming = await client.transport.handle_async_request(outgoing)
            try:
                return await self._read(request.method, incoming)
            finally:
                await incoming.aclose()
        except httpx2.TransportError as fault:
            text = str(fault) or type(fault).__name__
            raise HttpFailed("network", f"{outgoing.url.host}: {text}", sent=sent) from fault
        finally:
            client.open -= 1

    async def close(self) -> None:
        for client in self._clients.values():
            await client.transport.aclose()
        self._clients.clear()

    async def _client(self, tenant: TenantId) -> _Client:
        client = self._clients.get(tenant)
        if client is None:
            transport = GuardedTransport(self._guard, tenant, self._tls)
            client = self._clients[tenant] = _Client(transport)
        self._clients.move_to_end(tenant)
        if len(self._clients) > TENANTS_MAX:
            idle = next((one for one, found in self._clients.items() if not found.open), tenant)
            if idle != tenant:
                await self._clients.pop(idle).transport.aclose()
        return client

    async def _read(self, method: str, incoming: httpx2.Response) -> HttpAnswer:
        headers = {name.lower(): value for name, value in incoming.headers.items()}
        decompress = _decompression(headers.get("content-encoding", ""))
        content, complete = bytearray(), True
        if method != "HEAD":
            assert isinstance(incoming.stream, httpx2.AsyncByteStream)
            async for part in incoming.stream:
                content += decompress(part, self._bytes_max + 1 - len(content))
                if len(content) > self._bytes_max:
                    del content[self._bytes_max :]
                    complete = False
                    break
        return HttpAnswer(
            status=incoming.status_code,
            reason=incoming.reason_phrase,
            headers=headers,
            content=bytes(content),
            complete=complete,
        )


def _outgoing(request: HttpRequest, trace: Callable[..., Any]) -> httpx2.Request:
    """Raises InvalidInput."""
    try:
        url = httpx2.URL(request.url)
        if url.scheme not in PORTS or not url.host:
            raise InvalidInput("The URL must be absolute, and http or https.")
        if url.userinfo:
            raise InvalidInput("The URL holds a login: put it into `auth` instead.")
        return httpx2.Request(
            request.method,
            url,
            headers=[*request.headers, ("accept-encoding", ENCODINGS)],
            content=request.content or None,
            extensions={"timeout": _TIMEOUTS, "trace": trace},
        )
    except httpx2.InvalidURL as fault:
        raise InvalidInput(f"The URL is not well formed: {fault}") from None


def _decompression(encoding: str) -> Callable[[bytes, int], bytes]:
    """From a part and a bound to what it holds: a small part may hold a thousand times its size."""
    match encoding.strip().lower():
        case "" | "identity":
            return lambda part, bound: part[:bound]
        case "gzip" | "x-gzip" | "deflate":
            inflating = zlib.decompressobj(_GZIP_OR_ZLIB)

            def inflate(part: bytes, bound: int) -> bytes:
                try:
                    return inflating.decompress(part, bound)
                except zlib.error:
                    raise HttpFailed(
                        "output.invalid", "The answer is not compressed as it says.", sent=True
                    ) from None

            return inflate
        case other:
            raise HttpFailed(
                "output.invalid",
                f"The answer is compressed as {other[:40]!r}, which nobody asked for.",
                sent=True,
            )
