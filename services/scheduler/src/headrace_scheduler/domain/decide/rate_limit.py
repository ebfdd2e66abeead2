"""A step's `rate_limit`: no more than `limit` calls of one key begin in any time of length `per`.

The key has a home partition, which says in the order of asking when each call may begin. Every
call asks: each attempt, each fallback entry, each item and each pass.
"""

from headrace_core.ids import LimitKey, StepKey, partition_of, slot_of, slot_of_limit
from headrace_core.partition.events import RateAsk, RateGrant, RateGranted
from headrace_core.partition.state import Rate
from headrace_core.run.events import StepWaiting
from headrace_core.run.status import WaitingKind
from headrace_core.workflow.plan import RateLimit
from headrace_scheduler.domain.commands import TakeMessage
from headrace_scheduler.domain.decision import PartitionTurn, RunTurn

REMEMBERED_MAX = 1_000
"""Times that are remembered of one key; a checkpoint holds them all."""


def ask_rate(turn: RunTurn, limit: RateLimit, step: StepKey, key: LimitKey) -> None:
    """The step waits for the answer; without one it does not call."""
    parts = -(-limit.limit // REMEMBERED_MAX)
    turn.emit(StepWaiting(step=step, kind=WaitingKind.RATE, limit_key=key))
    ask = RateAsk(
        key=key,
        tenant=turn.tenant,
        run=turn.run_id,
        step=step,
        # A high limit is spread over parts of its time, which only makes it stricter.
        per_ms=-(-limit.per_ms // parts),
        limit=limit.limit // parts,
    )
    turn.send(partition_of(slot_of_limit(key), turn.partitions), ask)


def give_rate(turn: PartitionTurn, command: TakeMessage) -> None:
    message = command.message
    assert isinstance(message, RateAsk)
    at_ms = _begins_ms(turn.partition.rates.get(message.key), message, turn.now_ms)
    turn.emit_partition(
        RateGranted(
            key=message.key,
            tenant=message.tenant,
            per_ms=message.per_ms,
            limit=message.limit,
            at_ms=at_ms,
        )
    )
    grant = RateGrant(tenant=message.tenant, run=message.run, step=message.step, at_ms=at_ms)
    turn.send(partition_of(slot_of(message.run), turn.partitions), grant)


def _begins_ms(rate: Rate | None, ask: RateAsk, now_ms: int) -> int:
    """A time after that of the call `limit` before this one, and not before any other's."""
    if rate is None or not rate.begins_ms:
        return now_ms
    begins_ms = max(now_ms, rate.begins_ms[-1])
    if len(rate.begins_ms) >= ask.limit:
        begins_ms = max(begins_ms, rate.begins_ms[-ask.limit] + ask.per_ms)
    return begins_ms
