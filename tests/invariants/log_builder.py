"""A small log, record by record, and the witnesses of it: healthy until a test breaks it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_contracts.codec import encode_body, encode_record
from headrace_core.ids import ExecutorId, PlanHash, RunId, StepKey, TenantId, partition_of, run_id
from headrace_core.log.chain import chain_hash
from headrace_core.log.record import Envelope
from headrace_core.partition.events import ChildCancel as AnyMessage
from headrace_core.partition.events import (
    MessageReceived,
    MessageSent,
    PartitionClaimed,
    PartitionEvent,
)
from headrace_core.payload import NOTHING
from headrace_core.run import events as ev
from headrace_core.run.freeze import state_hash
from headrace_core.run.replay import replay
from headrace_runtime.eventlog.port import Entry
from tests.invariants.facts import LogFacts, gather
from tests.invariants.witnesses import (
    EndSeen,
    EventSeen,
    HistorySaid,
    LookedUp,
    Request,
    RowSaid,
    StartAnswered,
    TaskAccepted,
    Witnesses,
)

LOG_ID = bytes(range(16))
TENANT = TenantId("acme")
PARTITIONS = 2
EXECUTOR = ExecutorId("executor-1")
KEYED, BARE = StepKey("pay"), StepKey("ping")


@dataclass(slots=True)
class LogBuilder:
    """Writes as an owner does, and takes down what honest witnesses would."""

    raw: dict[int, list[Entry]] = field(
        default_factory=lambda: {partition: [] for partition in range(PARTITIONS)}
    )
    tasks: list[TaskAccepted] = field(default_factory=list[TaskAccepted])
    _epochs: dict[int, int] = field(default_factory=dict[int, int])
    _seqs: dict[int, int] = field(default_factory=dict[int, int])
    _chains: dict[tuple[int, str], bytes] = field(default_factory=dict[tuple[int, str], bytes])
    _sequences: dict[str, int] = field(default_factory=dict[str, int])
    _time_ms: int = 1_000

    def claim(self, partition: int) -> int:
        """The new owner's epoch."""
        epoch = len(self.raw[partition])
        body = encode_body([], [PartitionClaimed(owner="scheduler", nonce=b"n")])
        envelope = self._envelope(partition, -1, 0, None, 0, b"", claim=True)
        self._store(partition, envelope, body)
        self._epochs[partition], self._seqs[partition] = epoch, 0
        return epoch

    def turn(
        self,
        run: RunId | None,
        events: Sequence[ev.RunEvent] = (),
        messages: Sequence[PartitionEvent] = (),
        partition: int | None = None,
        sequence: int | None = None,
        tenant: TenantId = TENANT,
    ) -> int:
        """An accepted record; its offset. `sequence` lets a test number it wrongly."""
        if partition is None:
            assert run is not None, "a record without run needs its partition"
            partition = place_of(run)
        self._time_ms += 10
        first = self._sequences.get(run or "", 0) + 1 if sequence is None else sequence
        body = encode_body(list(events), list(messages))
        chain = self._next_chain(partition, run, first if run else 0, body, tenant)
        epoch, seq = self._epochs[partition], self._seqs[partition]
        envelope = self._envelope(
            partition, epoch, seq, run, first if run else 0, chain, tenant=tenant
        )
        offset = self._store(partition, envelope, body)
        self._seqs[partition] += 1
        if run is not None:
            self._sequences[run] = first + len(events) - 1
            self._note_tasks(partition, offset, run, events)
        return offset

    def void(self, run: RunId, events: Sequence[ev.RunEvent], epoch: int) -> int:
        """What a fenced owner wrote: no reader counts it."""
        partition = place_of(run)
        envelope = self._envelope(
            partition, epoch, 99, run, self._sequences.get(run, 0) + 1, b"\1" * 32
        )
        return self._store(partition, envelope, encode_body(list(events)))

    def _next_chain(
        self, partition: int, run: RunId | None, sequence: int, body: bytes, tenant: TenantId
    ) -> bytes:
        name = (partition, run or "")
        before = self._chains.get(name, b"")
        chain = chain_hash(before, tenant, run or "", sequence, self._time_ms, body)
        self._chains[name] = chain
        return chain

    def _envelope(
        self,
        partition: int,
        epoch: int,
        seq: int,
        run: RunId | None,
        sequence: int,
        chain: bytes,
        *,
        tenant: TenantId = TENANT,
        claim: bool = False,
    ) -> Envelope:
        return Envelope(
            log_id=LOG_ID,
            partition=partition,
            epoch=epoch,
            seq=seq,
            time_ms=self._time_ms,
            tenant=tenant,
            run=run,
            sequence=sequence,
            chain=chain,
            claim=claim,
        )

    def _store(self, partition: int, envelope: Envelope, body: bytes) -> int:
        offset = len(self.raw[partition])
        self.raw[partition].append(Entry(offset, encode_record(envelope, body)))
        return offset

    def _note_tasks(
        self, partition: int, offset: int, run: RunId, events: Sequence[ev.RunEvent]
    ) -> None:
        for event in events:
            if isinstance(event, ev.StepAssigned):
                self.tasks.append(
                    TaskAccepted(
                        partition=partition,
                        epoch=self._epochs[partition],
                        offset=offset,
                        run=run,
                        step=event.step,
                        attempt=event.attempt,
                        token=event.token,
                        executor=event.executor,
                    )
                )


