"""Discard a dead letter: somebody has looked, and it is not tried again."""

from headrace_core.ids import RunId
from headrace_core.partition.events import DeadLetterDiscarded, StartKeyed
from headrace_scheduler.domain.commands import DiscardLetter
from headrace_scheduler.domain.decide.start_run import known_key
from headrace_scheduler.domain.decision import PartitionTurn, Rejection


def discard_letter(turn: PartitionTurn, command: DiscardLetter) -> Rejection | None:
    """Its start key is that of a fork which would replay the letter: the first decision counts."""
    known = known_key(turn.partition, command.start_key, command.fingerprint, turn.now_ms)
    if known is not None:
        return known
    turn.emit_partition(
        StartKeyed(
            key=command.start_key,
            fingerprint=command.fingerprint,
            run=RunId(command.letter),
            expires_at_ms=turn.now_ms + command.key_kept_ms,
        )
    )
    turn.emit_partition(
        DeadLetterDiscarded(
            letter=command.letter,
            tenant=command.tenant,
            run=command.run,
            step=command.step,
            discarded_by=command.discarded_by,
            reason=command.reason,
        )
    )
    return None
