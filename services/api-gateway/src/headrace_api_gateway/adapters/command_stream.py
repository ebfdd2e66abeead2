"""One coalescing Command stream to one scheduler.

Commands of all requests share it; what gathers while a write is in flight is one message. When it
breaks, every unanswered command fails with StreamBroken, and whoever asked decides where to send
it again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import grpc.aio

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace_runtime.address import Address
from headrace_runtime.rpc.channel import keep_session
from headrace_runtime.rpc.coalescing import Outgoing, converse
from headrace_runtime.telemetry import Logger

METHOD = "/headrace.scheduler.v1.SchedulerService/Command"
CONNECT_TIMEOUT_S = 1.0


class StreamBroken(Exception):
    """`maybe_taken`: the command had been handed to the stream, so it may have had its effect."""

    def __init__(self, *, maybe_taken: bool) -> None:
        super().__init__("the command stream broke")
        self.maybe_taken = maybe_taken


@dataclass(slots=True)
class Pending:
    partition: int
    asked_s: float
    reply: asyncio.Future[pb.Reply]


class CommandStream:
    """Connects again by itself until `close`."""

    def __init__(self, address: Address, log: Logger, token: str = "") -> None:
        self.address = address
        self._log = log
        self._loop = asyncio.get_running_loop()
        self.used_s = self._loop.time()
        self._outgoing: Outgoing[bytes, bytes] | None = None
        self._opened = asyncio.Event()
        self._numbers = 0
        self._pending: dict[int, Pending] = {}
        self._session = self._loop.create_task(
            keep_session(address, self._converse, log, token=token), name=f"commands to {address}"
        )
        self._session.add_done_callback(self._say_why_it_ended)

    @property
    def crashed(self) -> bool:
        """A bug ended its session for good; said in the log."""
        return self._session.done()

    def _say_why_it_ended(self, session: asyncio.Task[None]) -> None:
        if not session.cancelled() and (fault := session.exception()) is not None:
            self._log.failure("command stream crashed", fault, address=str(self.address))

    def oldest_asked_s(self) -> float | None:
        """Commands are answered about in order, so the first one that waits is the oldest."""
        return next((one.asked_s for one in self._pending.values()), None)

    def waiting_since(self, before_s: float) -> list[tuple[int, Pending]]:
        """Commands without an answer that were asked before this time of the loop."""
        waiting: list[tuple[int, Pending]] = []
        for number, one in self._pending.items():
            if one.asked_s >= before_s:
                break
            waiting.append((number, one))
        return waiting

    def break_off(self, number: int) -> None:
        """Stop waiting for this answer: the partition has another owner by now."""
        one = self._pending.pop(number, None)
        if one is not None and not one.reply.done():
            one.reply.set_exception(StreamBroken(maybe_taken=True))

    async def ask(self, partition: int, request: pb.CommandRequest) -> pb.Reply:
        """`request` holds one command, whose id is set here. Raises StreamBroken, Unavailable when
        the other side does not keep up, TooLarge."""
        self.used_s = self._loop.time()
        outgoing = self._outgoing
        if outgoing is None or outgoing.closed:
            outgoing = await self._connected()
        self._numbers = number = self._numbers + 1
        request.commands[0].id = number
        outgoing.put(request.SerializeToString())
        reply = self._loop.create_future()
        self._pending[number] = Pending(partition, self.used_s, reply)
        try:
            return await reply
        finally:
            self._pending.pop(number, None)

    async def close(self) -> None:
        self._session.cancel()
        await asyncio.gather(self._session, return_exceptions=True)

    async def _connected(self) -> Outgoing[bytes, bytes]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._opened.wait()
        except TimeoutError:
            raise StreamBroken(maybe_taken=False) from None
        if self._outgoing is None or self._outgoing.closed:
            raise StreamBroken(maybe_taken=False)
        return self._outgoing

    async def _converse(self, channel: grpc.aio.Channel, established: Callable[[], None]) -> None:
        # Bytes go out as they are: commands are serialised one by one and joined.
        method: grpc.aio.StreamStreamMultiCallable[bytes, pb.CommandResponse]
        method = channel.stream_stream(METHOD, response_deserializer=pb.CommandResponse.FromString)
        call = method()
        outgoing: Outgoing[bytes, bytes] = Outgoing("command", b"".join, len)
        try:
            await call.wait_for_connection()
            established()
            self._outgoing = outgoing
            self._opened.set()
            await converse(outgoing, call.write, call, self._take)
        finally:
            self._opened.clear()
            self._outgoing = None
            self._fail_all()
            call.cancel()

    async def _take(self, response: pb.CommandResponse) -> None:
        pending = self._pending
        for reply in response.replies:
            one = pending.pop(reply.id, None)
            if one is not None and not one.reply.done():
                one.reply.set_result(reply)

    def _fail_all(self) -> None:
        pending, self._pending = self._pending, {}
        for one in pending.values():
            if not one.reply.done():
                one.reply.set_exception(StreamBroken(maybe_taken=True))
