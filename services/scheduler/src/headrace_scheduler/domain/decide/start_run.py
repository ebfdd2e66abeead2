"""Start a run. The same key with the same request leads to the same run."""

from headrace_core.partition.events import EventStart, StartKeyed
from headrace_core.partition.state import PartitionView, Schedule, StartKey
from headrace_core.payload import Stored
from headrace_core.run.events import RunFailed, RunStarted, StepError
from headrace_scheduler.domain.commands import FireSchedule, ForkRun, StartRun, TakeMessage
from headrace_scheduler.domain.decide.concurrency import open_run
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.effects import EvictRun
from headrace_scheduler.domain.failure import engine_error


def known_start(
    partition: PartitionView, command: StartRun | ForkRun, now_ms: int
) -> Rejection | None:
    """The answer to a start whose key is known; `run` names the earlier run."""
    return known_key(partition, command.start_key, command.fingerprint, now_ms)


def known_key(
    partition: PartitionView, key: bytes, fingerprint: bytes, now_ms: int
) -> Rejection | None:
    known = _start_key(partition, key)
    if known is None or known.expires_at_ms <= now_ms:
        return None
    if known.fingerprint != fingerprint:
        return Rejection(
            Reason.KEY_REUSED,
            "this key came before with another request: use a new key",
        )
    return Rejection(Reason.REPEATED, "this request was accepted before", known.run)


def start_run(turn: RunTurn, command: StartRun) -> None:
    turn.emit_partition(
        StartKeyed(
            key=command.start_key,
            fingerprint=command.fingerprint,
            run=command.run,
            expires_at_ms=turn.now_ms + command.key_kept_ms,
        )
    )
    _start(
        turn,
        trigger=command.trigger,
        started_by=command.started_by,
        sealed_input=command.input,
        priority=command.priority,
        version=command.version,
        scheduled_at_ms=None,
    )


def start_from_event(turn: RunTurn, command: TakeMessage) -> None:
    """In the turn that takes the message, so that one event starts it once."""
    message = command.message
    assert isinstance(message, EventStart)
    _start(
        turn,
        trigger=message.trigger,
        started_by=f"event/{message.event}",
        sealed_input=message.input,
        priority=0,
        version=message.version,
        scheduled_at_ms=None,
        error=message.error,
    )


def start_from_schedule(turn: RunTurn, command: FireSchedule, schedule: Schedule) -> None:
    error = engine_error(turn, "input.invalid", command.fault) if command.fault else None
    _start(
        turn,
        trigger=schedule.trigger,
        started_by="schedule",
        sealed_input=command.input,
        priority=0,
        version=schedule.version,
        scheduled_at_ms=command.firing_ms,
        error=error,
    )


def _start_key(partition: PartitionView, key: bytes) -> StartKey | None:
    return partition.start_keys.get(key) or partition.brief_keys.get(key)


def _start(
    turn: RunTurn,
    *,
    trigger: str,
    started_by: str,
    sealed_input: Stored,
    priority: int,
    version: int,
    scheduled_at_ms: int | None,
    error: StepError | None = None,
) -> None:
    timeout_ms = turn.plan.timeout_ms
    timeout_at_ms = turn.now_ms + timeout_ms if timeout_ms is not None else None
    started = RunStarted(
        flow=turn.plan.flow,
        version=version,
        plan=turn.plan.hash,
        input=sealed_input,
        trigger=trigger,
        started_by=started_by,
        priority=priority,
        timeout_at_ms=timeout_at_ms,
        scheduled_at_ms=scheduled_at_ms,
    )
    if error is not None:
        turn.emit(started)
        turn.emit(RunFailed(error=error))
        turn.perform(EvictRun(turn.run_id))
        return
    open_run(turn, started)
