"""Calls between the installation's own services: each carries a token that only they know.

A worker of a tenant dials the same port as the gateway does. Without the token it reaches what is
public there, the dispatch stream, which proves each stream by itself, and nothing else.
"""

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self, cast

import grpc
import grpc.aio

METADATA = "headrace-internal-token"
HEALTH = "grpc.health.v1.Health"
REFUSAL = "this call is for the installation's own services: it carries no token of theirs"

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class InternalCallsOnly(grpc.aio.ServerInterceptor):
    """Refuses with UNAUTHENTICATED what has no `token`, except calls to health and `public`
    services, which are named in full (package.Service)."""

    def __init__(self, token: str, *public: str) -> None:
        self._token = token.encode()
        self._public = frozenset({HEALTH, *public})

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        service = handler_call_details.method.split("/")[1]
        if service in self._public or self._is_proven(handler_call_details):
            return await continuation(handler_call_details)
        return _REFUSING

    def _is_proven(self, details: grpc.HandlerCallDetails) -> bool:
        for name, value in details.invocation_metadata or ():
            if name == METADATA:
                given = value if isinstance(value, bytes) else value.encode()
                return hmac.compare_digest(given, self._token)
        return False


async def _refuse(requests: AsyncIterator[bytes], context: Any) -> NoReturn:
    # A stream of streams is right for every kind of call: it waits for no message.
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, REFUSAL)
    raise AssertionError("abort raises")


_REFUSING = cast(Any, grpc.stream_stream_rpc_method_handler(cast(Any, _refuse)))


class _ProvingChannel:
    """A channel whose calls carry the token. Not an interceptor of gRPC's: those put a queue
    between a stream and its messages."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._channel = channel
        self._metadata = ((METADATA, token),)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.__aexit__(kind, fault, trace)

    def unary_unary(self, *given: Any, **named: Any) -> Any:
        return partial(self._channel.unary_unary(*given, **named), metadata=self._metadata)

    def unary_stream(self, *given: Any, **named: Any) -> Any:
        return partial(self._channel.unary_stream(*given, **named), metadata=self._metadata)

    def stream_unary(self, *given: Any, **named: Any) -> Any:
        return partial(self._channel.stream_unary(*given, **named), metadata=self._metadata)

    def stream_stream(self, *given: Any, **named: Any) -> Any:
        return partial(self._channel.stream_stream(*given, **named), metadata=self._metadata)


def proving(channel: grpc.aio.Channel, token: str) -> grpc.aio.Channel:
    return cast(grpc.aio.Channel, _ProvingChannel(channel, token))
