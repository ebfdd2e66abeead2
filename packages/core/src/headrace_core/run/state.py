"""State of a run, folded from its events by `apply` alone.

Everybody but `apply` takes the read-only views. State holds stored bytes, never opened values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace_core.ids import (
    Correlation,
    EventId,
    ExecutorId,
    LimitKey,
    PlanHash,
    RunId,
    StepKey,
    TenantId,
)
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import EdgeTaken, Parent, StepError
from headrace_core.run.status import (
    CancelCause,
    RunStatus,
    SkipReason,
    StepStatus,
    WaitingKind,
)


class FanOutView(Protocol):
    """Progress of a `foreach` step; items below `cursor` were opened."""

    @property
    def count(self) -> int: ...
    @property
    def items(self) -> Stored: ...
    @property
    def cursor(self) -> int: ...
    @property
    def succeeded(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def cancelled(self) -> int: ...
    @property
    def outcomes(self) -> Sequence["ItemOutcome | None"]: ...


class GroupView(Protocol):
    """Progress of a group: `members` are its steps that were decided, `ended` how many of them
    have ended, `failed` the first that failed without a handler."""

    @property
    def members(self) -> Sequence[StepKey]: ...
    @property
    def ended(self) -> int: ...
    @property
    def failed(self) -> StepKey | None: ...


class PassesView(Protocol):
    """Progress of a repeated step: the number of its newest pass, and how that one has ended."""

    @property
    def number(self) -> int: ...
    @property
    def status(self) -> StepStatus: ...


class StopView(Protocol):
    @property
    def error(self) -> StepError | None: ...
    @property
    def by(self) -> str: ...
    @property
    def at_ms(self) -> int: ...


class StepView(Protocol):
    @property
    def key(self) -> StepKey: ...
    @property
    def status(self) -> StepStatus: ...
    @property
    def waiting(self) -> WaitingKind: ...
    @property
    def attempt(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def tries(self) -> int: ...
    @property
    def fallback(self) -> int: ...
    @property
    def executor(self) -> ExecutorId: ...
    @property
    def token(self) -> int: ...
    @property
    def first_ready_ms(self) -> int: ...
    @property
    def ready_ms(self) -> int: ...
    @property
    def assigned_ms(self) -> int: ...
    @property
    def ended_ms(self) -> int: ...
    @property
    def due_ms(self) -> int | None: ...
    @property
    def child(self) -> RunId | None: ...
    @property
    def output(self) -> Stored: ...
    @property
    def port(self) -> str: ...
    @property
    def error(self) -> StepError | None: ...
    @property
    def recovered(self) -> bool: ...
    @property
    def skip_reason(self) -> SkipReason | None: ...
    @property
    def edges(self) -> Sequence[EdgeTaken]: ...
    @property
    def fan_out(self) -> FanOutView | None: ...
    @property
    def group(self) -> GroupView | None: ...
    @property
    def passes(self) -> PassesView | None: ...
    @property
    def stop(self) -> StopView | None: ...
    @property
    def approval(self) -> Stored: ...
    @property
    def notes(self) -> Sequence[Stored]: ...
    @property
    def input(self) -> Stored: ...
    @property
    def repaired(self) -> int: ...
    @property
    def escalated(self) -> int: ...
    @property
    def inherited(self) -> bool: ...
    @property
    def correlation(self) -> Correlation: ...
    @property
    def rate_key(self) -> LimitKey: ...
    @property
    def event(self) -> EventId: ...


class StepMemoryView(Protocol):
    """What a step that an operator has repaired keeps until it is decided again."""

    @property
    def attempt(self) -> int: ...
    @property
    def input(self) -> Stored: ...
    @property
    def repaired(self) -> int: ...


class RunView(Protocol):
    @property
    def run_id(self) -> RunId: ...
    @property
    def tenant(self) -> TenantId: ...
    @property
    def status(self) -> RunStatus: ...
    @property
    def sequence(self) -> int: ...
    @property
    def chain(self) -> bytes: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def flow(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def plan(self) -> PlanHash: ...
    @property
    def input(self) -> Stored: ...
    @property
    def output(self) -> Stored: ...
    @property
    def error(self) -> StepError | None: ...
    @property
    def failed_step(self) -> StepKey | None: ...
    @property
    def trigger(self) -> str: ...
    @property
    def started_by(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def parent(self) -> Parent | None: ...
    @property
    def started_ms(self) -> int: ...
    @property
    def ended_ms(self) -> int: ...
    @property
    def timeout_at_ms(self) -> int | None: ...
    @property
    def scheduled_at_ms(self) -> int | None: ...
    @property
    def cancel(self) -> CancelCause | None: ...
    @property
    def cancel_requested_ms(self) -> int: ...
    @property
    def first_failed(self) -> StepKey | None: ...
    @property
    def compensable(self) -> Sequence[StepKey]: ...
    @property
    def failure(self) -> StepError | None: ...
    @property
    def active(self) -> int: ...
    @property
    def idle(self) -> int: ...
    @property
    def limit_key(self) -> LimitKey: ...
    @property
    def admitted_ms(self) -> int: ...
    @property
    def steps(self) -> Mapping[StepKey, StepView]: ...
    @property
    def repaired(self) -> Mapping[StepKey, StepMemoryView]: ...
    @property
    def received(self) -> Sequence[EventId]: ...
    @property
    def resumed_by(self) -> str: ...
    @property
    def resumed_ms(self) -> int: ...
    @property
    def forked_from(self) -> "ForkedFrom | None": ...


@dataclass(frozen=True, slots=True)
class ForkedFrom:
    """The run and its event up to which this run is the same."""

    run: RunId
    sequence: int


@dataclass(slots=True)
class ItemOutcome:
    """What is kept of an ended item: status, output and error."""

    status: StepStatus
    output: Stored = NOTHING
    error: StepError | None = None


@dataclass(slots=True)
class FanOut:
    count: int
    items: Stored
    cursor: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    outcomes: list[ItemOutcome | None] = field(default_factory=list["ItemOutcome | None"])


@dataclass(slots=True)
class Group:
    members: list[StepKey] = field(default_factory=list[StepKey])
    ended: int = 0
    failed: StepKey | None = None
    kept: bool = False
    """Of an item or a pass: something in it may have to be undone, which sees what is around it."""


@dataclass(slots=True)
class Passes:
    number: int = 0
    status: StepStatus = StepStatus.PENDING


@dataclass(slots=True)
class Stop:
    """What is open of the step is to end. With an `error` the step then fails; `by` names the step
    that goes on without it."""

    error: StepError | None = None
    by: str = ""
    at_ms: int = 0


@dataclass(slots=True)
class StepState:
    """`attempt` counts every assignment, `lost` those without a verdict, `tries` the counted ones
    of the current fallback entry. `due_ms` is the wake-up time while waiting. `input` holds
    the members of the step's `with` that an operator has edited; `repaired` counts the repairs.
    An `inherited` step ended in the run that this one was forked from.
    `correlation` is where the step awaits or awaited an event, `event` the event or signal that it
    received. `rate_key` is whose rate its calls go by, once it has asked."""

    key: StepKey
    status: StepStatus = StepStatus.PENDING
    waiting: WaitingKind = WaitingKind.NONE
    attempt: int = 0
    lost: int = 0
    tries: int = 0
    fallback: int = 0
    executor: ExecutorId = ExecutorId("")
    token: int = 0
    first_ready_ms: int = 0
    ready_ms: int = 0
    assigned_ms: int = 0
    ended_ms: int = 0
    due_ms: int | None = None
    child: RunId | None = None
    output: Stored = NOTHING
    port: str = ""
    error: StepError | None = None
    recovered: bool = False
    skip_reason: SkipReason | None = None
    edges: tuple[EdgeTaken, ...] = ()
    fan_out: FanOut | None = None
    approval: Stored = NOTHING
    notes: list[Stored] = field(default_factory=list[Stored])
    input: Stored = NOTHING
    repaired: int = 0
    escalated: int = 0
    group: Group | None = None
    passes: Passes | None = None
    stop: Stop | None = None
    inherited: bool = False
    correlation: Correlation = Correlation("")
    event: EventId = EventId("")
    rate_key: LimitKey = LimitKey("")


@dataclass(slots=True)
class StepMemory:
    attempt: int
    repaired: int
    input: Stored = NOTHING


@dataclass(slots=True)
class RunState:
    """`active` counts steps that are ready or running, `idle` those that wait. `first_failed` is
    the first step that ended failed without a handler: it fails the run when the run ends.
    `repaired` holds what repaired steps keep; they are in `steps` once they are decided again.
    `compensable` are the steps and items that are still to be undone if the run fails, in order of
    completion; `failure` is why they are being undone, None as long as the run goes forward.
    `received` are the events and signals that ended waits of this run: each ends one only.
    A run with a `limit_key` is queued until `admitted_ms`."""

    run_id: RunId
    tenant: TenantId
    status: RunStatus = RunStatus.QUEUED
    sequence: int = 0
    chain: bytes = b""
    time_ms: int = 0
    flow: str = ""
    version: int = 0
    plan: PlanHash = PlanHash("")
    input: Stored = NOTHING
    output: Stored = NOTHING
    error: StepError | None = None
    failed_step: StepKey | None = None
    trigger: str = ""
    started_by: str = ""
    priority: int = 0
    parent: Parent | None = None
    started_ms: int = 0
    ended_ms: int = 0
    timeout_at_ms: int | None = None
    scheduled_at_ms: int | None = None
    cancel: CancelCause | None = None
    cancel_requested_ms: int = 0
    first_failed: StepKey | None = None
    compensable: list[StepKey] = field(default_factory=list[StepKey])
    failure: StepError | None = None
    active: int = 0
    idle: int = 0
    steps: dict[StepKey, StepState] = field(default_factory=dict[StepKey, StepState])
    repaired: dict[StepKey, StepMemory] = field(default_factory=dict[StepKey, StepMemory])
    resumed_by: str = ""
    resumed_ms: int = 0
    forked_from: ForkedFrom | None = None
    received: tuple[EventId, ...] = ()
    limit_key: LimitKey = LimitKey("")
    admitted_ms: int = 0
