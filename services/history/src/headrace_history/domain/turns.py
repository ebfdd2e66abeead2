"""Turns as history keeps them: stored bytes, and a digest of what is inside.

Most turns of most runs are never looked at again, so their bodies are not decoded: the
projections get by with the number of events per kind and the few events that say more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace_core.ids import RunId, TenantId
from headrace_core.partition.events import LetterDecision
from headrace_core.run import events as ev

MARKED_KINDS: frozenset[type[ev.RunEvent]] = frozenset(
    {
        ev.RunStarted,
        ev.RunForked,
        ev.RunAdmitted,
        ev.RunWaiting,
        ev.RunResumed,
        ev.RunSuspended,
        ev.StepRepaired,
        ev.RunParked,
        ev.RunCancelRequested,
        ev.RunSucceeded,
        ev.RunFailed,
        ev.RunCancelled,
        ev.RunCompensating,
        ev.RunCompensated,
        ev.ApprovalRequested,
        ev.ApprovalEscalated,
        ev.ApprovalDecided,
        ev.DeadLetterAdded,
    }
)
"""Kinds whose content the projections need; a digest carries these events whole."""
METERED_KINDS: frozenset[type[ev.RunEvent]] = frozenset(
    {ev.StepSucceeded, ev.StepFailed, ev.StepRetryScheduled, ev.StepCancelled}
)
"""Kinds that a digest carries whole if they name a model's usage."""


@dataclass(slots=True)
class JournalTurn:
    """The run's part of one accepted record, as stored. `sequence` numbers its first event."""

    offset: int
    time_ms: int
    sequence: int
    count: int
    chain: bytes
    body: bytes

    @property
    def last_sequence(self) -> int:
        return self.sequence + self.count - 1


@dataclass(slots=True)
class LogRecord(JournalTurn):
    """A record as the projector reads it, envelope and body in one, so that it can stay as the
    journal's turn; `count` is 0 until the body was looked at. Fields as in the core's Envelope."""

    log_id: bytes
    partition: int
    epoch: int
    seq: int
    tenant: TenantId
    run: RunId | None
    claim: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCounts:
    """How many events of which kind a turn holds; one object serves all turns of one shape.
    `rarer` says that one of the last three is not 0."""

    events: int
    assigned: int = 0
    succeeded: int = 0
    rarer: bool = False
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    asks_people: bool = False


@dataclass(slots=True)
class Digest:
    """What the projections need of a turn: counts, the events that say more, and what stands
    beside them about dead letters, of whatever run."""

    counts: KindCounts
    marks: tuple[ev.RunEvent, ...] = ()
    decisions: tuple[LetterDecision, ...] = ()


_COUNTED: Mapping[type[ev.RunEvent], str] = {
    ev.StepAssigned: "assigned",
    ev.StepSucceeded: "succeeded",
    ev.StepFailed: "failed",
    ev.StepSkipped: "skipped",
    ev.StepCancelled: "cancelled",
}


def counts_of(kinds: Iterable[type[ev.RunEvent]]) -> KindCounts:
    """The counts of a turn with events of these kinds."""
    events, asks_people = 0, False
    tally = dict.fromkeys(_COUNTED.values(), 0)
    for kind in kinds:
        events += 1
        asks_people = asks_people or kind is ev.ApprovalRequested
        if kind in _COUNTED:
            tally[_COUNTED[kind]] += 1
    rarer = bool(tally["failed"] or tally["skipped"] or tally["cancelled"])
    return KindCounts(events=events, rarer=rarer, asks_people=asks_people, **tally)


def is_mark(event: ev.RunEvent) -> bool:
    """Whether a digest must carry this event."""
    kind = type(event)
    if kind in MARKED_KINDS:
        return True
    return kind in METERED_KINDS and getattr(event, "usage", None) is not None


def digest_events(events: Iterable[ev.RunEvent]) -> Digest:
    """The digest of decoded events; the reading of undecoded bodies must agree with it."""
    listed = tuple(events)
    marks = tuple(event for event in listed if is_mark(event))
    return Digest(counts_of(map(type, listed)), marks)
