"""Checks of a campaign against the raw log, by a fold of its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace_contracts.codec import decode_body, decode_record
from headrace_core.ids import RunId, TenantId
from headrace_core.log.chain import chain_hash
from headrace_core.log.filter import LogFilter
from headrace_core.run import events as ev
from headrace_core.run.apply import apply_turn
from headrace_core.run.state import RunState
from headrace_core.run.status import RUN_TERMINAL, RunStatus
from headrace_runtime.eventlog.port import EventLog
from headrace_worker.messages import Task

_CLOSING = (ev.StepSucceeded, ev.StepFailed, ev.StepRetryScheduled, ev.StepCancelled)


@dataclass(slots=True)
class Folded:
    """What any reader makes of the log."""

    runs: dict[RunId, RunState] = field(default_factory=dict[RunId, RunState])
    assigned: dict[tuple[str, str, int], tuple[str, int, int, int]] = field(
        default_factory=dict[tuple[str, str, int], tuple[str, int, int, int]]
    )
    closed: Counter[tuple[str, str, int]] = field(default_factory=Counter[tuple[str, str, int]])
    void: int = 0
    claims: int = 0
    accepted: int = 0


async def fold_log(log: EventLog, log_id: bytes, partitions: int) -> Folded:
    """I1 and I4 fall out of the fold itself: it asserts moves, numbers and terminal states."""
    folded = Folded()
    for partition in range(partitions):
        log_filter = LogFilter(log_id)
        chains: dict[str, bytes] = {}
        for entry in await log.read(partition, 0, 1_000_000):
            record = decode_record(entry.record)
            envelope = record.envelope
            if not log_filter.accept(entry.offset, envelope):
                folded.claims += envelope.claim
                folded.void += not envelope.claim
                continue
            folded.accepted += 1
            body = decode_body(record.body)
            run_id = envelope.run or RunId("")
            expected = chain_hash(
                chains.get(run_id, b""),
                envelope.tenant,
                run_id,
                envelope.sequence,
                envelope.time_ms,
                record.body,
            )
            assert expected == envelope.chain, f"the chain of {run_id!r} is broken"
            chains[run_id] = expected
            if envelope.run is not None:
                _fold_run(folded, partition, log_filter.epoch, envelope.run, body.run_events)
                run = folded.runs[envelope.run]
                assert run.status not in RUN_TERMINAL, f"an event of {run_id} after its end"
                assert envelope.sequence == run.sequence + 1, "an event is missing or twice"
                apply_turn(run, body.run_events, envelope.time_ms, envelope.chain)
    return folded


def _fold_run(
    folded: Folded,
    partition: int,
    epoch: int,
    run_id: RunId,
    events: Sequence[ev.RunEvent],
) -> None:
    folded.runs.setdefault(run_id, RunState(run_id, TenantId("acme")))
    for event in events:
        if isinstance(event, ev.StepAssigned):
            key = (run_id, event.step, event.attempt)
            assert key not in folded.assigned, f"attempt {key} was assigned twice"
            folded.assigned[key] = (event.executor, event.token, partition, epoch)
        elif isinstance(event, _CLOSING) and event.attempt:
            folded.closed[run_id, event.step, event.attempt] += 1


def check_safety(folded: Folded, accepted: Sequence[tuple[str, Task]]) -> None:
    """I5 and I8."""
    twice = [key for key, count in folded.closed.items() if count > 1]
    assert not twice, f"attempts with two verdicts: {twice[:3]}"
    for executor, task in accepted:
        attempt = task.attempt
        assigned = folded.assigned.get(attempt.key)
        assert assigned is not None, (
            f"{executor} accepted {attempt.key}, which no accepted record assigns"
        )
        assert assigned == (executor, attempt.token, attempt.partition, attempt.epoch), (
            f"{executor} accepted {attempt.key} as {attempt}, the log says {assigned}"
        )


def check_ended(folded: Folded, expected: Mapping[RunId, RunStatus]) -> None:
    """I1 and the computed outcome; child runs have ended as well."""
    for run_id, outcome in expected.items():
        run = folded.runs.get(run_id)
        assert run is not None, f"run {run_id} was accepted and is not in the log"
        assert run.status is outcome, (
            f"run {run_id} of {run.flow} ended {run.status.text}, expected {outcome.text}: "
            f"{[(step.key, step.status.text, step.waiting.text) for step in run.steps.values()]}"
        )
    open_runs = [run.run_id for run in folded.runs.values() if run.status not in RUN_TERMINAL]
    assert not open_runs, f"runs that never ended: {open_runs[:3]}"
