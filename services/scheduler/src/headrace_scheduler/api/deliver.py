"""SchedulerService.Deliver: messages from the outboxes of partitions that other schedulers own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace_contracts.codec.partition_events import take_message
from headrace_core.errors import UnknownEvent
from headrace_runtime.telemetry import Logger
from headrace_scheduler.api.answering import messages_until
from headrace_scheduler.app.delivery import FAULT_RETRY_S, RETRY_S, Delivery
from headrace_scheduler.app.ports import Parcel
from headrace_scheduler.domain.decision import Reason, Rejection

_Context = grpc.aio.ServicerContext[pb.DeliverRequest, pb.DeliverResponse]
OwnerOf = Callable[[int], Awaitable[str]]
"""The address of whoever else owns a partition, or the empty text."""


class DeliverStreams:
    def __init__(self, delivery: Delivery, log_id: bytes, owner_of: OwnerOf, log: Logger) -> None:
        self._delivery = delivery
        self._log_id = log_id
        self._owner_of = owner_of
        self._log = log

    async def serve(
        self, requests: AsyncIterator[pb.DeliverRequest], context: _Context
    ) -> AsyncIterator[pb.DeliverResponse]:
        answers = _Answers()
        reading = asyncio.get_running_loop().create_task(self._read(requests, answers))
        try:
            async for message in messages_until(answers.next_message, reading):
                yield message
        finally:
            reading.cancel()
        if reading.done() and not reading.cancelled() and reading.result():
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, reading.result())

    async def _read(self, requests: AsyncIterator[pb.DeliverRequest], answers: "_Answers") -> str:
        """Why nothing more is taken, or the empty text when the other side has ended."""
        async for request in requests:
            if request.log_id != self._log_id:
                return "the messages are of another log"
            for parcel in request.parcels:
                await self._take(parcel, answers)
        return ""

    async def _take(self, sent: pb.Parcel, answers: "_Answers") -> None:
        receipt = _Receipt(answers, sent.source, sent.target, sent.number)
        try:
            parcel = Parcel(sent.number, take_message(sent.message))
        except UnknownEvent as error:
            self._log.error("message not taken", source=sent.source, error=error)
            receipt.put_off(FAULT_RETRY_S)
            return
        if self._delivery.takes(sent.target):
            await self._delivery.receive(sent.source, sent.target, parcel, receipt)
        else:
            answers.not_owner(sent.source, sent.target, await self._owner_of(sent.target))


class _Answers:
    """What was answered since the last write goes out as one message: of acknowledgements only
    the highest of a pair, since they are watermarks."""

    def __init__(self) -> None:
        self._acknowledged: dict[tuple[int, int], int] = {}
        self._others: dict[tuple[int, int], pb.DeliveryAnswer] = {}
        self._ready = asyncio.Event()

    def acknowledge(self, source: int, target: int, number: int) -> None:
        pair = (source, target)
        self._acknowledged[pair] = max(number, self._acknowledged.get(pair, 0))
        self._ready.set()

    def again(self, source: int, target: int, after_s: float) -> None:
        answer = pb.DeliveryAnswer(source=source, target=target)
        answer.again_after_ms = int(after_s * 1_000)
        self._put(answer)

    def not_owner(self, source: int, target: int, owner: str) -> None:
        answer = pb.DeliveryAnswer(source=source, target=target)
        answer.not_owner.partition, answer.not_owner.owner_address = target, owner
        self._put(answer)

    async def next_message(self) -> pb.DeliverResponse:
        while not (self._acknowledged or self._others):
            self._ready.clear()
            await self._ready.wait()
        message = pb.DeliverResponse()
        for (source, target), number in self._acknowledged.items():
            message.answers.add(source=source, target=target, acknowledged=number)
        message.answers.extend(self._others.values())
        self._acknowledged, self._others = {}, {}
        return message

    def _put(self, answer: pb.DeliveryAnswer) -> None:
        self._others.setdefault((answer.source, answer.target), answer)
        self._ready.set()


class _Receipt:
    __slots__ = ("_answers", "_number", "_source", "_target")

    def __init__(self, answers: _Answers, source: int, target: int, number: int) -> None:
        self._answers = answers
        self._source, self._target, self._number = source, target, number

    def accepted(self, partition: int, offset: int) -> None:
        self._answers.acknowledge(self._source, self._target, self._number)

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        if rejection.reason is Reason.REPEATED:
            self.accepted(partition, 0)
        else:
            self.put_off(RETRY_S)

    def unavailable(self, partition: int) -> None:
        self._answers.not_owner(self._source, self._target, "")

    def put_off(self, after_s: float) -> None:
        self._answers.again(self._source, self._target, after_s)
