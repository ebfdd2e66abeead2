"""The home of correlated events: who publishes and who waits meet here, whoever came first.

An event goes to every step that waits for its correlation; whether it matches is for the run to
say. What one record does not hold is forwarded in the next ones, by a message to oneself.
"""

from collections.abc import Sequence

from headrace_core.ids import RunId, StepKey, TenantId, partition_of, slot_of
from headrace_core.partition.events import (
    EventDelivery,
    EventForward,
    EventForwarded,
    EventPublished,
    StartKeyed,
    WaiterJoin,
    WaiterJoined,
    WaiterLeave,
    WaiterLeft,
)
from headrace_core.partition.state import (
    KEPT_EVENT_BYTES,
    KeptEvent,
    PartitionView,
    Waiter,
)
from headrace_scheduler.domain.commands import PublishEvent, TakeMessage
from headrace_scheduler.domain.decide.start_run import known_key
from headrace_scheduler.domain.decision import PartitionTurn, Reason, Rejection

FORWARDED_BYTES_MAX = 400_000
"""Contents that one record forwards; the rest follows in the next."""
FORWARDING_MS = 60_000
"""So long an event is kept at least when not all who wait were sent it at once."""
KEPT_PER_CORRELATION_MAX = 100
KEPT_BYTES_MAX = 16_777_216
"""Of one partition; a checkpoint holds them all."""
KEPT_TENANT_BYTES_MAX = 4_194_304


def publish_event(turn: PartitionTurn, command: PublishEvent) -> Rejection | None:
    partition = turn.partition
    known = known_key(partition, command.start_key, command.fingerprint, turn.now_ms)
    if known is not None:
        return known
    waiters = partition.waiters.get(command.correlation, ())
    live = _live(partition, command, turn.now_ms)
    content_bytes = len(command.content) + KEPT_EVENT_BYTES + sum(one.size_bytes for one in live)
    start_bytes = sum(len(one.input) + KEPT_EVENT_BYTES for one in command.starts)
    all_at_once = start_bytes + content_bytes * len(waiters) <= FORWARDED_BYTES_MAX
    keep_ms = command.keep_ms if all_at_once else max(command.keep_ms, FORWARDING_MS)
    if keep_ms and (full := _is_full(partition, command, turn.now_ms)) is not None:
        return full
    published = EventPublished(
        event=command.event,
        tenant=command.tenant,
        correlation=command.correlation,
        content=command.content,
        number=partition.events_published + 1,
        expires_at_ms=turn.now_ms + keep_ms,
    )
    turn.emit_partition(
        StartKeyed(
            key=command.start_key,
            fingerprint=command.fingerprint,
            run=RunId(command.event),
            expires_at_ms=turn.now_ms + command.key_kept_ms,
        )
    )
    turn.emit_partition(published)
    kept = KeptEvent(
        command.event,
        command.tenant,
        command.content,
        published.number,
        turn.now_ms,
        published.expires_at_ms,
    )
    for start in command.starts:
        turn.send(partition_of(slot_of(start.run), turn.partitions), start)
    left = FORWARDED_BYTES_MAX - start_bytes
    _forward(turn, command, waiters, [*live, kept], left=left, remember=bool(keep_ms))
    return None


def join_waiter(turn: PartitionTurn, command: TakeMessage) -> None:
    message = command.message
    assert isinstance(message, WaiterJoin)
    turn.emit_partition(
        WaiterJoined(
            tenant=message.tenant,
            run=message.run,
            step=message.step,
            correlation=message.correlation,
            since_ms=message.since_ms,
        )
    )
    waiter = Waiter(message.tenant, message.run, message.step, message.since_ms)
    _forward(turn, message, [waiter], _live(turn.partition, message, turn.now_ms))


def leave_waiter(turn: PartitionTurn, command: TakeMessage) -> None:
    message = command.message
    assert isinstance(message, WaiterLeave)
    waiters = turn.partition.waiters.get(message.correlation, ())
    if any(one.run == message.run and one.step == message.step for one in waiters):
        turn.emit_partition(
            WaiterLeft(run=message.run, step=message.step, correlation=message.correlation)
        )


def go_on_forwarding(turn: PartitionTurn, command: TakeMessage) -> None:
    message = command.message
    assert isinstance(message, EventForward)
    waiters = turn.partition.waiters.get(message.correlation, ())
    _forward(turn, message, waiters, _live(turn.partition, message, turn.now_ms))


def _forward(
    turn: PartitionTurn,
    where: PublishEvent | WaiterJoin | EventForward,
    waiters: Sequence[Waiter],
    events: Sequence[KeptEvent],
    *,
    left: int = FORWARDED_BYTES_MAX,
    remember: bool = True,
) -> None:
    """To each waiter what it has not been sent, in the order of publication. `left` is what the
    record still holds."""
    for waiter in waiters:
        sent = 0
        for event in events:
            if event.number <= waiter.seen or event.published_ms < waiter.since_ms:
                continue
            if left <= 0:
                break
            left -= event.size_bytes
            sent = event.number
            delivery = EventDelivery(
                tenant=waiter.tenant,
                run=waiter.run,
                step=waiter.step,
                correlation=where.correlation,
                event=event.event,
                content=event.content,
            )
            turn.send(partition_of(slot_of(waiter.run), turn.partitions), delivery)
        if sent and remember:
            turn.emit_partition(_forwarded(where, waiter.run, waiter.step, sent))
    if left <= 0:
        again = EventForward(tenant=TenantId(where.tenant), correlation=where.correlation)
        turn.send(turn.partition.partition, again)


def _forwarded(
    where: PublishEvent | WaiterJoin | EventForward, run: RunId, step: StepKey, number: int
) -> EventForwarded:
    return EventForwarded(correlation=where.correlation, run=run, step=step, number=number)


def _live(
    partition: PartitionView, where: PublishEvent | WaiterJoin | EventForward, now_ms: int
) -> list[KeptEvent]:
    kept = partition.kept_events.get(where.correlation, ())
    return [event for event in kept if event.expires_at_ms > now_ms]


def _is_full(partition: PartitionView, command: PublishEvent, now_ms: int) -> Rejection | None:
    if len(_live(partition, command, now_ms)) >= KEPT_PER_CORRELATION_MAX:
        message = f"{KEPT_PER_CORRELATION_MAX} events of this topic and key are kept already"
        return Rejection(Reason.FULL, message)
    if partition.kept_bytes < KEPT_TENANT_BYTES_MAX:
        return None
    every = [event for events in partition.kept_events.values() for event in events]
    live = [event for event in every if event.expires_at_ms > now_ms]
    own_bytes = sum(event.size_bytes for event in live if event.tenant == command.tenant)
    all_bytes = sum(event.size_bytes for event in live)
    if own_bytes < KEPT_TENANT_BYTES_MAX and all_bytes < KEPT_BYTES_MAX:
        return None
    return Rejection(Reason.FULL, "too many events that nobody waited for are kept already")
