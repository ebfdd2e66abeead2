"""What the raw event log says, read record by record and folded: pure, no reader of the platform.

Only the codec, the filter, the hash and the fold itself are the platform's; order, gaps, chains
and numbers are checked here anew.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headrace_contracts.codec import decode_body, decode_record
from headrace_core.errors import HeadraceError
from headrace_core.ids import RunId, TenantId, partition_of, slot_of
from headrace_core.log.chain import chain_hash
from headrace_core.log.filter import LogFilter
from headrace_core.log.record import Body, Envelope
from headrace_core.partition.events import (
    DeadLetterDiscarded,
    DeadLetterReplayed,
    LetterDecision,
    MessageReceived,
    MessageSent,
    PartitionClaimed,
)
from headrace_core.run import events as ev
from headrace_core.run.apply import apply_turn
from headrace_core.run.replay import StoredTurn
from headrace_core.run.state import RunState
from headrace_runtime.eventlog.port import Entry
from tests.invariants.witnesses import AttemptKey

Raw = Mapping[int, Sequence[Entry]]
EVIDENCE_EVENTS = 40


@dataclass(frozen=True, slots=True)
class Violation:
    """`check` names the rule; `evidence` is what a person needs to see that it is broken."""

    check: str
    what: str
    run: str = ""
    evidence: Sequence[str] = ()

    def __str__(self) -> str:
        lines = [f"{self.check}: {self.what}", *(f"    {line}" for line in self.evidence)]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where an attempt was assigned, and to whom."""

    partition: int
    epoch: int
    offset: int
    executor: str
    token: int


@dataclass(slots=True)
class RunFacts:
    """A run's accepted turns in order. `state` is the fold as far as it could be folded."""

    run: RunId
    tenant: TenantId
    partition: int
    turns: list[StoredTurn] = field(default_factory=list[StoredTurn])
    state: RunState | None = None

    def events(self) -> Iterator[tuple[int, StoredTurn, ev.RunEvent]]:
        """(sequence, turn, event) of every event."""
        for turn in self.turns:
            for sequence, event in enumerate(turn.events, turn.sequence):
                yield sequence, turn, event

    @property
    def sequence(self) -> int:
        return sum(len(turn.events) for turn in self.turns)

    @property
    def started(self) -> ev.RunStarted | None:
        return next((one for _, _, one in self.events() if isinstance(one, ev.RunStarted)), None)

    def told(self, last: int = EVIDENCE_EVENTS) -> list[str]:
        """The run's newest events, for a person."""
        lines: list[str] = []
        for sequence, turn, event in self.events():
            step, attempt = getattr(event, "step", "") or "", getattr(event, "attempt", "")
            error = getattr(event, "error", None)
            parts = (type(event).__name__, step, attempt, error and error.type)
            words = " ".join(str(part) for part in parts if part)
            lines.append(
                f"{sequence:>4} {turn.time_ms} p{self.partition}@{turn.offset} {words}".rstrip()
            )
        return lines[-last:]


