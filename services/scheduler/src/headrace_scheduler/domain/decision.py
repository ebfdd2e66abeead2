"""A turn in the making: what is decided is folded at once, so that the next question is asked of
the state that results. Nothing of it is visible outside before its record is durable.
"""

from collections import deque
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache

from headrace_core.ids import RunId, StepKey, TenantId, partition_of, slot_of_limit
from headrace_core.partition.apply import apply as apply_partition
from headrace_core.partition.apply import set_time as set_partition_time
from headrace_core.partition.events import (
    LimitLeave,
    Message,
    MessageReceived,
    MessageSent,
    PartitionEvent,
    ScheduleRunEnded,
)
from headrace_core.partition.state import PartitionState, PartitionView
from headrace_core.payload import Stored, Vault
from headrace_core.run.apply import apply, set_time
from headrace_core.run.events import ItemsRefilled, RunEvent, StepError
from headrace_core.run.state import RunState, RunView
from headrace_core.run.status import RUN_TERMINAL
from headrace_core.workflow.plan import Plan
from headrace_scheduler.domain.effects import ContinueLater, DeliverMessages, Effect, ReleaseFiring

TURN_BYTES = 300_000
"""About so much one turn decides of a run before it goes on in the next one: well below what a
record may hold, since the step that fills it is still taken."""
_EVENTS_UNWEIGHED = 6
_EVENT_BYTES = 150
_WEIGHED = ("output", "items", "request", "error")


class Reason(StrEnum):
    """Why a command was rejected. A rejection is an answer, not a fault."""

    NOT_FOUND = "not_found"
    LATE = "late"
    INVALID_STATE = "invalid_state"
    KEY_REUSED = "key_reused"
    OUT_OF_ORDER = "out_of_order"
    REPEATED = "repeated"
    INVALID_INPUT = "invalid_input"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Nothing was changed. `run` names the run that already answers the request, if any."""

    reason: Reason
    message: str
    run: RunId | None = None


class PartitionTurn:
    """The partition's part of a turn. Also the whole of a turn that touches no run."""

    __slots__ = ("_partition", "_sent", "effects", "now_ms", "partition_events", "partitions")

    def __init__(self, partition: PartitionState, now_ms: int, partitions: int) -> None:
        self._partition = partition
        self.partitions = partitions
        # A takeover by a host whose clock lags must not go back in time.
        self.now_ms = max(now_ms, partition.time_ms)
        self.partition_events: list[PartitionEvent] = []
        self.effects: list[Effect] = []
        self._sent: dict[int, int] | None = None

    @property
    def partition(self) -> PartitionView:
        return self._partition

    def emit_partition(self, event: PartitionEvent) -> None:
        """Folded by `commit` alone: a decision that fails leaves the partition as it was."""
        self.partition_events.append(event)

    def receive(self, source: int, number: int) -> None:
        """A message is taken in this turn, once."""
        self.emit_partition(MessageReceived(source=source, number=number))

    def commit(self) -> None:
        if not self.partition_events:
            return
        set_partition_time(self._partition, self.now_ms)
        for event in self.partition_events:
            apply_partition(self._partition, event)

    def emit_folded(self, event: PartitionEvent) -> None:
        """After `commit`, for what follows from the folded turn."""
        self.emit_partition(event)
        set_partition_time(self._partition, self.now_ms)
        apply_partition(self._partition, event)

    def send(self, target: int, message: Message) -> None:
        if self._sent is None:
            self._sent = {}
        number = self._sent.get(target)
        if number is None:
            outbox = self._partition.outboxes.get(target)
            number = outbox.sent if outbox is not None else 0
            self.effects.append(DeliverMessages(target))
        self._sent[target] = number + 1
        self.emit_partition(MessageSent(target=target, number=number + 1, message=message))


class RunTurn(PartitionTurn):
    """A turn of one run. `ended` holds the steps whose dependents are still to be looked at,
    `begun` the items, passes and groups that have still to go on to what they consist of."""

    __slots__ = (
        "_run",
        "_weighed",
        "_weight",
        "begun",
        "ended",
        "events",
        "first_sequence",
        "plan",
        "postponed",
        "run",
        "vault",
    )

    def __init__(
        self,
        run: RunState,
        plan: Plan,
        vault: Vault,
        partition: PartitionState,
        now_ms: int,
        partitions: int,
    ) -> None:
        super().__init__(partition, now_ms, partitions)
        self._run = run
        # A field, not a property: it is asked a dozen times in each turn.
        self.run: RunView = run
        self.plan = plan
        self.vault = vault
        self.first_sequence = run.sequence + 1
        self.events: list[RunEvent] = []
        self.ended: deque[StepKey] = deque()
        self.begun: deque[StepKey] = deque()
        self.postponed = False
        self._weighed = self._weight = 0

    @property
    def run_id(self) -> RunId:
        return self._run.run_id

    @property
    def tenant(self) -> TenantId:
        return self._run.tenant

    def emit(self, event: RunEvent) -> None:
        if not self.events:
            # A rejected command leaves no trace in the state, not even its time.
            set_time(self._run, self.now_ms)
        apply(self._run, event)
        self.events.append(event)

    def perform(self, effect: Effect) -> None:
        self.effects.append(effect)

    def is_full(self) -> bool:
        """Whether what is left to decide goes into a further turn, since one turn is one record.
        Asked before each step; from the first yes on the run is continued later."""
        if len(self.events) <= _EVENTS_UNWEIGHED:
            return False
        for event in self.events[self._weighed :]:
            self._weight += _weight_of(event)
        self._weighed = len(self.events)
        if self._weight < TURN_BYTES and not self.postponed:
            return False
        if not self.postponed:
            self.postponed = True
            self.perform(ContinueLater(self.run_id))
        return True

    def commit(self) -> None:
        run = self._run
        if run.limit_key and self.events and run.status in RUN_TERMINAL:
            # However it has ended: its place among those of its key is free.
            leave = LimitLeave(key=run.limit_key, tenant=run.tenant, run=run.run_id)
            self.send(partition_of(slot_of_limit(run.limit_key), self.partitions), leave)
        PartitionTurn.commit(self)
        runs = self._partition.scheduled_runs
        if runs and self._run.run_id in runs and self._run.status in RUN_TERMINAL:
            self._leave_schedule()

    def _leave_schedule(self) -> None:
        """However the run has ended: what its schedule held back for it may go on."""
        name = self._partition.scheduled_runs[self._run.run_id]
        self.emit_folded(ScheduleRunEnded(schedule=name, run=self._run.run_id))
        schedule = self._partition.schedules[name]
        if schedule.queued and not schedule.open:
            self.effects.append(ReleaseFiring(name, schedule.queued[0]))


def _weight_of(event: RunEvent) -> int:
    """About its bytes in the record; opening an item counts as a step of its own."""
    if isinstance(event, ItemsRefilled):
        return _EVENT_BYTES * event.count
    weight = _EVENT_BYTES
    for name in _weighed_fields(type(event)):
        value: Stored | StepError | None = getattr(event, name)
        if value:
            weight += len(value.message if isinstance(value, StepError) else value)
    return weight


@cache
def _weighed_fields(kind: type[RunEvent]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name in _WEIGHED)
