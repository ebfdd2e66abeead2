"""Inputs of the scheduler. Each leads to at most one turn."""

from dataclasses import dataclass
from enum import IntEnum

from headrace_core.ids import (
    Correlation,
    EventId,
    LetterId,
    PlanHash,
    RunId,
    StepKey,
    TenantId,
)
from headrace_core.partition.events import EventStart, Message
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import RunForked, StepError, Usage
from headrace_core.run.status import CancelCause, Repair
from headrace_core.workflow.firing import Catchup, Overlap


class Outcome(IntEnum):
    """An executor's word on one attempt, as in the dispatch contract."""

    SUCCEEDED = 1
    FAILED = 2
    AMBIGUOUS = 3
    UNKNOWN = 4
    CANCELLED = 5


class TimerKind(IntEnum):
    STEP_DUE = 1
    STEP_DEADLINE = 2
    RUN_TIMEOUT = 3
    CANCEL_GRACE = 4
    APPROVAL_ESCALATION = 70
    STEP_HEARTBEAT = 71


class RowVerdict(IntEnum):
    """What the effect row of a step's last attempt says once the scheduler has closed it."""

    NO_EFFECT = 1
    UNKNOWN = 2
    DONE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    run: RunId
    tenant: TenantId
    flow: str
    version: int
    plan: PlanHash
    input: Stored
    trigger: str
    started_by: str
    start_key: bytes
    fingerprint: bytes
    key_kept_ms: int
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkRun:
    """Start `run` with what `fork` inherits; its timeout is filled in when that is decided. With a
    `letter` it replays that dead letter of the source, about the step `letter_step` there."""

    run: RunId
    tenant: TenantId
    fork: RunForked
    start_key: bytes
    fingerprint: bytes
    key_kept_ms: int
    letter: LetterId = LetterId("")
    letter_step: StepKey = StepKey("")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardLetter:
    """Of any run, open or ended. `reason` is sealed under the run's key."""

    letter: LetterId
    tenant: TenantId
    run: RunId
    step: StepKey
    discarded_by: str
    reason: Stored
    start_key: bytes
    fingerprint: bytes
    key_kept_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteStep:
    run: RunId
    step: StepKey
    attempt: int
    token: int
    outcome: Outcome
    output: Stored = NOTHING
    error: StepError | None = None
    usage: Usage | None = None
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteStep:
    run: RunId
    step: StepKey
    attempt: int
    token: int
    number: int
    note: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseAttempt:
    """Nobody reported this attempt: its executor is gone, or seems to be."""

    run: RunId
    step: StepKey
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MissHeartbeat:
    """The attempt has given no sign of life for as long as its step's `heartbeat`."""

    run: RunId
    step: StepKey
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseByRow:
    """The effect row of the step's last attempt was closed; its word ends the step. `cause` is
    that of the CloseRow that asked for it."""

    run: RunId
    step: StepKey
    attempt: int
    verdict: RowVerdict
    output: Stored = NOTHING
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FireTimer:
    run: RunId
    step: StepKey
    kind: TimerKind
    due_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRun:
    run: RunId
    tenant: TenantId
    cause: CancelCause
    requested_by: str
    reason: Stored = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideApproval:
    run: RunId
    tenant: TenantId
    step: StepKey
    decision: str
    answer: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEdit:
    """One step of a suspended run. `value` is sealed JSON: the output, or members of `with`."""

    step: StepKey
    repair: Repair
    value: Stored = NOTHING
    port: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRun:
    """Ends a suspension. Failed steps that no edit names are tried again."""

    run: RunId
    tenant: TenantId
    resumed_by: str
    edits: tuple[StepEdit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRun:
    """`signal` makes a repeat known; `content` is the sealed JSON that the step puts out."""

    run: RunId
    tenant: TenantId
    name: str
    signal: EventId
    content: Stored
    sent_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishEvent:
    """To the home of its correlation. `content` is sealed under the event's id; `starts` are the
    runs that its triggers start, however often it is sent."""

    event: EventId
    tenant: TenantId
    correlation: Correlation
    content: Stored
    keep_ms: int
    start_key: bytes
    fingerprint: bytes
    key_kept_ms: int
    starts: tuple[EventStart, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartChild:
    """The child's input was evaluated and sealed: the second half of a sub-flow's start."""

    run: RunId
    step: StepKey
    version: int = 0
    input: Stored = NOTHING
    error: StepError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeMessage:
    """A message from another run, through outbox and inbox."""

    source: int
    number: int
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAcknowledgement:
    target: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSchedule:
    schedule: str
    tenant: TenantId
    flow: str
    version: int
    plan: PlanHash
    trigger: str
    every_ms: int = 0
    cron: str = ""
    timezone: str = ""
    overlap: Overlap = Overlap.ALLOW
    catchup: Catchup = Catchup.LAST


@dataclass(frozen=True, slots=True, kw_only=True)
class FireSchedule:
    """`run` is the id the firing would start; `input` what the trigger maps to at `firing_ms`,
    sealed for it. With a `fault` that input cannot be used, and the run says so. `due_ms` is the
    time that was armed; `queued` says that it is of a firing that waited for an earlier run."""

    schedule: str
    due_ms: int
    firing_ms: int
    run: RunId
    input: Stored
    fault: str = ""
    queued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinueRun:
    """Go on from the state: after a recovery, or when fetched payloads are at hand."""

    run: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkRun:
    run: RunId
    incident: StepError


RunCommand = (
    CompleteStep
    | NoteStep
    | LoseAttempt
    | MissHeartbeat
    | CloseByRow
    | FireTimer
    | CancelRun
    | DecideApproval
    | ResumeRun
    | SignalRun
    | StartChild
    | ContinueRun
    | ParkRun
)
PartitionCommand = (
    StartRun
    | ForkRun
    | PublishEvent
    | DiscardLetter
    | TakeMessage
    | RecordAcknowledgement
    | SetSchedule
    | FireSchedule
)
Command = RunCommand | PartitionCommand
