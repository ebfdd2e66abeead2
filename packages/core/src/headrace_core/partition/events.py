"""Events of a partition: they stand in the same record as the run events they belong to.

A message between runs is an event in the sender's outbox and one in the receiver's inbox; the
protocol (numbers, watermarks, durable acknowledgements) is checked exhaustively by the tests'
delivery model.
"""

from dataclasses import dataclass

from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import Parent, StepError
from headrace_core.run.status import RunStatus


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


Message = ChildStart | ChildEnded | ChildCancel


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
    """Creates, replaces or (with `every_ms` 0) removes a schedule of one flow's trigger."""

    schedule: str
    tenant: TenantId
    flow: str
    version: int
    plan: PlanHash
    trigger: str
    every_ms: int
    next_due_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFired:
    """Stands in the record of the run that it started."""

    schedule: str
    due_ms: int
    next_due_ms: int
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


PartitionEvent = (
    PartitionClaimed
    | StartKeyed
    | ScheduleSet
    | ScheduleFired
    | MessageSent
    | MessageReceived
    | MessageAcknowledged
)
