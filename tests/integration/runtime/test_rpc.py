"""Servers, channels and coalescing streams over real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace_core.errors import SetupError
from headrace_runtime.address import Address
from headrace_runtime.rpc.channel import Backoff, keep_session, open_channel
from headrace_runtime.rpc.coalescing import Outgoing, converse
from headrace_runtime.rpc.internal_calls import InternalCallsOnly
from headrace_runtime.rpc.server import RpcServer, start_server
from headrace_runtime.telemetry import Level, Logger

TOKEN = "hr_internal_5e7a"
ANY_PORT = Address("127.0.0.1", 0)
Lines = list[bytes]


def join(items: list[bytes]) -> bytes:
    return b"".join(item + b"\n" for item in items)


def new_outgoing() -> Outgoing[bytes, bytes]:
    return Outgoing("test", join, len)


class EchoHandlers:
    """Answers every line with the same line, both halves coalescing."""

    def __init__(self) -> None:
        self.messages = 0

    def add_to(self, server: grpc.aio.Server) -> None:
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Echo": grpc.stream_stream_rpc_method_handler(self.echo)
        }
        handler = grpc.method_handlers_generic_handler("test.Lines", handlers)
        server.add_generic_rpc_handlers((handler,))

    async def echo(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> None:
        outgoing = new_outgoing()

        async def receive(message: bytes) -> None:
            self.messages += 1
            for line in message.splitlines():
                await outgoing.put_when_room(line)

        await converse(outgoing, context.write, requests, receive)


def echo(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    multi: grpc.aio.StreamStreamMultiCallable[bytes, bytes]
    multi = channel.stream_stream("/test.Lines/Echo")
    return multi()


async def talk(channel: grpc.aio.Channel, lines: Lines, heard: Lines) -> None:
    """Say all lines, hear as many, end the stream."""
    call = echo(channel)
    outgoing = new_outgoing()

    async def receive(message: bytes) -> None:
        heard.extend(message.splitlines())
        if len(heard) == len(lines):
            await call.done_writing()

    for line in lines:
        outgoing.put(line)
    await converse(outgoing, call.write, call, receive)


async def health_of(address: Address) -> int:
    async with open_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=10)
        return answer.status


@pytest.fixture
async def server() -> AsyncIterator[RpcServer]:
    started = await start_server(ANY_PORT, [EchoHandlers().add_to])
    yield started
    await started.stop(0)


async def test_a_server_reports_its_real_port_and_is_healthy(server: RpcServer) -> None:
    assert server.address.port != 0
    assert await health_of(server.address) == health_pb2.HealthCheckResponse.SERVING
    await server.set_serving(serving=False)
    assert await health_of(server.address) == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_taken_port_is_a_setup_error_that_names_port_and_variable(
    server: RpcServer,
) -> None:
    with pytest.raises(SetupError, match=f"listen on {server.address}.*Set HEADRACE_LISTEN"):
        await start_server(server.address, [])


def one_call(channel: grpc.aio.Channel, service: str) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
    multi: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
    multi = channel.unary_unary(f"/{service}/Say")
    return multi(b"hello", timeout=10)


def add_saying(server: grpc.aio.Server) -> None:
    async def say(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    for service in ("test.Internal", "test.Public"):
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Say": grpc.unary_unary_rpc_method_handler(say)
        }
        handler = grpc.method_handlers_generic_handler(service, handlers)
        server.add_generic_rpc_handlers((handler,))


@pytest.fixture
async def guarded() -> AsyncIterator[Address]:
    only = InternalCallsOnly(TOKEN, "test.Public")
    register = [EchoHandlers().add_to, add_saying]
    started = await start_server(ANY_PORT, register, interceptors=[only])
    yield started.address
    await started.stop(0)


@pytest.mark.parametrize("token", ["", "hr_internal_00", TOKEN[:-1]])
async def test_a_call_or_stream_without_the_internal_token_is_refused(
    guarded: Address, token: str
) -> None:
    async with open_channel(guarded, token) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await one_call(channel, "test.Internal")
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await talk(channel, [b"a"], [])
        assert cut.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_internal_token_opens_calls_and_streams(guarded: Address) -> None:
    heard = Lines()
    async with open_channel(guarded, TOKEN) as channel:
        assert await one_call(channel, "test.Internal") == b"hello"
        await talk(channel, [b"a", b"b"], heard)
    assert heard == [b"a", b"b"]


async def test_health_and_public_services_need_no_token(guarded: Address) -> None:
    assert await health_of(guarded) == health_pb2.HealthCheckResponse.SERVING
    async with open_channel(guarded) as channel:
        assert await one_call(channel, "test.Public") == b"hello"


async def test_thousands_of_items_arrive_in_order_in_few_messages() -> None:
    handlers = EchoHandlers()
    server = await start_server(ANY_PORT, [handlers.add_to])
    lines, heard = [b"%d" % number for number in range(5_000)], Lines()
    async with open_channel(server.address) as channel:
        await talk(channel, lines, heard)
    await server.stop(0)
    assert heard == lines
    assert handlers.messages < 50


async def test_an_item_above_grpcs_default_of_4_mb_passes(server: RpcServer) -> None:
    line, heard = b"x" * 6_000_000, Lines()
    async with open_channel(server.address) as channel:
        await talk(channel, [line], heard)
    assert heard == [line]


async def test_a_client_hears_that_its_server_has_gone() -> None:
    server = await start_server(ANY_PORT, [EchoHandlers().add_to])
    heard = Lines()
    async with open_channel(server.address) as channel:
        call = echo(channel)
        outgoing = new_outgoing()

        async def receive(message: bytes) -> None:
            heard.extend(message.splitlines())
            asyncio.get_running_loop().call_soon(stop.set)

        stop = asyncio.Event()
        talking = asyncio.create_task(converse(outgoing, call.write, call, receive))
        outgoing.put(b"a")
        await stop.wait()
        await server.stop(0)
        with pytest.raises(grpc.aio.AioRpcError):
            await talking
    assert heard == [b"a"]
    assert outgoing.closed


async def test_a_session_is_made_again_when_its_server_comes_back() -> None:
    said: Lines = []
    log = Logger("test", Level.INFO, write=said.append)
    server = await start_server(ANY_PORT, [EchoHandlers().add_to])
    address = server.address
    established: asyncio.Queue[int] = asyncio.Queue()

    async def session(channel: grpc.aio.Channel, ready: Callable[[], None]) -> None:
        call = echo(channel)
        await call.write(b"hello\n")
        await call.read()
        ready()
        established.put_nowait(1)
        await call.read()

    backoff = Backoff(first_ms=1, max_ms=20)
    keeping = asyncio.create_task(keep_session(address, session, log, backoff=backoff))
    await established.get()
    await server.stop(0)
    server = await start_server(address, [EchoHandlers().add_to])
    await established.get()
    assert said
    assert b'"event":"session lost"' in said[0]
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    await server.stop(0)


async def test_a_fault_of_our_own_ends_the_session_for_good(server: RpcServer) -> None:
    async def session(channel: grpc.aio.Channel, ready: Callable[[], None]) -> None:
        raise KeyError("a bug")

    log = Logger("test", Level.INFO, write=list[bytes]().append)
    with pytest.raises(KeyError):
        await keep_session(server.address, session, log)


def test_the_window_of_the_backoff_doubles_up_to_its_bound() -> None:
    backoff = Backoff(first_ms=100, max_ms=1_000)
    assert [backoff.next_ms(0.5) for _ in range(5)] == [50, 100, 200, 400, 500]
    backoff.reset()
    assert backoff.next_ms(0.5) == 50
