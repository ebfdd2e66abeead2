"""Events of a partition: they stand in the same record as the run events they belong to.

A message between runs is an event in the sender's outbox and one in the receiver's inbox; the
protocol (numbers, watermarks, durable acknowledgements) is checked exhaustively by the tests'
delivery model.
"""

from dataclasses import dataclass

from headrace_core.ids import (
    Correlation,
    EventId,
    LetterId,
    LimitKey,
    PlanHash,
    RunId,
    StepKey,
    TenantId,
)
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import Parent, StepError
from headrace_core.run.status import Admission, RunStatus
from headrace_core.workflow.firing import Catchup, OnConflict, Overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStart:
    """Start this run in the receiving partition; its input is sealed under its own key."""

    run: RunId
    tenant: TenantId
    flow: str
    version: int
    plan: PlanHash
    input: Stored
    parent: Parent
    priority: int = 0
    timeout_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnded:
    """A child's answer. Output and error are sealed under the child's key."""

    parent: Parent
    tenant: TenantId
    child: RunId
    status: RunStatus
    output: Stored = NOTHING
    error: StepError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildCancel:
    run: RunId
    tenant: TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiterJoin:
    """A step waits for events of this correlation, those since `since_ms` included."""

    tenant: TenantId
    run: RunId
    step: StepKey
    correlation: Correlation
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiterLeave:
    """The step waits no more, however it ended."""

    tenant: TenantId
    run: RunId
    step: StepKey
    correlation: Correlation


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDelivery:
    """An event for a step that waits; whether it matches is the run's to say. `content` is sealed
    under the event's id."""

    tenant: TenantId
    run: RunId
    step: StepKey
    correlation: Correlation
    event: EventId
    content: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class EventForward:
    """To oneself: go on forwarding, since one record does not hold it all."""

    tenant: TenantId
    correlation: Correlation


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitAsk:
    """A run asks for one of the `limit` places of its key."""

    key: LimitKey
    tenant: TenantId
    flow: str
    run: RunId
    limit: int
    on_conflict: OnConflict = OnConflict.QUEUE


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitAnswer:
    """To a run that asked, once or twice: a place, and later perhaps that it has to give it up.
    `by` is the run that takes its place; `count` is how many hold one, or wait for one."""

    tenant: TenantId
    run: RunId
    admission: Admission
    count: int = 0
    by: RunId = RunId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitLeave:
    """The run has ended, whether it held a place or waited for one."""

    key: LimitKey
    tenant: TenantId
    run: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStart:
    """Start this run by a trigger that `event` met; its input is sealed under its own key. With
    an `error` that input cannot be used: the run says so and does nothing."""

    run: RunId
    tenant: TenantId
    flow: str
    version: int
    plan: PlanHash
    input: Stored
    trigger: str
    event: EventId
    error: StepError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateAsk:
    """A step asks when it may call: no more than `limit` calls of its key in any `per_ms`."""

    key: LimitKey
    tenant: TenantId
    run: RunId
    step: StepKey
    per_ms: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateGrant:
    """The step may call from `at_ms` on."""

    tenant: TenantId
    run: RunId
    step: StepKey
    at_ms: int


StartMessage = ChildStart | EventStart
"""Begins a run."""
RunMessage = ChildEnded | ChildCancel | EventDelivery | LimitAnswer | RateGrant
"""To an open run."""
HomeMessage = WaiterJoin | WaiterLeave | EventForward | LimitAsk | LimitLeave | RateAsk
"""To a partition itself: touches no run."""
Message = StartMessage | RunMessage | HomeMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionClaimed:
    """A new owner; its epoch is the offset of this record. The nonce proves whose claim it is."""

    owner: str
    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StartKeyed:
    """A start was registered: the same key with the same request leads to the same run."""

    key: bytes
    fingerprint: bytes
    run: RunId
    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSet:
    """Creates, replaces or (with neither `every_ms` nor `cron`) removes a schedule of one flow's
    trigger. A firing that finds an earlier run open goes by `overlap`, missed ones by `catchup`."""

    schedule: str
    tenant: TenantId
    flow: str
    version: int
    plan: PlanHash
    trigger: str
    every_ms: int
    next_due_ms: int
    cron: str = ""
    timezone: str = ""
    overlap: Overlap = Overlap.ALLOW
    catchup: Catchup = Catchup.LAST


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFired:
    """Stands in the record of the run that it started. `due_ms` is the firing's time, which is
    later than the one that was expected where earlier ones were missed and dropped."""

    schedule: str
    due_ms: int
    next_due_ms: int
    run: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleHeld:
    """A firing that started no run, because an earlier run is open or because it was missed.
    `queued` says that it starts one later."""

    schedule: str
    due_ms: int
    next_due_ms: int
    queued: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleReleased:
    """The firing that waited longest starts its run, in whose record this stands."""

    schedule: str
    due_ms: int
    run: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRunEnded:
    """A run that later firings had to respect has ended, in the record where this stands."""

    schedule: str
    run: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSent:
    target: int
    number: int
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """Stands in the turn that the message caused: a repeat is recognised by the watermark."""

    source: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAcknowledged:
    """The receiver's durable watermark: everything up to `number` may be forgotten."""

    target: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPublished:
    """An event came to its home. It is kept for those who wait later until `expires_at_ms`, which
    may be now. Events of a partition are numbered from 1."""

    event: EventId
    tenant: TenantId
    correlation: Correlation
    content: Stored
    number: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventForwarded:
    """This waiter was sent every event of the correlation up to `number`."""

    correlation: Correlation
    run: RunId
    step: StepKey
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiterJoined:
    tenant: TenantId
    run: RunId
    step: StepKey
    correlation: Correlation
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiterLeft:
    run: RunId
    step: StepKey
    correlation: Correlation


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitAsked:
    """A run waits for a place, behind those that asked before it; the newest `limit` holds."""

    key: LimitKey
    tenant: TenantId
    flow: str
    run: RunId
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitGranted:
    key: LimitKey
    run: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReplaced:
    """The run was told to make way: it keeps a place that it holds until it has ended."""

    key: LimitKey
    run: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitLeft:
    key: LimitKey
    run: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class RateGranted:
    """One more call of the key begins at `at_ms`, which may be later than now."""

    key: LimitKey
    tenant: TenantId
    per_ms: int
    limit: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterReplayed:
    """What had failed in step `step` of `run` is tried again in `as_run`, in whose record this
    stands: a fork, or the run itself, which was suspended and goes on."""

    letter: LetterId
    tenant: TenantId
    run: RunId
    step: StepKey
    as_run: RunId
    replayed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterDiscarded:
    """Somebody has looked, and it is not tried again. `reason` is sealed under the run's key."""

    letter: LetterId
    tenant: TenantId
    run: RunId
    step: StepKey
    discarded_by: str
    reason: Stored = NOTHING


LetterDecision = DeadLetterReplayed | DeadLetterDiscarded
PartitionEvent = (
    PartitionClaimed
    | StartKeyed
    | ScheduleSet
    | ScheduleFired
    | ScheduleHeld
    | ScheduleReleased
    | ScheduleRunEnded
    | MessageSent
    | MessageReceived
    | MessageAcknowledged
    | EventPublished
    | EventForwarded
    | WaiterJoined
    | WaiterLeft
    | LimitAsked
    | LimitGranted
    | LimitReplaced
    | LimitLeft
    | RateGranted
    | DeadLetterReplayed
    | DeadLetterDiscarded
)
