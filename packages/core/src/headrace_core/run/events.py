"""The events of a run: frozen, and final once released.

One event per move, named by the noun and the participle of the state it leads to. The table
event -> move -> fields here is the source; documentation and codec follow it. Payloads are
stored bytes, times are absolute epoch milliseconds.
"""

from dataclasses import dataclass

from headrace_core.ids import (
    Correlation,
    EventId,
    ExecutorId,
    LetterId,
    LimitKey,
    PlanHash,
    RunId,
    StepKey,
)
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.status import CancelCause, Repair, SkipReason, StepStatus, WaitingKind
from headrace_core.workflow.joins import EdgeState


@dataclass(frozen=True, slots=True, kw_only=True)
class StepError:
    """A dotted type, in clear since control decides by it, and a sealed message."""

    type: str
    message: Stored = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one attempt consumed at a model; cost in millionths of the account's currency.

    `prompt_hash` is the SHA-256 of the messages in hexadecimal. `duration_ms` is that of the call.
    """

    model: str
    prompt_hash: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    duration_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTaken:
    """One `needs` entry as it was decided when the step became ready or was skipped."""

    source: str
    port: str
    state: EdgeState


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """Which attempt of which step waits for this run; a `detached` one has not waited."""

    run: RunId
    step: StepKey
    attempt: int
    detached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    flow: str
    version: int
    plan: PlanHash
    input: Stored
    trigger: str
    started_by: str
    priority: int = 0
    timeout_at_ms: int | None = None
    scheduled_at_ms: int | None = None
    parent: Parent | None = None
    limit_key: LimitKey = LimitKey("")


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritedItem:
    """Outcome of an ended item of an inherited fan-out."""

    index: int
    status: StepStatus
    output: Stored = NOTHING
    error: StepError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritedItems:
    """The list of an inherited fan-out and what became of its items."""

    count: int
    items: Stored
    outcomes: tuple[InheritedItem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritedStep:
    """An ended step that a fork takes over as it was, its payloads sealed for the new run.

    `edited` says that the output is not the source's. `ready_ms` and `ended_ms` are the source's
    times; `attempt` counts its assignments there, none of which the new run repeats.
    """

    step: StepKey
    status: StepStatus
    output: Stored = NOTHING
    port: str = ""
    recovered: bool = False
    error: StepError | None = None
    skip_reason: SkipReason | None = None
    edges: tuple[EdgeTaken, ...] = ()
    items: InheritedItems | None = None
    attempt: int = 0
    ready_ms: int = 0
    ended_ms: int = 0
    edited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunForked:
    """A new run begins with what had ended in `source` at its event `source_sequence`.

    `state_hash` is that of the source's state there. `reason` is sealed JSON text of who forked.
    """

    source: RunId
    source_sequence: int
    state_hash: str
    flow: str
    version: int
    plan: PlanHash
    input: Stored
    started_by: str
    steps: tuple[InheritedStep, ...] = ()
    input_edited: bool = False
    priority: int = 0
    timeout_at_ms: int | None = None
    reason: Stored = NOTHING
    limit_key: LimitKey = LimitKey("")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAdmitted:
    """The run has a place among those of its `concurrency` key: its steps and its timeout begin."""

    timeout_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWaiting:
    """Nothing of the run is ready or running; it waits for time, people or another run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """`resumed_by` names the operator who ended a suspension, empty after a wait. `failure` is
    set for a run that is being undone, and goes on with that."""

    resumed_by: str = ""
    failure: StepError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSuspended:
    """By `on_failure: suspend`: the step has failed, and nothing further is decided before the run
    is repaired or cancelled. Open attempts still end."""

    incident: StepError
    step: StepKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParked:
    """The engine met an exception in this run; it stays until it is cancelled or repaired."""

    incident: StepError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelRequested:
    cause: CancelCause
    requested_by: str
    reason: Stored = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompensating:
    """The run has failed with this error, and what it did is undone before it ends. A cancel that
    made it fail, by its timeout, is over with this."""

    error: StepError
    step: StepKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompensated:
    """Every step that had succeeded and says how it is undone was undone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSucceeded:
    output: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    error: StepError
    step: StepKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReady:
    step: StepKey
    edges: tuple[EdgeTaken, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAssigned:
    """The attempt was given to an executor process. Attempts count every assignment."""

    step: StepKey
    attempt: int
    executor: ExecutorId
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWaiting:
    """`correlation` is where the event is awaited, `limit_key` whose rate is waited for; both are
    empty for other kinds. A step that waits for its rate has a `due_ms` once that is known."""

    step: StepKey
    kind: WaitingKind
    due_ms: int | None = None
    child: RunId | None = None
    correlation: Correlation = Correlation("")
    limit_key: LimitKey = LimitKey("")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRetryScheduled:
    """An attempt ended without a verdict on the step: it is tried again at `due_ms`.

    `counted` is False for a lost executor, which uses up no attempt of the policy. `fallback`
    is the entry that the next attempt uses; 0 is the step's own action.
    """

    step: StepKey
    attempt: int
    error: StepError
    due_ms: int
    counted: bool = True
    fallback: int = 0
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSucceeded:
    """`attempt` is 0 where no executor was asked. `port` is the port taken, empty for default.
    `error` is what it has recovered from, if so. A `compensable` one is undone if the run fails."""

    step: StepKey
    attempt: int = 0
    output: Stored = NOTHING
    port: str = ""
    recovered: bool = False
    usage: Usage | None = None
    error: StepError | None = None
    compensable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """`handled` says that the definition catches this failure, so that it does not fail the run."""

    step: StepKey
    error: StepError
    attempt: int = 0
    handled: bool = False
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSkipped:
    step: StepKey
    reason: SkipReason
    edges: tuple[EdgeTaken, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCancelled:
    step: StepKey
    attempt: int = 0
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCompensating:
    """What undoes this step is ready. It goes on as a step of its own, at the step's compensation
    key, and the next one begins only when it has ended."""

    step: StepKey


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNoted:
    """An event of a long attempt's own, logged while it runs; numbered from 1 per attempt."""

    step: StepKey
    attempt: int
    number: int
    note: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRepaired:
    """An operator's edit: the step is undecided again, but for the number of its attempts. What
    it becomes follows in the same turn or once the run goes on. The members of
    `input`, if any, take the place of those of its `with`. `failed` says that the step had."""

    step: StepKey
    repair: Repair
    repaired_by: str
    input: Stored = NOTHING
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsExpanded:
    """A fan-out's list, evaluated once. `items` is sealed JSON `[[key, value], ...]` in order."""

    step: StepKey
    count: int
    items: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsRefilled:
    """Items first .. first + count - 1 became ready, as places under `max_parallel` came free."""

    step: StepKey
    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequested:
    """`request` is sealed JSON {assignees, title, form}; people's names are personal data."""

    step: StepKey
    request: Stored
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalEscalated:
    """Nobody decided in time: more people are asked. `number` counts the escalations from 1;
    `request` is the whole request from here on, {assignees, title, form, added, via}."""

    step: StepKey
    number: int
    request: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided:
    """`answer` is sealed JSON {by, comment, form}. The step's own end follows in the same turn."""

    step: StepKey
    decision: str
    answer: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """The step's wake-up time has come. What it led to follows in the same turn."""

    step: StepKey


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOpened:
    """The steps of a group, or of an item or a pass of it, begin. At `due_ms` their time is up."""

    step: StepKey
    due_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassStarted:
    """A repeated step begins its pass `number`, counted from 1; the pass became ready."""

    step: StepKey
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStopRequested:
    """The step is to end, and nothing new of it begins: what a fan-out, a group or a repeated step
    has open ends first, then the step itself, cancelled or failed with `error` where there is one.
    `by` is the step beside it that goes on without it, so that its end does not fail the run.
    """

    step: StepKey
    error: StepError | None = None
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReceived:
    """A message to this very run ended the wait; its content is the output that follows."""

    step: StepKey
    name: str
    signal: EventId
    sent_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReceived:
    """An event that matches came, early or in time; its content is the output that follows."""

    step: StepKey
    event: EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterAdded:
    """The step's call of `operation` has failed for good in this attempt, nothing in the
    definition took it over, and what it did outside is not what was wanted: somebody has to look.
    Stands behind the step's failure, in the same turn."""

    step: StepKey
    attempt: int
    letter: LetterId
    operation: str
    error: StepError


RunEvent = (
    RunStarted
    | RunForked
    | RunAdmitted
    | RunWaiting
    | RunResumed
    | RunSuspended
    | RunParked
    | RunCancelRequested
    | RunSucceeded
    | RunFailed
    | RunCancelled
    | RunCompensating
    | RunCompensated
    | StepReady
    | StepAssigned
    | StepWaiting
    | StepRetryScheduled
    | StepSucceeded
    | StepFailed
    | StepSkipped
    | StepCancelled
    | StepCompensating
    | StepNoted
    | StepRepaired
    | ItemsExpanded
    | ItemsRefilled
    | ApprovalRequested
    | ApprovalEscalated
    | ApprovalDecided
    | TimerFired
    | GroupOpened
    | PassStarted
    | StepStopRequested
    | SignalReceived
    | EventReceived
    | DeadLetterAdded
)
RUN_TERMINAL_EVENTS = (RunSucceeded, RunFailed, RunCancelled, RunCompensated)
