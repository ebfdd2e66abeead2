"""HTTP clients whose every connection the egress guard has checked (httpx2 over httpcore2).

The pool underneath asks this backend for a connection to a host; the backend connects to a checked
address, while TLS still verifies the host's name and the Host header still carries it. No proxy of
the environment, no redirect by itself, no retry.
"""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, cast

import httpcore2
import httpx2

from headrace_core.errors import Unavailable
from headrace_core.ids import TenantId
from headrace_runtime.egress import HTTP_PORTS, EgressGuard, HostPort

CONNECTIONS_MAX = 64
KEPT_ALIVE_MAX = 16
KEPT_ALIVE_S = 15.0
PORTS = {"http": 80, "https": 443}


class GuardedTransport(httpx2.AsyncBaseTransport):
    """For `httpx2.AsyncClient(transport=…)` of one tenant; one tenant's connections never serve
    another.

    Besides the client's own errors it raises EgressRefused and InvalidInput. A connection made
    because the admin allowed the pair is used again only while that stands.
    """

    def __init__(
        self, guard: EgressGuard, tenant: TenantId, tls: ssl.SSLContext | None = None
    ) -> None:
        self._guard = guard
        self._tenant = tenant
        backend = _GuardedBackend(guard, tenant)
        tls = tls or ssl.create_default_context()
        self._public, self._listed = (_pool(backend, tls) for _ in range(2))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        if url.scheme not in PORTS:
            raise httpx2.UnsupportedProtocol(f"{url.scheme!r} is not http or https")
        pair = HostPort.normal(url.host, url.port or PORTS[url.scheme])
        listed = await self._guard.is_listed(self._tenant, pair)
        pool = self._listed if listed else self._public
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        outgoing = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _errors_of_the_client():
            incoming = await pool.handle_async_request(outgoing)
        assert isinstance(incoming.stream, AsyncIterable)
        return httpx2.Response(
            status_code=incoming.status,
            headers=incoming.headers,
            stream=_Body(incoming),
            extensions=cast(
                "dict[str, Any]",
                incoming.extensions,  # pyright: ignore[reportUnknownMemberType] half declared
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._public.aclose()
        await self._listed.aclose()


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    def __init__(self, guard: EgressGuard, tenant: TenantId) -> None:
        self._guard = guard
        self._tenant = tenant
        # Declared in two ways, depending on whether anyio is there; it is, httpx2 needs it.
        self._inner = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            target = await self._guard.check(self._tenant, host, port, HTTP_PORTS)
        except Unavailable as fault:
            raise httpcore2.ConnectError(fault.message) from fault
        *others, last = target.addresses
        for address in others:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except httpcore2.ConnectError:
                continue
        return await self._inner.connect_tcp(last, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise httpcore2.ConnectError("no socket of this machine is reachable from here")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors_of_the_client():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


def _pool(backend: _GuardedBackend, tls: ssl.SSLContext) -> httpcore2.AsyncConnectionPool:
    return httpcore2.AsyncConnectionPool(
        ssl_context=tls,
        max_connections=CONNECTIONS_MAX,
        max_keepalive_connections=KEPT_ALIVE_MAX,
        keepalive_expiry=KEPT_ALIVE_S,
        network_backend=backend,
    )


@contextmanager
def _errors_of_the_client() -> Generator[None]:
    """Both libraries name their errors alike; a client knows those of its own."""
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol,
    ) as fault:
        raise getattr(httpx2, type(fault).__name__)(str(fault)) from fault
