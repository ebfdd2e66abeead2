"""Messages between partitions: from an outbox to whoever owns the target, until durable there.

Numbered and in order per pair of partitions, sent again and again until the receiver's durable
watermark is recorded at the source. The receiver takes exactly the next number, so whatever is
sent once too often does no harm; the tests' delivery model checks the protocol exhaustively.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from headrace_core.errors import HeadraceError, PayloadError, Unavailable
from headrace_core.ids import RunId
from headrace_core.partition.events import (
    ChildEnded,
    EventDelivery,
    Message,
    StartMessage,
)
from headrace_core.payload import NOTHING
from headrace_runtime.telemetry import Logger
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Catalogue, Parcel, Peers, Receipt
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason, Rejection

RETRY_S = 0.25
FAULT_RETRY_S = 2.0
"""After what does not go away by itself: a plan of a newer release, an unknown message."""
UNANSWERED_S = 5.0
"""So long what was sent may stay without an acknowledgement before it is sent again."""
PARCELS_AT_ONCE = 256

Pair = tuple[int, int]
"""Source and target partition."""


class Nobody:
    """Peers of a scheduler that owns every partition there is."""

    async def send(self, source: int, target: int, parcels: Sequence[Parcel]) -> None:
        raise Unavailable(f"Nobody owns partition {target}.")


class Delivery:
    """Both ends. `submit` hands an input to the loop, `owned` finds a partition of this process."""

    def __init__(
        self,
        catalogue: Catalogue,
        owned: Callable[[int], OwnedPartition | None],
        submit: Callable[[Input], None],
        log: Logger,
    ) -> None:
        self._catalogue = catalogue
        self._owned = owned
        self._submit = submit
        self._log = log
        self._handed_over: dict[Pair, int] = {}
        self._sending: set[Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: dict[Pair, asyncio.TimerHandle] = {}
        self._unanswered: dict[Pair, asyncio.TimerHandle] = {}
        self._acknowledged: dict[Pair, int] = {}
        self._silent: set[Pair] = set()
        self.peers: Peers = Nobody()

    async def close(self) -> None:
        for timer in (*self._again.values(), *self._unanswered.values()):
            timer.cancel()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def deliver(self, source: OwnedPartition, target: int) -> None:
        """Send what is not yet on its way."""
        pair = (source.number, target)
        outbox = source.state.outboxes.get(target)
        if outbox is None or outbox.acknowledged == outbox.sent or pair in self._sending:
            return
        self._sending.add(pair)
        task = asyncio.get_running_loop().create_task(self._send(pair))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(pair, done))

    def arrived(self, target: OwnedPartition, sources: Iterable[OwnedPartition]) -> None:
        """The target has come to this process: whatever was on its way elsewhere comes here."""
        self.forget(target.number)
        for source in sources:
            self.deliver(source, target.number)

    def forget(self, partition: int) -> None:
        """It changed hands: what was on its way to or from it is sent again later."""
        for pair in [pair for pair in self._handed_over if partition in pair]:
            del self._handed_over[pair]

    def acknowledge(self, source: int, target: int, number: int) -> None:
        """The receiver's durable watermark. What comes in one go is recorded as one."""
        pair = (source, target)
        if not self._acknowledged:
            asyncio.get_running_loop().call_soon(self._record)
        self._acknowledged[pair] = max(number, self._acknowledged.get(pair, 0))

    def send_again(self, source: int, target: int, after_s: float = RETRY_S) -> None:
        """Everything that is not acknowledged yet, in a moment."""
        pair = (source, target)
        if pair not in self._again:
            loop = asyncio.get_running_loop()
            self._again[pair] = loop.call_later(after_s, self._begin_again, pair)

    def takes(self, target: int) -> bool:
        return self._owned(target) is not None

    async def receive(self, source: int, target: int, parcel: Parcel, receipt: Receipt) -> None:
        """Bring to hand what deciding it needs, then decide it. Never raises; the receipt hears."""
        if self._owned(target) is None:
            receipt.unavailable(target)
            return
        try:
            await self._bring(parcel.message)
        except (OSError, Unavailable) as error:
            self._log.warning("message waits", source=source, target=target, cause=repr(error))
            receipt.put_off(RETRY_S)
            return
        except HeadraceError as error:
            self._log.error("message not taken", source=source, target=target, error=error)
            receipt.put_off(FAULT_RETRY_S)
            return
        take = cmd.TakeMessage(source=source, number=parcel.number, message=parcel.message)
        self._submit(Input(target, take, receipt))

    async def _send(self, pair: Pair) -> None:
        try:
            while parcels := self._next_parcels(pair):
                self._handed_over[pair] = parcels[-1].number
                await self._hand_over(pair, parcels)
        except Unavailable as away:
            self._say_once(pair, away)
            self.send_again(*pair)
        finally:
            # At once: whoever comes after this begins anew.
            self._sending.discard(pair)

    async def _hand_over(self, pair: Pair, parcels: Sequence[Parcel]) -> None:
        source, target = pair
        if self._owned(target) is None:
            await self.peers.send(source, target, parcels)
            self._silent.discard(pair)
            self._watch(pair)
            return
        for parcel in parcels:
            receipt = _LocalReceipt(self, source, target, parcel.number)
            await self.receive(source, target, parcel, receipt)

    def _ended(self, pair: Pair, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            # A bug in one message must not stop the others.
            self._log.failure("messages not sent", fault, source=pair[0], target=pair[1])
            self.send_again(*pair, FAULT_RETRY_S)

    def _next_parcels(self, pair: Pair) -> Sequence[Parcel]:
        source, target = pair
        owned = self._owned(source)
        outbox = owned.state.outboxes.get(target) if owned is not None else None
        if outbox is None:
            return ()
        begun = max(self._handed_over.get(pair, 0), outbox.acknowledged)
        until = min(outbox.sent, begun + PARCELS_AT_ONCE)
        return [Parcel(number, outbox.messages[number]) for number in range(begun + 1, until + 1)]

    def _begin_again(self, pair: Pair) -> None:
        self._again.pop(pair, None)
        self._handed_over.pop(pair, None)
        owned = self._owned(pair[0])
        if owned is not None:
            self.deliver(owned, pair[1])

    def _watch(self, pair: Pair) -> None:
        """A peer may lose what it has taken, when it loses the partition meanwhile."""
        if pair not in self._unanswered:
            handed_over = self._handed_over.get(pair, 0)
            self._unanswered[pair] = asyncio.get_running_loop().call_later(
                UNANSWERED_S, self._look_after, pair, handed_over
            )

    def _look_after(self, pair: Pair, handed_over: int) -> None:
        del self._unanswered[pair]
        owned = self._owned(pair[0])
        outbox = owned.state.outboxes.get(pair[1]) if owned is not None else None
        if outbox is None or outbox.acknowledged == outbox.sent:
            return
        if outbox.acknowledged < handed_over:
            self._begin_again(pair)
        else:
            self._watch(pair)

    def _record(self) -> None:
        acknowledged, self._acknowledged = self._acknowledged, {}
        for (source, target), number in acknowledged.items():
            self._submit(Input(source, cmd.RecordAcknowledgement(target=target, number=number)))

    def _say_once(self, pair: Pair, away: Unavailable) -> None:
        if pair not in self._silent:
            self._silent.add(pair)
            self._log.warning("messages wait", source=pair[0], target=pair[1], cause=str(away))

    async def _bring(self, message: Message) -> None:
        """What is missing for good shows when the run decides, which parks that run alone."""
        if isinstance(message, StartMessage):
            await self._catalogue.load(message.tenant, message.plan)
        elif isinstance(message, EventDelivery):
            with suppress(PayloadError):
                await self._catalogue.fetch(message.tenant, RunId(message.event), message.content)
        elif isinstance(message, ChildEnded):
            for stored in (message.output, message.error.message if message.error else NOTHING):
                if stored:
                    with suppress(PayloadError):
                        await self._catalogue.fetch(message.tenant, message.child, stored)


class _LocalReceipt:
    """Of a message whose source and target this process owns both."""

    __slots__ = ("_delivery", "_number", "_source", "_target")

    def __init__(self, delivery: Delivery, source: int, target: int, number: int) -> None:
        self._delivery = delivery
        self._source, self._target, self._number = source, target, number

    def accepted(self, partition: int, offset: int) -> None:
        self._delivery.acknowledge(self._source, self._target, self._number)

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        if rejection.reason is Reason.REPEATED:
            self.accepted(partition, 0)
        elif rejection.reason is Reason.OUT_OF_ORDER:
            # One before it was put off, to fetch what it needs: this one comes again after it.
            self._delivery.send_again(self._source, self._target)

    def unavailable(self, partition: int) -> None:
        self._delivery.forget(partition)
        self._delivery.send_again(self._source, self._target)

    def put_off(self, after_s: float) -> None:
        self._delivery.send_again(self._source, self._target, after_s)
