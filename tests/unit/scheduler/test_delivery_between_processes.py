"""Two processes, a bad way between them: each message is taken once, in order, and forgotten."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from headrace_core.errors import Unavailable
from headrace_core.ids import RunId, TenantId
from headrace_core.partition.apply import apply
from headrace_core.partition.events import ChildCancel, MessageReceived, MessageSent
from headrace_core.partition.state import PartitionState
from headrace_core.run.freeze import freeze_partition, thaw_partition
from headrace_runtime.telemetry import Logger
from headrace_scheduler.app.delivery import Delivery
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Parcel
from headrace_scheduler.app.turns import Rejected, Turns
from headrace_scheduler.domain.decision import Reason, Rejection
from tests.simulation.world.parts import SimCatalogue
from tests.simulation.world.virtual_loop import run_virtually

MESSAGE = ChildCancel(run=RunId("run_gone"), tenant=TenantId("acme"))
MESSAGES = 60
SOURCE, TARGET = 0, 1


class Process:
    """A scheduler's delivery and loop, with one partition or none."""

    def __init__(self, *numbers: int) -> None:
        self.owned = {
            number: OwnedPartition(number, b"log", 0, 0, PartitionState(number))
            for number in numbers
        }
        log = Logger("tests", write=lambda line: None)
        self.delivery = Delivery(SimCatalogue({}), self.owned.get, self.decide, log)
        self.taken: list[int] = []
        self._turns = Turns(SimCatalogue({}), 2)

    def decide(self, incoming: Input) -> None:
        """The loop's next pass."""
        asyncio.get_running_loop().call_soon(self._decide, incoming)

    def _decide(self, incoming: Input) -> None:
        owned, answer = self.owned.get(incoming.partition), incoming.answer
        if owned is None:
            if answer is not None:
                answer.unavailable(incoming.partition)
            return
        outcome = self._turns.decide(owned, incoming, 0)
        if isinstance(outcome, Rejected):
            if answer is not None:
                answer.rejected(outcome.rejection, owned.number, 0)
            return
        events = outcome.turn.partition_events
        self.taken += [one.number for one in events if isinstance(one, MessageReceived)]
        if answer is not None:
            answer.accepted(owned.number, 0)


@dataclass(slots=True)
class Way:
    """Loses, doubles and delays what goes over it, both ways, for as long as it is `bad`."""

    chance: random.Random
    sender: Process
    receiver: Process
    bad: bool = True
    sent: int = 0

    async def send(self, source: int, target: int, parcels: Sequence[Parcel]) -> None:
        if self.bad and self.chance.random() < 0.2:
            raise Unavailable("nobody is there")
        for parcel in parcels:
            self.sent += 1
            receipt = Back(self, source, target, parcel.number)
            self.later(lambda parcel=parcel, receipt=receipt: self._arrive(parcel, receipt))

    def later(self, act: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        if not self.bad:
            loop.call_soon(act)
            return
        for _ in range(self.chance.choice((0, 1, 1, 2))):
            loop.call_later(self.chance.random(), act)

    def _arrive(self, parcel: Parcel, receipt: "Back") -> None:
        task = self.receiver.delivery.receive(SOURCE, TARGET, parcel, receipt)
        receipt.tasks.append(asyncio.get_running_loop().create_task(task))


@dataclass(slots=True)
class Back:
    way: Way
    source: int
    target: int
    number: int
    tasks: list["asyncio.Task[None]"] = field(default_factory=list["asyncio.Task[None]"])

    def accepted(self, partition: int, offset: int) -> None:
        sender = self.way.sender.delivery
        self.way.later(lambda: sender.acknowledge(self.source, self.target, self.number))

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        if rejection.reason is Reason.REPEATED:
            self.accepted(partition, 0)
        else:
            self.put_off(0.1)

    def unavailable(self, partition: int) -> None:
        self.put_off(0.1)

    def put_off(self, after_s: float) -> None:
        sender = self.way.sender.delivery
        self.way.later(lambda: sender.send_again(self.source, self.target, after_s))


def add(process: Process, number: int) -> None:
    source = process.owned[SOURCE]
    apply(source.state, MessageSent(target=TARGET, number=number, message=MESSAGE))
    process.delivery.deliver(source, TARGET)


async def campaign(seed: int) -> None:
    chance = random.Random(seed)
    sender, receiver = Process(SOURCE), Process(TARGET)
    way = sender.delivery.peers = Way(chance, sender, receiver)
    for number in range(1, MESSAGES + 1):
        add(sender, number)
        await asyncio.sleep(chance.choice((0, 0, 0.05, 0.5)))
        if chance.random() < 0.05:
            # Another owner, from what was durable; what was under way to the loop is gone.
            state = thaw_partition(freeze_partition(receiver.owned[TARGET].state))
            del receiver.owned[TARGET]
            await asyncio.sleep(0.3)
            receiver.owned[TARGET] = OwnedPartition(TARGET, b"log", 1, 0, state)
    way.bad = False
    await asyncio.sleep(30)
    outbox = sender.owned[SOURCE].state.outboxes[TARGET]
    assert receiver.taken == list(range(1, MESSAGES + 1))
    assert (outbox.acknowledged, outbox.messages) == (MESSAGES, {})
    for process in (sender, receiver):
        await process.delivery.close()


@pytest.mark.parametrize("seed", range(20))
def test_every_message_is_taken_once_and_in_order_and_the_outbox_empties(seed: int) -> None:
    run_virtually(campaign(seed))


async def good_way() -> tuple[int, list[int]]:
    sender, receiver = Process(SOURCE), Process(TARGET)
    way = sender.delivery.peers = Way(random.Random(1), sender, receiver, bad=False)
    for number in range(1, MESSAGES + 1):
        add(sender, number)
    await asyncio.sleep(30)
    for process in (sender, receiver):
        await process.delivery.close()
    return way.sent, receiver.taken


def test_on_a_good_way_nothing_is_sent_twice() -> None:
    sent, taken = run_virtually(good_way())
    assert sent == MESSAGES and taken == list(range(1, MESSAGES + 1))


async def comes_home() -> list[int]:
    """The target is nobody's, then this process's own."""
    process = Process(SOURCE)
    add(process, 1)
    await asyncio.sleep(1)
    process.owned[TARGET] = OwnedPartition(TARGET, b"log", 0, 0, PartitionState(TARGET))
    process.delivery.arrived(process.owned[TARGET], tuple(process.owned.values()))
    await asyncio.sleep(1)
    await process.delivery.close()
    return process.taken


def test_what_nobody_took_is_taken_when_its_target_comes_to_this_process() -> None:
    assert run_virtually(comes_home()) == [1]
