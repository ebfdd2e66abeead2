"""Messages between partitions: each is taken once and in order, whatever the way does to them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_core.ids import RunId, TenantId
from headrace_core.partition.events import ChildCancel, MessageReceived
from headrace_core.partition.state import PartitionState
from headrace_core.run.freeze import freeze_partition, thaw_partition
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.turns import Rejected, Turns
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason
from tests.simulation.world.parts import SimCatalogue

SOURCES = (0, 1)
MESSAGE = ChildCancel(run=RunId("run_gone"), tenant=TenantId("acme"))
ARRIVALS = st.lists(
    st.one_of(st.tuples(st.sampled_from(SOURCES), st.integers(1, 8)), st.none()), max_size=120
)


def receiver(state: PartitionState) -> OwnedPartition:
    return OwnedPartition(number=2, log_id=b"log", epoch=0, next_offset=1, state=state)


@given(ARRIVALS)
@settings(max_examples=300, deadline=None)
def test_messages_are_taken_once_and_in_order_over_repeats_gaps_and_takeovers(
    arrivals: list[tuple[int, int] | None],
) -> None:
    turns, owned = Turns(SimCatalogue({}), 4), receiver(PartitionState(2))
    taken: dict[int, list[int]] = {source: [] for source in SOURCES}
    for arrival in arrivals:
        if arrival is None:
            owned = receiver(thaw_partition(freeze_partition(owned.state)))
            continue
        source, number = arrival
        before = len(taken[source])
        take = cmd.TakeMessage(source=source, number=number, message=MESSAGE)
        outcome = turns.decide(owned, Input(2, take), 0)
        if isinstance(outcome, Rejected):
            reason = Reason.REPEATED if number <= before else Reason.OUT_OF_ORDER
            assert outcome.rejection.reason is reason and number != before + 1
        else:
            received = MessageReceived(source=source, number=number)
            assert outcome.turn.partition_events == [received]
            taken[source].append(number)
    for source, numbers in taken.items():
        assert numbers == list(range(1, len(numbers) + 1))
        assert owned.state.inboxes.get(source, 0) == len(numbers)
