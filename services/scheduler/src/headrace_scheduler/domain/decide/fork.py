"""Start a run from the state of another one. Everything of the source is in the command."""

from dataclasses import replace

from headrace_core.ids import StepKey
from headrace_core.partition.events import StartKeyed
from headrace_scheduler.domain.commands import ForkRun, TimerKind
from headrace_scheduler.domain.decide.advance import resume
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import SetTimer


def fork_run(turn: RunTurn, command: ForkRun) -> None:
    """The run's time counts from here; nothing of the source's clock or parent goes with it."""
    turn.emit_partition(
        StartKeyed(
            key=command.start_key,
            fingerprint=command.fingerprint,
            run=command.run,
            expires_at_ms=turn.now_ms + command.key_kept_ms,
        )
    )
    timeout_ms = turn.plan.timeout_ms
    timeout_at_ms = turn.now_ms + timeout_ms if timeout_ms is not None else None
    turn.emit(replace(command.fork, timeout_at_ms=timeout_at_ms))
    if timeout_at_ms is not None:
        turn.perform(SetTimer(timeout_at_ms, turn.run_id, StepKey(""), TimerKind.RUN_TIMEOUT))
    resume(turn)