@dataclass(slots=True)
class LogFacts:
    """Everything of accepted records but `void` and `claims`, which count the others;
    `claimed_at` holds the offsets of a partition's claims, `owners` who claimed it there."""

    log_id: bytes
    partitions: int
    runs: dict[RunId, RunFacts] = field(default_factory=dict[RunId, RunFacts])
    assignments: dict[AttemptKey, list[Assignment]] = field(
        default_factory=lambda: defaultdict(list)
    )
    sent: dict[tuple[int, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    received: dict[tuple[int, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    decisions: list[LetterDecision] = field(default_factory=list[LetterDecision])
    accepted: int = 0
    void: int = 0
    claims: int = 0
    claimed_at: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    owners: dict[tuple[int, int], str] = field(default_factory=dict[tuple[int, int], str])
    violations: list[Violation] = field(default_factory=list[Violation])

    def told(self, run: str) -> list[str]:
        found = self.runs.get(RunId(run))
        return found.told() if found is not None else [f"the log has no event of run {run!r}"]

    def violate(self, check: str, what: str, run: str = "", *evidence: str) -> None:
        told = self.told(run) if run else []
        self.violations.append(Violation(check, what, run, [*evidence, *told]))


def gather(raw: Raw, log_id: bytes) -> LogFacts:
    """Read every partition from its first record on, and fold what counts."""
    facts = LogFacts(log_id, len(raw))
    for partition, entries in sorted(raw.items()):
        _Partition(facts, partition).take(entries)
    return facts


class _Partition:
    def __init__(self, facts: LogFacts, number: int) -> None:
        self._facts = facts
        self._number = number
        self._filter = LogFilter(facts.log_id)
        self._chains: dict[str, bytes] = {}
        self._time_ms = 0

    def take(self, entries: Sequence[Entry]) -> None:
        facts = self._facts
        for expected, entry in enumerate(entries):
            if entry.offset != expected:
                what = f"offset {expected} of partition {self._number} is not there"
                facts.violate("no event lost", what, "", f"the next one is {entry.offset}")
                return
            try:
                self._take_record(entry)
            except HeadraceError as fault:
                what = f"offset {entry.offset} of partition {self._number}: {fault.message}"
                facts.violate("log readable", what)
                return

    def _take_record(self, entry: Entry) -> None:
        facts, record = self._facts, decode_record(entry.record)
        envelope = record.envelope
        if envelope.partition != self._number:
            what = f"partition {self._number} holds a record of partition {envelope.partition}"
            facts.violate("log readable", what, envelope.run or "")
            return
        if not self._filter.accept(entry.offset, envelope):
            facts.claims += envelope.claim
            if envelope.claim:
                facts.claimed_at[self._number].append(entry.offset)
                for event in decode_body(record.body).partition_events:
                    if isinstance(event, PartitionClaimed):
                        facts.owners[self._number, entry.offset] = event.owner
            facts.void += not envelope.claim
            return
        facts.accepted += 1
        if envelope.time_ms < self._time_ms:
            what = f"time goes back at offset {entry.offset} of partition {self._number}"
            facts.violate("time", what, envelope.run or "")
        self._time_ms = max(self._time_ms, envelope.time_ms)
        self._check_chain(entry.offset, envelope, record.body)
        body = decode_body(record.body)
        self._take_messages(body)
        if envelope.run is not None:
            self._take_turn(entry.offset, envelope, envelope.run, body.run_events)

    def _check_chain(self, offset: int, envelope: Envelope, body: bytes) -> None:
        name = envelope.run or ""
        expected = chain_hash(
            self._chains.get(name, b""),
            envelope.tenant,
            name,
            envelope.sequence,
            envelope.time_ms,
            body,
        )
        if expected != envelope.chain:
            whose = f"run {name}" if name else "the partition itself"
            what = f"offset {offset} of partition {self._number} breaks the chain of {whose}"
            self._facts.violate("chain", what, name)
        self._chains[name] = envelope.chain

    def _take_messages(self, body: Body) -> None:
        for event in body.partition_events:
            if isinstance(event, MessageSent):
                self._facts.sent[self._number, event.target].append(event.number)
            elif isinstance(event, MessageReceived):
                self._facts.received[event.source, self._number].append(event.number)
            elif isinstance(event, DeadLetterReplayed | DeadLetterDiscarded):
                self._facts.decisions.append(event)

    def _take_turn(
        self, offset: int, envelope: Envelope, run_id: RunId, events: Sequence[ev.RunEvent]
    ) -> None:
        facts = self._facts
        run = facts.runs.get(run_id)
        if run is None:
            run = facts.runs[run_id] = RunFacts(run_id, envelope.tenant, self._number)
            run.state = RunState(run_id, envelope.tenant)
        self._check_place(run, envelope)
        expected = run.sequence + 1
        turn = StoredTurn(
            offset, envelope.time_ms, envelope.sequence, envelope.chain, tuple(events)
        )
        run.turns.append(turn)
        if envelope.sequence != expected:
            lost = envelope.sequence > expected
            what = f"run {run_id}: event {envelope.sequence} comes where {expected} belongs"
            facts.violate("no event lost" if lost else "no event twice", what, run_id)
            run.state = None
        self._take_assignments(run_id, offset, events)
        if run.state is not None:
            self._fold(run, run.state, turn)

    def _check_place(self, run: RunFacts, envelope: Envelope) -> None:
        if partition_of(slot_of(run.run), self._facts.partitions) != self._number:
            what = f"run {run.run} has a turn in partition {self._number}, which is not its own"
            self._facts.violate("place", what, run.run)
        if envelope.tenant != run.tenant:
            what = f"run {run.run} of tenant {run.tenant} has a turn of tenant {envelope.tenant}"
            self._facts.violate("tenant", what, run.run)

    def _take_assignments(self, run: RunId, offset: int, events: Sequence[ev.RunEvent]) -> None:
        for event in events:
            if isinstance(event, ev.StepAssigned):
                key = (run, event.step, event.attempt)
                self._facts.assignments[key].append(
                    Assignment(
                        self._number, self._filter.epoch, offset, event.executor, event.token
                    )
                )

    def _fold(self, run: RunFacts, state: RunState, turn: StoredTurn) -> None:
        try:
            apply_turn(state, turn.events, turn.time_ms, turn.chain)
        except (AssertionError, LookupError, HeadraceError) as fault:
            what = f"run {run.run} cannot be folded past offset {turn.offset}: {fault!r}"
            self._facts.violate("declared moves", what, run.run)
            run.state = None
