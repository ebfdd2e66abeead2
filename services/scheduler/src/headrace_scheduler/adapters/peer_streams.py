"""The Peers port over Deliver streams: one to each scheduler that owns what is written to.

When a stream breaks, everything that was sent on it is sent again, to whoever owns it then: the
receiver knows what it has.
"""

import asyncio
from collections.abc import Callable, Sequence

import grpc.aio

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from headrace_contracts.codec.partition_events import put_message
from headrace_core.errors import Unavailable
from headrace_runtime.address import Address
from headrace_runtime.rpc.channel import keep_session
from headrace_runtime.rpc.coalescing import Outgoing, converse
from headrace_runtime.telemetry import Logger
from headrace_scheduler.adapters.owners import OtherOwners
from headrace_scheduler.app.delivery import Delivery
from headrace_scheduler.app.ports import Parcel

CONNECT_TIMEOUT_S = 1.0
UNUSED_S = 60.0


class PeerStreams:
    def __init__(
        self, owners: OtherOwners, delivery: Delivery, log_id: bytes, log: Logger, token: str
    ) -> None:
        self._owners = owners
        self._delivery = delivery
        self._log_id = log_id
        self._log = log
        self._token = token
        self._streams: dict[Address, _PeerStream] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, source: int, target: int, parcels: Sequence[Parcel]) -> None:
        address = await self._owners.find(target)
        if address is None:
            raise Unavailable(f"Nobody owns partition {target}.")
        try:
            await self._stream_to(address).send(source, target, parcels)
        except Unavailable:
            self._owners.learn(target, "")
            raise

    async def close(self) -> None:
        streams, self._streams = self._streams, {}
        await asyncio.gather(*(stream.close() for stream in streams.values()))

    def _stream_to(self, address: Address) -> "_PeerStream":
        now_s = asyncio.get_running_loop().time()
        for stream in list(self._streams.values()):
            if stream.crashed or (now_s - stream.used_s > UNUSED_S and stream.address != address):
                del self._streams[stream.address]
                closing = asyncio.get_running_loop().create_task(stream.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        stream = self._streams.get(address)
        if stream is None:
            stream = _PeerStream(
                address, self._log_id, self._log, self._token, self._answered, self._broken
            )
            self._streams[address] = stream
        return stream

    def _answered(self, answer: pb.DeliveryAnswer) -> None:
        source, target = answer.source, answer.target
        kind = answer.WhichOneof("answer")
        if kind == "acknowledged":
            self._delivery.acknowledge(source, target, answer.acknowledged)
        elif kind == "again_after_ms":
            self._delivery.send_again(source, target, answer.again_after_ms / 1_000)
        elif kind == "not_owner":
            self._owners.learn(target, answer.not_owner.owner_address)
            self._delivery.send_again(source, target)

    def _broken(self, source: int, target: int) -> None:
        self._owners.learn(target, "")
        self._delivery.send_again(source, target)


class _PeerStream:
    """Connects again by itself until `close`."""

    def __init__(
        self,
        address: Address,
        log_id: bytes,
        log: Logger,
        token: str,
        answered: Callable[[pb.DeliveryAnswer], None],
        broken: Callable[[int, int], None],
    ) -> None:
        self.address = address
        self._log_id = log_id
        self._answered = answered
        self._broken = broken
        loop = asyncio.get_running_loop()
        self.used_s = loop.time()
        self._pairs: set[tuple[int, int]] = set()
        self._outgoing: Outgoing[pb.Parcel, pb.DeliverRequest] | None = None
        self._opened = asyncio.Event()
        self._session = loop.create_task(
            keep_session(address, self._converse, log, token=token), name=f"messages to {address}"
        )

    @property
    def crashed(self) -> bool:
        return self._session.done()

    async def send(self, source: int, target: int, parcels: Sequence[Parcel]) -> None:
        self.used_s = asyncio.get_running_loop().time()
        outgoing = await self._connected()
        self._pairs.add((source, target))
        for parcel in parcels:
            sent = pb.Parcel(source=source, target=target, number=parcel.number)
            put_message(sent.message, parcel.message)
            await outgoing.put_when_room(sent)

    async def close(self) -> None:
        self._session.cancel()
        await asyncio.gather(self._session, return_exceptions=True)

    async def _connected(self) -> Outgoing[pb.Parcel, pb.DeliverRequest]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._opened.wait()
        except TimeoutError:
            raise Unavailable(f"Scheduler {self.address} cannot be reached.") from None
        if self._outgoing is None:
            raise Unavailable(f"The stream to scheduler {self.address} broke.")
        return self._outgoing

    def _pack(self, parcels: list[pb.Parcel]) -> pb.DeliverRequest:
        return pb.DeliverRequest(log_id=self._log_id, parcels=parcels)

    async def _converse(self, channel: grpc.aio.Channel, established: Callable[[], None]) -> None:
        call = SchedulerServiceStub(channel).Deliver()
        outgoing: Outgoing[pb.Parcel, pb.DeliverRequest]
        outgoing = Outgoing("deliver", self._pack, pb.Parcel.ByteSize)
        try:
            await call.wait_for_connection()
            established()
            self._outgoing = outgoing
            self._opened.set()
            await converse(outgoing, call.write, call, self._take)
        finally:
            self._opened.clear()
            self._outgoing = None
            call.cancel()
            pairs, self._pairs = self._pairs, set()
            for source, target in sorted(pairs):
                self._broken(source, target)

    async def _take(self, response: pb.DeliverResponse) -> None:
        self.used_s = asyncio.get_running_loop().time()
        for answer in response.answers:
            self._answered(answer)
