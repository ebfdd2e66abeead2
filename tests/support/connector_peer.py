"""The connectors service as an executor sees it: a real gRPC server that does what a test says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
import orjson

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace.connector.v1.connector_service_pb2_grpc import (
    ConnectorServiceServicer,
    add_ConnectorServiceServicer_to_server,
)

_Context = grpc.aio.ServicerContext[pb.InvokeRequest, pb.InvokeResponse]
OPTIONS = [("grpc.so_reuseport", 0)]
ACTING = pb.InvokeResponse(progress=pb.Progress(acting=True))


@dataclass(slots=True)
class Invoked:
    """One call: what was asked, and whether it was given up by its caller."""

    request: pb.InvokeRequest
    context: _Context
    given_up: bool = False


Behaviour = Callable[[Invoked], AsyncIterator[pb.InvokeResponse]]


def outcome(word: "pb.Word.ValueType", **fields: object) -> pb.InvokeResponse:
    return pb.InvokeResponse(outcome=pb.Outcome(word=word, **fields))  # pyright: ignore[reportArgumentType] fields as the test gives them


def success(output: object) -> pb.InvokeResponse:
    return outcome(pb.WORD_SUCCESS, output=orjson.dumps(output))


def says(*messages: pb.InvokeResponse) -> Behaviour:
    async def behave(invoked: Invoked) -> AsyncIterator[pb.InvokeResponse]:
        for message in messages:
            yield message

    return behave


def after(event: Awaitable[object], *messages: pb.InvokeResponse) -> Behaviour:
    """Acts at once, and says how it ended when the event has come."""

    async def behave(invoked: Invoked) -> AsyncIterator[pb.InvokeResponse]:
        yield ACTING
        await event
        for message in messages:
            yield message

    return behave


async def hangs(invoked: Invoked) -> AsyncIterator[pb.InvokeResponse]:
    """Acts, and never says how it ended."""
    yield ACTING
    await asyncio.Event().wait()


def aborts(code: grpc.StatusCode, *, acting: bool = False) -> Behaviour:
    async def behave(invoked: Invoked) -> AsyncIterator[pb.InvokeResponse]:
        if acting:
            yield ACTING
        await invoked.context.abort(code, "as the test wants")

    return behave


class ConnectorPeer(ConnectorServiceServicer):
    """Calls behave as `script` says, one after the other; the last stands for all later ones."""

    def __init__(self) -> None:
        self.script: list[Behaviour] = [says(ACTING, success({"status": 200}))]
        self.calls: list[Invoked] = []
        self.port = 0
        self._news = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """On the port it had before, if it had one."""
        self._server = grpc.aio.server(options=OPTIONS)
        add_ConnectorServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """As a service that is killed: calls are cut."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def called(self, count: int) -> None:
        await self.until(lambda: len(self.calls) >= count)

    async def Invoke(
        self, request: pb.InvokeRequest, context: _Context
    ) -> AsyncIterator[pb.InvokeResponse]:
        invoked = Invoked(request, context)
        behave = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.calls.append(invoked)
        self._news.set()
        try:
            async for message in behave(invoked):
                yield message
        except asyncio.CancelledError:
            invoked.given_up = True
            self._news.set()
            raise

    async def ListConnectors(
        self,
        request: pb.ListConnectorsRequest,
        context: grpc.aio.ServicerContext[pb.ListConnectorsRequest, pb.ListConnectorsResponse],
    ) -> pb.ListConnectorsResponse:
        raise NotImplementedError("executors do not ask this")

    async def Describe(
        self,
        request: pb.DescribeRequest,
        context: grpc.aio.ServicerContext[pb.DescribeRequest, pb.DescribeResponse],
    ) -> pb.DescribeResponse:
        raise NotImplementedError("executors do not ask this")

    async def Check(
        self,
        request: pb.CheckRequest,
        context: grpc.aio.ServicerContext[pb.CheckRequest, pb.CheckResponse],
    ) -> pb.CheckResponse:
        raise NotImplementedError("executors do not ask this")


@asynccontextmanager
async def connector_peer() -> AsyncGenerator[ConnectorPeer]:
    peer = ConnectorPeer()
    await peer.start()
    try:
        yield peer
    finally:
        await peer.stop()
