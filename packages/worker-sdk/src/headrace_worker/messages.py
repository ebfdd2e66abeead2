"""What executor and scheduler say to each other, free of protobuf.

Named tuples, since several are built per task: a frozen dataclass of this size costs four times
as much. Payloads are stored bytes (or clear JSON in `Task.arguments`, for workers alone).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from headrace_core.ids import ExecutorId, PlanHash, RunId, StepKey, TenantId
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import StepError, Usage

AttemptKey = tuple[str, str, int]
"""(run, step, attempt number): unique, since every assignment counts up."""


class Attempt(NamedTuple):
    """One attempt of one step, as the record of `epoch` assigned it."""

    partition: int
    epoch: int
    tenant: TenantId
    run: RunId
    step: StepKey
    number: int
    token: int

    @property
    def key(self) -> AttemptKey:
        return (self.run, self.step, self.number)


class ItemInput(NamedTuple):
    """How one item of an upstream fan-out ended; a bare status where only counts are read."""

    status: str
    output: Stored = NOTHING
    error: StepError | None = None


class StepInput(NamedTuple):
    """What the task's templates refer to of one upstream step."""

    step: str
    status: str
    output: Stored = NOTHING
    error: StepError | None = None
    items: Sequence[ItemInput] = ()


class OuterItem(NamedTuple):
    """An item of a fan-out around the step, known under `alias`: position `item` in `items`."""

    alias: str
    item: int
    items: Stored


class Task(NamedTuple):
    """An attempt to run. `timeout_ms` is 0 for none; `item` is the position in `items`.

    `arguments` and `idempotency_key` are for workers alone. `edited_input` holds the
    members of `with` that an operator has set. `heartbeat_ms` is how long the attempt may be
    silent, 0 for ever. `subject_key` is the data subject's key that its payloads are sealed under,
    0 for the tenant's.
    """

    attempt: Attempt
    executor: ExecutorId
    offset: int
    plan: PlanHash
    flow: str
    lane: str
    input: Stored = NOTHING
    values: Sequence[StepInput] = ()
    item: int | None = None
    items: Stored = NOTHING
    fallback: int = 0
    run_started_ms: int = 0
    scheduled_at_ms: int | None = None
    trigger: str = ""
    timeout_ms: int = 0
    notes: Sequence[Stored] = ()
    arguments: bytes = b""
    idempotency_key: str = ""
    edited_input: Stored = NOTHING
    outer_items: Sequence[OuterItem] = ()
    heartbeat_ms: int = 0
    subject_key: int = 0


class Outcome(IntEnum):
    """An executor's word on one attempt.

    FAILED and CANCELLED promise that no effect happened and none will; AMBIGUOUS that a key or a
    probe makes a further attempt safe; UNKNOWN that the outside cannot be asked.
    """

    SUCCEEDED = 1
    FAILED = 2
    AMBIGUOUS = 3
    UNKNOWN = 4
    CANCELLED = 5


class Result(NamedTuple):
    attempt: Attempt
    outcome: Outcome
    output: Stored = NOTHING
    error: StepError | None = None
    usage: Usage | None = None
    retry_after_ms: int = 0


class Note(NamedTuple):
    """An event of a long attempt's own; numbered from 1 per attempt."""

    attempt: Attempt
    number: int
    payload: Stored


class Refusal(NamedTuple):
    attempt: Attempt
    reason: str


class Announcement(NamedTuple):
    partition: int
    epoch: int


class Acknowledgement(NamedTuple):
    """An accepted record closes this attempt; `epoch` is that of the owner who says so."""

    attempt: AttemptKey
    epoch: int


class Report(NamedTuple):
    """Attempts of the partition that are open or whose results are not acknowledged."""

    partition: int
    epoch: int
    open: Sequence[Attempt]


class Credit(NamedTuple):
    """Room for so many tasks more than were granted before."""

    lane: str
    room: int


class Hello(NamedTuple):
    executor: ExecutorId
    lanes: Sequence[str]
    api_key: str = ""


class Welcome(NamedTuple):
    scheduler: str
    tenant: TenantId = TenantId("")


@dataclass(slots=True)
class Received:
    """One message from a scheduler."""

    log_id: bytes
    announcements: Sequence[Announcement] = ()
    tasks: Sequence[Task] = ()
    acknowledgements: Sequence[Acknowledgement] = ()
    cancellations: Sequence[AttemptKey] = ()
    note_acknowledgements: Sequence[tuple[AttemptKey, int]] = ()
    welcome: Welcome | None = None


@dataclass(slots=True)
class Sending:
    """One message to a scheduler; `hello` opens a stream."""

    hello: Hello | None = None
    credits: Sequence[Credit] = ()
    results: Sequence[Result] = ()
    notes: Sequence[Note] = ()
    reports: Sequence[Report] = ()
    refusals: Sequence[Refusal] = ()
    heartbeats: Sequence[Attempt] = ()


@dataclass(slots=True)
class Work:
    """What a received message means for whoever runs attempts.

    `closed` attempts were still open here although a record has closed them: nobody waits for
    them any more. `noted` are notes that are in the log now.
    """

    tasks: list[Task] = field(default_factory=list[Task])
    cancelled: list[Attempt] = field(default_factory=list[Attempt])
    closed: list[Attempt] = field(default_factory=list[Attempt])
    noted: list[tuple[AttemptKey, int]] = field(default_factory=list[tuple[AttemptKey, int]])
