"""What the witnesses of a campaign wrote down, each by itself and at once: facts, no conclusions.

A journal is a file of JSON lines. Nothing here asks the platform about itself, except for
`HistorySaid`, which is what is being compared.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

AttemptKey = tuple[str, str, int]
"""(run, step, number of the attempt)."""

TASK_ACCEPTED = "task accepted"


@dataclass(frozen=True, slots=True)
class StartAnswered:
    """The client's: a start was answered with 202. `key` is the client's idempotency key."""

    key: str
    run: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The client's: it asked for a run whose start had been answered."""

    run: str
    status: int


@dataclass(frozen=True, slots=True)
class EventSeen:
    """The subscriber's: one event of a run on its `connection`th connection, from 1 on."""

    run: str
    connection: int
    sequence: int
    kind: str


@dataclass(frozen=True, slots=True)
class EndSeen:
    """The subscriber's: it was told that the run has ended."""

    run: str
    connection: int


@dataclass(frozen=True, slots=True)
class Request:
    """The receiver's: one request as it came in. `performed` says that it had the effect: the
    first with its key, or any without one. Repeats of a key get the first's receipt."""

    number: int
    run: str
    step: str
    key: str
    performed: bool
    receipt: int


@dataclass(frozen=True, slots=True)
class TaskAccepted:
    """An executor's, from its debug log."""

    partition: int
    epoch: int
    offset: int
    run: str
    step: str
    attempt: int
    token: int
    executor: str

    @property
    def key(self) -> AttemptKey:
        return (self.run, self.step, self.attempt)


@dataclass(frozen=True, slots=True)
class HistorySaid:
    """History's word on a run at one of its events: the hash of its state there."""

    run: str
    sequence: int
    state_hash: str


@dataclass(frozen=True, slots=True)
class RowSaid:
    """History's row of a run at the end, with counts of events, and receipts by step."""

    run: str
    status: str
    sequence: int
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    receipts: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class TenantTables:
    """History's tables of one tenant as they stand in its database, all at one moment."""

    tenant: str
    tables: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Projected:
    """`offsets` by partition: every record below is in the tables."""

    offsets: Mapping[int, int]
    tenants: Sequence[TenantTables]


@dataclass(frozen=True, slots=True)
class Heard:
    """A subscriber's one connection `via` some way, which asked for what comes after event
    `after`: (number, kind) of what it was sent, and whether it was told that this is all."""

    run: str
    via: str
    after: int
    events: Sequence[tuple[int, str]]
    ended: bool


@dataclass(frozen=True, slots=True)
class CreditsSeen:
    """Both ends of one stream at one moment: credits that the executor has granted and not seen
    used, those that the scheduler has free, and those in messages under way. `share` is what the
    executor grants this stream; at rest, when nothing is open, all of it must be granted again."""

    executor: str
    owner: str
    granted: int
    free: int
    under_way: int = 0
    share: int = 0
    at_rest: bool = False


@dataclass(frozen=True, slots=True)
class SlotsSeen:
    """Both ends of one stream at a moment when nothing is under way on it: attempts that the
    executor holds, and those that are assigned to it and open."""

    executor: str
    owner: str
    held: frozenset[AttemptKey]
    assigned: frozenset[AttemptKey]
    at_rest: bool = False


@dataclass(frozen=True, slots=True)
class Killed:
    """The killer's: whom it killed, when, and how many calls the receiver had open just then."""

    process: str
    pid: int
    at_ms: int
    open_calls: int


@dataclass(frozen=True, slots=True)
class Witnesses:
    """`events` are the live subscribers', `told` history's own lists at the end."""

    starts: Sequence[StartAnswered] = ()
    lookups: Sequence[LookedUp] = ()
    events: Sequence[EventSeen] = ()
    ends: Sequence[EndSeen] = ()
    requests: Sequence[Request] = ()
    tasks: Sequence[TaskAccepted] = ()
    states: Sequence[HistorySaid] = ()
    rows: Sequence[RowSaid] = ()
    told: Sequence[EventSeen] = ()
    usage: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """By flow: runs and attempts, as history adds them up."""
    credits: Sequence[CreditsSeen] = ()
    slots: Sequence[SlotsSeen] = ()
    heard: Sequence[Heard] = ()
    projected: Sequence[Projected] = ()
    rebuilt: Projected | None = None
    """History's tables, derived once more since the last of `projected` and nothing else."""


def json_lines(lines: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    """The objects among the lines. A process that was killed may leave half a line, and what a
    library prints to stderr is none."""
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document


def tasks_accepted(lines: Iterable[bytes]) -> Iterator[TaskAccepted]:
    """From the executors' log."""
    names = TaskAccepted.__slots__
    for document in json_lines(lines):
        if document.get("event") == TASK_ACCEPTED:
            yield TaskAccepted(**{name: document[name] for name in names})


def requests_of(lines: Iterable[bytes]) -> Iterator[Request]:
    """From the receiver's raw log: whose request it was stands in its body."""
    for document in json_lines(lines):
        body = json.loads(document["body"])
        yield Request(
            number=document["number"],
            run=body["run"],
            step=body["step"],
            key=document["headers"].get("idempotency-key", ""),
            performed=document["performed"],
            receipt=document["receipt"],
        )
