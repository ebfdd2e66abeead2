"""A flow's `concurrency`: no more than `limit` runs of one key at once.

The key has a home partition, which gives the places and keeps the queue. A run asks there in the
turn that starts it, begins in the turn that takes the answer, and leaves in the turn that ends it,
so a place is held exactly from the home's grant until the home has heard of the end.
"""

import json
from dataclasses import replace

from headrace_core.ids import RunId, StepKey, partition_of, slot_of, slot_of_limit
from headrace_core.partition.events import (
    LimitAnswer,
    LimitAsk,
    LimitAsked,
    LimitGranted,
    LimitLeave,
    LimitLeft,
    LimitReplaced,
)
from headrace_core.payload import BlobMissingHere
from headrace_core.run.events import RunAdmitted, RunFailed, RunForked, RunStarted
from headrace_core.run.status import Admission, CancelCause, RunStatus
from headrace_core.workflow.firing import OnConflict
from headrace_scheduler.domain.commands import CancelRun, TakeMessage, TimerKind
from headrace_scheduler.domain.decide.advance import answer_parent, begin, resume
from headrace_scheduler.domain.decide.cancel_run import cancel_run
from headrace_scheduler.domain.decision import PartitionTurn, RunTurn
from headrace_scheduler.domain.effects import EvictRun, SetTimer
from headrace_scheduler.domain.values import concurrency_key

_NOBODY = RunId("")
QUEUED_MAX = 10_000
"""More runs of one key do not wait: a checkpoint holds them all."""
AT_ONCE_MAX = 500
"""Answers of one turn, since it is one record: a limit may have been raised or lowered by more."""


def open_run(turn: RunTurn, started: RunStarted | RunForked) -> None:
    """The run's first event, then its first steps, or its question for a place."""
    concurrency = turn.plan.concurrency
    if concurrency is None:
        turn.emit(started)
        _begin(turn)
        return
    try:
        key, error = concurrency_key(turn, concurrency.key, started)
    except BlobMissingHere:
        raise
    except Exception:
        # The loop parks what a bug has stopped, and for that the run has to have begun.
        turn.emit(started)
        raise
    if error is not None:
        turn.emit(started)
        turn.emit(RunFailed(error=error))
        answer_parent(turn)
        turn.perform(EvictRun(turn.run_id))
        return
    turn.emit(replace(started, timeout_at_ms=None, limit_key=key))
    ask = LimitAsk(
        key=key,
        tenant=turn.tenant,
        flow=started.flow,
        run=turn.run_id,
        limit=concurrency.limit,
        on_conflict=concurrency.on_conflict,
    )
    turn.send(partition_of(slot_of_limit(key), turn.partitions), ask)


def take_admission(turn: RunTurn, command: TakeMessage) -> None:
    """The home's answer. A run that is ending meanwhile gives its place back with its end."""
    message = command.message
    assert isinstance(message, LimitAnswer)
    run = turn.run
    if message.admission is not Admission.GRANTED:
        stop = CancelRun(
            run=run.run_id,
            tenant=run.tenant,
            cause=CancelCause.CONCURRENCY,
            requested_by=message.by or "concurrency",
            reason=turn.vault.seal(run.run_id, json.dumps(_reason(message)).encode()),
        )
        cancel_run(turn, stop)
    elif run.status is RunStatus.QUEUED and run.cancel is None:
        timeout_ms = turn.plan.timeout_ms
        timeout_at_ms = turn.now_ms + timeout_ms if timeout_ms is not None else None
        turn.emit(RunAdmitted(timeout_at_ms=timeout_at_ms))
        _begin(turn)


def ask_limit(turn: PartitionTurn, command: TakeMessage) -> None:
    message = command.message
    assert isinstance(message, LimitAsk)
    known = turn.partition.run_limits.get(message.key)
    holders = dict(known.holders) if known is not None else {}
    queue = list(known.queue) if known is not None else []
    must_wait = len(holders) + len(queue) >= message.limit
    if must_wait and message.on_conflict is OnConflict.SKIP:
        _answer(turn, message, message.run, Admission.SKIPPED, len(holders))
        return
    if must_wait and message.on_conflict is OnConflict.QUEUE and len(queue) >= QUEUED_MAX:
        _answer(turn, message, message.run, Admission.QUEUE_FULL, len(queue))
        return
    turn.emit_partition(
        LimitAsked(
            key=message.key,
            tenant=message.tenant,
            flow=message.flow,
            run=message.run,
            limit=message.limit,
        )
    )
    queue.append(message.run)
    if must_wait and message.on_conflict is OnConflict.CANCEL_RUNNING:
        _replace_oldest(turn, message, holders, queue)
    _grant(turn, message, message.limit - len(holders), queue)


def leave_limit(turn: PartitionTurn, command: TakeMessage) -> None:
    """The place goes to whoever has waited longest."""
    message = command.message
    assert isinstance(message, LimitLeave)
    known = turn.partition.run_limits.get(message.key)
    if known is None:
        return
    holds = message.run in known.holders
    if not holds and message.run not in known.queue:
        # It was skipped or replaced, or never asked.
        return
    turn.emit_partition(LimitLeft(key=message.key, run=message.run))
    queue = known.queue if holds else [run for run in known.queue if run != message.run]
    _grant(turn, message, known.limit - len(known.holders) + holds, queue)


def _begin(turn: RunTurn) -> None:
    timeout_at_ms = turn.run.timeout_at_ms
    if timeout_at_ms is not None:
        turn.perform(SetTimer(timeout_at_ms, turn.run_id, StepKey(""), TimerKind.RUN_TIMEOUT))
    if turn.run.forked_from is not None:
        resume(turn)
    else:
        begin(turn)


def _replace_oldest(
    turn: PartitionTurn, message: LimitAsk, holders: dict[RunId, bool], queue: list[RunId]
) -> None:
    """So many make way that the newest `limit` are left: those who run, then those who wait."""
    staying = [run for run, leaves in holders.items() if not leaves]
    excess = len(staying) + len(queue) - message.limit
    for run in (staying + queue)[: min(excess, AT_ONCE_MAX)]:
        turn.emit_partition(LimitReplaced(key=message.key, run=run))
        _answer(turn, message, run, Admission.REPLACED, message.limit, by=message.run)
        if run not in holders:
            queue.remove(run)


def _grant(
    turn: PartitionTurn, message: LimitAsk | LimitLeave, places: int, queue: list[RunId]
) -> None:
    for run in queue[: max(0, min(places, AT_ONCE_MAX))]:
        turn.emit_partition(LimitGranted(key=message.key, run=run))
        _answer(turn, message, run, Admission.GRANTED)


def _answer(
    turn: PartitionTurn,
    message: LimitAsk | LimitLeave,
    run: RunId,
    admission: Admission,
    count: int = 0,
    by: RunId = _NOBODY,
) -> None:
    answer = LimitAnswer(tenant=message.tenant, run=run, admission=admission, count=count, by=by)
    turn.send(partition_of(slot_of(run), turn.partitions), answer)


def _reason(answer: LimitAnswer) -> str:
    match answer.admission:
        case Admission.SKIPPED:
            open_runs = "1 run is" if answer.count == 1 else f"{answer.count} runs are"
            return f"`concurrency`: {open_runs} open with this key, and the flow skips further ones"
        case Admission.QUEUE_FULL:
            return f"`concurrency`: {answer.count} runs wait with this key already"
        case _:
            return f"`concurrency`: run {answer.by} has the same key and takes its place"
