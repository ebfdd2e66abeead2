"""What a scheduler does about messages of its outboxes that do not get through at once."""

import asyncio
from dataclasses import dataclass, field

import pytest

from headrace_core.errors import BlobMissing, HeadraceError, SetupError, Unavailable
from headrace_core.ids import PlanHash, RunId, StepKey, TenantId
from headrace_core.partition.apply import apply
from headrace_core.partition.events import ChildEnded, ChildStart, Message, MessageSent
from headrace_core.partition.state import PartitionState
from headrace_core.payload import Stored
from headrace_core.run.events import Parent
from headrace_core.run.status import RunStatus
from headrace_runtime.telemetry import Logger
from headrace_scheduler.app.delivery import Delivery
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.domain import commands as cmd
from tests.simulation.world.parts import SimCatalogue
from tests.simulation.world.virtual_loop import run_virtually
from tests.support.run_harness import RUN, TENANT, child

PARENT = Parent(run=RUN, step=StepKey("call"), attempt=1)
PLAN = PlanHash("1" * 64)


def start(number: int) -> ChildStart:
    return ChildStart(
        run=child(number),
        tenant=TENANT,
        flow="flow",
        version=1,
        plan=PLAN,
        input=Stored(b""),
        parent=PARENT,
    )


ANSWER = ChildEnded(
    parent=PARENT,
    tenant=TENANT,
    child=child(1),
    status=RunStatus.SUCCEEDED,
    output=Stored(b"somewhere"),
)


@dataclass
class MovingCatalogue(SimCatalogue):
    """Raises `faults` before it brings anything to hand."""

    faults: list[HeadraceError] = field(default_factory=list[HeadraceError])

    def __post_init__(self) -> None:
        super().__init__({})

    async def load(self, tenant: TenantId, plan: PlanHash) -> None:
        self._fail()

    async def fetch(self, tenant: TenantId, owner: RunId, stored: Stored) -> None:
        self._fail()

    def _fail(self) -> None:
        if self.faults:
            raise self.faults.pop(0)


async def taken(messages: list[Message], *faults: HeadraceError) -> list[int]:
    """Numbers in the order in which they came to the receiver, in five seconds."""
    source, target = (
        OwnedPartition(number, b"log", 0, 0, PartitionState(number)) for number in (0, 1)
    )
    for number, message in enumerate(messages, start=1):
        apply(source.state, MessageSent(target=1, number=number, message=message))
    put: list[Input] = []
    log = Logger("tests", write=lambda line: None)
    catalogue = MovingCatalogue(list(faults))
    delivery = Delivery(catalogue, {0: source, 1: target}.get, put.append, log)
    delivery.deliver(source, 1)
    await asyncio.sleep(5)
    await delivery.close()
    return [one.command.number for one in put if isinstance(one.command, cmd.TakeMessage)]


@pytest.mark.parametrize(
    "fault", [SetupError("a newer release"), Unavailable("no database")], ids=lambda one: one.code
)
def test_a_message_whose_plan_cannot_be_read_is_sent_again_with_what_comes_after_it(
    fault: HeadraceError,
) -> None:
    assert run_virtually(taken([start(1), start(2)], fault, fault)) == [1, 2]


def test_an_answer_whose_payload_is_gone_still_comes() -> None:
    gone = BlobMissing("it was deleted")
    assert run_virtually(taken([ANSWER, start(2)], gone)) == [1, 2]
