"""Runs as a scheduler would record them: turns in a log, chained and numbered.

`wandering_run` makes any valid life of a run from a number, so that a property can be tried over
many of them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from headrace_contracts.codec import encode_body, encode_record
from headrace_core.ids import (
    ExecutorId,
    PlanHash,
    RunId,
    StepKey,
    TenantId,
    compensation_key,
    partition_of,
    run_id,
    slot_of,
)
from headrace_core.log.chain import chain_hash
from headrace_core.log.record import Envelope
from headrace_core.partition.events import PartitionEvent
from headrace_core.payload import NOTHING, Stored
from headrace_core.run import events as ev
from headrace_core.run.status import CancelCause, SkipReason, WaitingKind
from headrace_history.domain.turns import JournalTurn
from headrace_runtime.eventlog.memory import MemoryLog, StaleAppend
from headrace_runtime.eventlog.port import Batch, EventLog

TENANT = TenantId("acme")
LOG_ID = b"history-test-log"
DAY = 20_406
START_MS = DAY * 86_400_000 + 3_600_000
EXECUTOR = ExecutorId("executor-1")

Turn = tuple[ev.RunEvent, ...]


def run_of(number: int, slot: int | None = None) -> RunId:
    unique = number.to_bytes(10)
    return run_id(number * 37 % 1024 if slot is None else slot, DAY, unique)


def started(payload: bytes = b"", flow: str = "orders") -> ev.RunStarted:
    return ev.RunStarted(
        flow=flow,
        version=3,
        plan=PlanHash("ab" * 32),
        input=Stored(payload),
        trigger="manual",
        started_by="key-1",
        timeout_at_ms=START_MS + 600_000,
    )


def ready(step: str) -> ev.StepReady:
    return ev.StepReady(step=StepKey(step))


def assigned(step: str, attempt: int = 1) -> ev.StepAssigned:
    return ev.StepAssigned(
        step=StepKey(step), attempt=attempt, executor=EXECUTOR, token=attempt * 7
    )


def succeeded(step: str, payload: bytes = b"", attempt: int = 1) -> ev.StepSucceeded:
    return ev.StepSucceeded(step=StepKey(step), attempt=attempt, output=Stored(payload))


def sequential_run(steps: int, payload: bytes = b"") -> list[Turn]:
    """Every step dispatched, one turn per result."""
    turns: list[Turn] = [(started(payload), ready("s0"), assigned("s0"))]
    for step in range(1, steps):
        done = succeeded(f"s{step - 1}", payload)
        turns.append((done, ready(f"s{step}"), assigned(f"s{step}")))
    last = succeeded(f"s{steps - 1}", payload)
    turns.append((last, ev.RunSucceeded(output=Stored(payload))))
    return turns


@dataclass(slots=True)
class LogWriter:
    """The owner of every partition of a log; writes one record per turn."""

    log: EventLog
    log_id: bytes
    partitions: int
    now_ms: int = START_MS
    epochs: dict[int, int] = field(default_factory=dict[int, int])
    offsets: dict[int, int] = field(default_factory=dict[int, int])
    chains: dict[int, bytes] = field(default_factory=dict[int, bytes])
    seqs: dict[int, int] = field(default_factory=dict[int, int])
    runs: dict[RunId, tuple[int, bytes]] = field(default_factory=dict[RunId, tuple[int, bytes]])

    async def claim_all(self) -> None:
        ends = await self.log.ends()
        for partition in range(self.partitions):
            envelope = self._envelope(partition, TenantId(""), None, 0, b"", claim=True)
            epoch = await self.log.claim(partition, encode_record(envelope, b""))
            assert epoch == ends[partition]
            self.epochs[partition] = epoch
            self.offsets[partition] = epoch + 1
            self.seqs[partition] = 0

    async def turn(
        self, run: RunId, *events: ev.RunEvent, tenant: TenantId = TENANT
    ) -> JournalTurn:
        """The turn as history should keep it."""
        [turn] = await self.turns([(run, events)], tenant)
        return turn

    async def turns(
        self, turns: Sequence[tuple[RunId, Turn]], tenant: TenantId = TENANT
    ) -> list[JournalTurn]:
        """Several at once, in one append."""
        records: dict[int, list[bytes]] = {}
        written: list[JournalTurn] = []
        for run, events in turns:
            partition = partition_of(slot_of(run), self.partitions)
            queue = records.setdefault(partition, [])
            sequence, chain = self.runs.get(run, (0, b""))
            self.now_ms += 10
            body = encode_body(events)
            chain = chain_hash(chain, tenant, run, sequence + 1, self.now_ms, body)
            offset = self.offsets[partition] + len(queue)
            queue.append(self.record(partition, tenant, run, sequence + 1, chain, body))
            self.runs[run] = sequence + len(events), chain
            written.append(JournalTurn(offset, self.now_ms, sequence + 1, len(events), chain, body))
        await self.append(records)
        return written

    async def append(self, records: dict[int, list[bytes]]) -> None:
        await self.log.append(
            [
                Batch(partition, self.epochs[partition], self.offsets[partition], queue)
                for partition, queue in records.items()
            ]
        )
        for partition, queue in records.items():
            self.offsets[partition] += len(queue)

    async def partition_turn(self, partition: int, *events: PartitionEvent) -> None:
        """A record of the partition alone."""
        self.now_ms += 10
        body = encode_body((), events)
        before = self.chains.get(partition, b"")
        chain = chain_hash(before, TenantId(""), "", 0, self.now_ms, body)
        self.chains[partition] = chain
        record = self.record(partition, TenantId(""), None, 0, chain, body)
        await self.append({partition: [record]})

    async def run(self, run: RunId, turns: Sequence[Turn], tenant: TenantId = TENANT) -> None:
        for events in turns:
            await self.turn(run, *events, tenant=tenant)

    def record(
        self,
        partition: int,
        tenant: TenantId,
        run: RunId | None,
        sequence: int,
        chain: bytes,
        body: bytes,
    ) -> bytes:
        record = encode_record(self._envelope(partition, tenant, run, sequence, chain), body)
        self.seqs[partition] += 1
        return record

    def _envelope(
        self,
        partition: int,
        tenant: TenantId,
        run: RunId | None,
        sequence: int,
        chain: bytes,
        *,
        claim: bool = False,
    ) -> Envelope:
        return Envelope(
            log_id=self.log_id,
            partition=partition,
            epoch=self.epochs.get(partition, -1),
            seq=self.seqs.get(partition, 0),
            time_ms=self.now_ms,
            tenant=tenant,
            run=run,
            sequence=sequence,
            chain=chain,
            claim=claim,
        )


async def memory_log(partitions: int = 4) -> LogWriter:
    log = MemoryLog(LOG_ID, partitions, StaleAppend.REFUSES)
    writer = LogWriter(log, LOG_ID, partitions)
    await writer.claim_all()
    return writer


def journal_turns(run: RunId, turns: Sequence[Turn], first_offset: int = 10) -> list[JournalTurn]:
    """As the log would have them, without a log."""
    sequence, chain, time_ms = 0, b"", START_MS
    written: list[JournalTurn] = []
    for place, events in enumerate(turns):
        time_ms += 10
        body = encode_body(events)
        chain = chain_hash(chain, TENANT, run, sequence + 1, time_ms, body)
        written.append(
            JournalTurn(first_offset + place * 3, time_ms, sequence + 1, len(events), chain, body)
        )
        sequence += len(events)
    return written


def wandering_run(seed: int, steps: int = 4) -> list[Turn]:
    """Any valid life of a run: retries, lost executors, waits, approvals, skips, cancel."""
    chance = random.Random(seed)
    turns: list[Turn] = [(started(chance.randbytes(8)),)]
    failed = False
    names = [f"step{number}" for number in range(chance.randrange(1, steps + 1))]
    cancels = chance.random() < 0.2
    for name in names[: chance.randrange(len(names)) + 1] if cancels else names:
        failed = _wander(turns, chance, StepKey(name)) or failed
    if cancels:
        cancel = ev.RunCancelRequested(cause=CancelCause.REQUEST, requested_by="key-1")
        return [*turns, (cancel,), (ev.RunCancelled(),)]
    if failed:
        error = ev.StepError(type="network", message=Stored(b"sealed"))
        turns += _undone(turns, error)
        if isinstance(turns[-1][-1], ev.RunCompensated):
            return turns
        return [*turns, (ev.RunFailed(error=error, step=StepKey(names[-1])),)]
    return [*turns, (ev.RunSucceeded(output=Stored(chance.randbytes(5))),)]


def _undone(turns: Sequence[Turn], error: ev.StepError) -> list[Turn]:
    """What undoes the steps of a failed run, as far as they say that they can be."""
    compensable = [
        event.step
        for turn in turns
        for event in turn
        if isinstance(event, ev.StepSucceeded) and event.compensable
    ]
    undoing: list[Turn] = []
    before: Turn = (ev.RunCompensating(error=error),)
    for step in reversed(compensable):
        key = compensation_key(step)
        undoing.append((*before, ev.StepCompensating(step=step)))
        undoing.append((assigned(key, 1),))
        before = (ev.StepSucceeded(step=key, attempt=1),)
    return [*undoing, (*before, ev.RunCompensated())] if compensable else []


def _wander(turns: list[Turn], chance: random.Random, step: StepKey) -> bool:
    """Whether the step failed."""
    match chance.randrange(6):
        case 0:
            turns.append((ev.StepSkipped(step=step, reason=SkipReason.CONDITION),))
            return False
        case 1:
            wait = ev.StepWaiting(step=step, kind=WaitingKind.TIMER, due_ms=START_MS)
            turns.append((ready(step), wait, ev.RunWaiting()))
            turns.append((ev.TimerFired(step=step), ev.RunResumed(), succeeded(step, b"", 0)))
            return False
        case 2:
            asked = ev.ApprovalRequested(step=step, request=Stored(b"who"))
            turns.append((ready(step), asked, ev.RunWaiting()))
            decided = ev.ApprovalDecided(step=step, decision="approved", answer=Stored(b"yes"))
            turns.append((decided, ev.RunResumed(), succeeded(step, b"", 0)))
            return False
        case _:
            return _attempts(turns, chance, step)


def _attempts(turns: list[Turn], chance: random.Random, step: StepKey) -> bool:
    usage = ev.Usage(model="small", input_tokens=chance.randrange(100), output_tokens=3)
    tries = chance.randrange(1, 4)
    for attempt in range(1, tries + 1):
        turns.append((ready(step), assigned(step, attempt)))
        if attempt < tries:
            retry = ev.StepRetryScheduled(
                step=step,
                attempt=attempt,
                error=ev.StepError(type="executor.lost"),
                due_ms=START_MS,
                counted=chance.random() < 0.5,
                usage=usage if chance.random() < 0.5 else None,
            )
            turns.append((retry,))
    if chance.random() < 0.3:
        error = ev.StepError(type="http.503", message=NOTHING)
        turns.append((ev.StepFailed(step=step, attempt=tries, error=error, usage=usage),))
        return True
    ended = succeeded(step, chance.randbytes(6), tries)
    turns.append((replace(ended, compensable=chance.random() < 0.3),))
    return False
