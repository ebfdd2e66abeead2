"""The scheduler as an executor sees it: a real gRPC server that does what a test says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace.dispatch.v1.dispatch_service_pb2_grpc import (
    DispatchServiceServicer,
    add_DispatchServiceServicer_to_server,
)

LOG_ID = b"L" * 16
OPTIONS = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 16 << 20)]
_Context = grpc.aio.ServicerContext[pb.WorkRequest, pb.WorkResponse]


@dataclass(slots=True)
class PeerStream:
    """One executor's stream: what it said, and what waits to be said to it. None ends it."""

    hello: pb.Hello
    said: list[pb.WorkRequest] = field(default_factory=list[pb.WorkRequest])
    outgoing: "asyncio.Queue[pb.WorkResponse | None]" = field(
        default_factory=asyncio.Queue["pb.WorkResponse | None"]
    )
    half_closed: bool = False

    def credits(self) -> int:
        return sum(credit.count for message in self.said for credit in message.credits)

    def results(self) -> list[pb.Result]:
        return [result for message in self.said for result in message.results]

    def heartbeats(self) -> list[pb.Attempt]:
        return [one.attempt for message in self.said for one in message.heartbeats]

    def reports(self) -> list[pb.Report]:
        return [report for message in self.said for report in message.reports]

    def refusals(self) -> list[pb.Refusal]:
        return [refusal for message in self.said for refusal in message.refusals]


class SchedulerPeer(DispatchServiceServicer):
    """`acknowledges`: whether results are acknowledged as they come, under `epoch`."""

    def __init__(self, epoch: int = 1, *, acknowledges: bool = True) -> None:
        self.epoch = epoch
        self.acknowledges = acknowledges
        self.streams: list[PeerStream] = []
        self.messages = 0
        self.refuses_with: tuple[grpc.StatusCode, str] | None = None
        self.port = 0
        self._news = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def stream(self) -> PeerStream:
        """The newest."""
        return self.streams[-1]

    async def start(self) -> None:
        """On the port it had before, if it had one."""
        self._server = grpc.aio.server(options=OPTIONS)
        add_DispatchServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """As a scheduler that is killed: streams are cut."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def send(self, response: pb.WorkResponse) -> None:
        response.log_id = LOG_ID
        self.stream.outgoing.put_nowait(response)

    def announce(self, partition: int, epoch: int) -> None:
        self.send(
            pb.WorkResponse(announcements=[pb.Announcement(partition=partition, epoch=epoch)])
        )

    def acknowledge(self, attempt: pb.Attempt) -> None:
        acknowledgement = pb.Acknowledgement(attempt=attempt, epoch=self.epoch)
        self.send(pb.WorkResponse(acknowledgements=[acknowledgement]))

    async def until(self, condition: Callable[[], object]) -> None:
        """Until what executors said makes it true; the test's own limit ends it."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def Work(
        self, request_iterator: AsyncIterator[pb.WorkRequest], context: _Context
    ) -> AsyncIterator[pb.WorkResponse]:
        first = await anext(request_iterator)
        if self.refuses_with is not None:
            await context.abort(*self.refuses_with)
        stream = PeerStream(first.hello)
        self.streams.append(stream)
        welcome = pb.WorkResponse(log_id=LOG_ID, welcome=pb.Welcome(scheduler="peer"))
        stream.outgoing.put_nowait(welcome)
        self._take(stream, first)
        reading = asyncio.create_task(self._read(stream, request_iterator))
        try:
            while (response := await stream.outgoing.get()) is not None:
                yield response
        finally:
            reading.cancel()

    async def _read(self, stream: PeerStream, requests: AsyncIterator[pb.WorkRequest]) -> None:
        async for request in requests:
            self._take(stream, request)
        stream.half_closed = True
        stream.outgoing.put_nowait(None)
        self._news.set()

    def _take(self, stream: PeerStream, request: pb.WorkRequest) -> None:
        self.messages += 1
        stream.said.append(request)
        if self.acknowledges and request.results:
            acknowledgements = [
                pb.Acknowledgement(attempt=result.attempt, epoch=self.epoch)
                for result in request.results
            ]
            response = pb.WorkResponse(log_id=LOG_ID, acknowledgements=acknowledgements)
            stream.outgoing.put_nowait(response)
        self._news.set()


@asynccontextmanager
async def scheduler_peer(
    epoch: int = 1, *, acknowledges: bool = True
) -> AsyncGenerator[SchedulerPeer]:
    peer = SchedulerPeer(epoch, acknowledges=acknowledges)
    await peer.start()
    try:
        yield peer
    finally:
        await peer.stop()
