"""Start a run from the state of another one. Everything of the source is in the command."""

from dataclasses import replace

from headrace_core.partition.events import DeadLetterReplayed, StartKeyed
from headrace_scheduler.domain.commands import ForkRun
from headrace_scheduler.domain.decide.concurrency import open_run
from headrace_scheduler.domain.decision import RunTurn


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
    if command.letter:
        turn.emit_partition(
            DeadLetterReplayed(
                letter=command.letter,
                tenant=command.tenant,
                run=command.fork.source,
                step=command.letter_step,
                as_run=command.run,
                replayed_by=command.fork.started_by,
            )
        )
    timeout_ms = turn.plan.timeout_ms
    timeout_at_ms = turn.now_ms + timeout_ms if timeout_ms is not None else None
    open_run(turn, replace(command.fork, timeout_at_ms=timeout_at_ms))