def run_in(partition: int, number: int) -> RunId:
    slot = partition * (1024 // PARTITIONS)
    run = run_id(slot, 20_000, number.to_bytes(10))
    assert partition_of(slot, PARTITIONS) == partition
    return run


def place_of(run: RunId) -> int:
    return next(p for p in range(PARTITIONS) if run_in(p, 0)[:6] == run[:6])


def started(parent: ev.Parent | None = None) -> ev.RunStarted:
    return ev.RunStarted(
        flow="orders",
        version=1,
        plan=PlanHash("0" * 64),
        input=NOTHING,
        trigger="manual",
        started_by="key",
        parent=parent,
    )


def assigned(step: StepKey, attempt: int = 1, token: int = 7) -> ev.StepAssigned:
    return ev.StepAssigned(step=step, attempt=attempt, executor=EXECUTOR, token=token)


def lost(step: StepKey, attempt: int = 1) -> ev.StepRetryScheduled:
    error = ev.StepError(type="executor.lost")
    return ev.StepRetryScheduled(step=step, attempt=attempt, error=error, due_ms=0, counted=False)


def succeeded(step: StepKey, attempt: int = 1) -> ev.StepSucceeded:
    return ev.StepSucceeded(step=step, attempt=attempt)


END = ev.RunSucceeded(output=NOTHING)


def request(
    run: RunId, step: StepKey, number: int, key: str = "", *, performed: bool = True
) -> Request:
    """Receipts count effects of this run's step from 100 on, so a repeat shows the first's."""
    receipt = 100 + number if performed else 101
    return Request(number, run, step, key, performed, receipt)


PAID, PINGED = run_in(0, 1), run_in(1, 2)


def healthy() -> tuple[LogBuilder, list[Request]]:
    """A keyed step whose first executor died, and an unkeyed one; two owners; one message."""
    log = LogBuilder()
    old = log.claim(0)
    log.claim(1)
    log.turn(PAID, [started(), ev.StepReady(step=KEYED), assigned(KEYED)])
    log.turn(None, messages=[_message(1)], partition=0)
    log.turn(
        PINGED,
        [started(), ev.StepReady(step=BARE), assigned(BARE)],
        [MessageReceived(source=0, number=1)],
    )
    log.claim(0)
    log.void(PAID, [succeeded(KEYED)], old)
    log.turn(PAID, [lost(KEYED), ev.StepReady(step=KEYED), assigned(KEYED, 2, 8)])
    log.turn(PAID, [succeeded(KEYED, 2), END])
    log.turn(PINGED, [succeeded(BARE), END])
    calls = [
        request(PAID, KEYED, 1, "key-1"),
        request(PAID, KEYED, 2, "key-1", performed=False),
        request(PINGED, BARE, 3),
    ]
    return log, calls


def _message(number: int) -> MessageSent:
    return MessageSent(target=1, number=number, message=AnyMessage(run=PINGED, tenant=TENANT))


def honest(log: LogBuilder, calls: Sequence[Request]) -> Witnesses:
    """What everybody would have seen of this log."""
    facts = gather(log.raw, LOG_ID)
    return Witnesses(
        starts=[StartAnswered(f"start-{run}", run) for run in facts.runs],
        lookups=[LookedUp(run, 200) for run in facts.runs],
        events=list(_seen(facts)),
        ends=[EndSeen(run, 2) for run in facts.runs],
        requests=calls,
        tasks=log.tasks,
        states=[
            HistorySaid(run, sequence, hash_of(facts, run, sequence))
            for run, found in facts.runs.items()
            for sequence in (2, found.sequence)
        ],
        rows=list(_rows(facts, calls)),
        told=list(_seen(facts)),
        usage={"orders": (len(facts.runs), len(log.tasks))},
    )


def hash_of(facts: LogFacts, run: RunId, sequence: int) -> str:
    found = facts.runs[run]
    return state_hash(replay(run, found.tenant, found.turns, sequence))


def _seen(facts: LogFacts) -> list[EventSeen]:
    """On two connections each."""
    return [
        EventSeen(run, 1 + (sequence > 2), sequence, type(event).__name__)
        for run, found in facts.runs.items()
        for sequence, _, event in found.events()
    ]


def _rows(facts: LogFacts, calls: Sequence[Request]) -> list[RowSaid]:
    names = {"attempts": ev.StepAssigned, "succeeded": ev.StepSucceeded, "failed": ev.StepFailed}
    return [
        RowSaid(
            run=run,
            status=found.state.status.text if found.state else "",
            sequence=found.sequence,
            counts={
                name: sum(1 for _, _, event in found.events() if isinstance(event, kind))
                for name, kind in names.items()
            },
            receipts={
                call.step: call.receipt for call in calls if call.run == run and call.performed
            },
        )
        for run, found in facts.runs.items()
    ]
