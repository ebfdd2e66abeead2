"""The fold of a partition: the only module that writes PartitionState."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace_core.errors import UnknownEvent
from headrace_core.ids import RunId
from headrace_core.partition import events as ev
from headrace_core.partition.state import (
    BRIEF_KEY_KEPT_MS,
    KEPT_BYTES_SWEPT_FROM,
    RATES_SWEPT_FROM,
    KeptEvent,
    Outbox,
    PartitionState,
    Rate,
    RunLimit,
    Schedule,
    StartKey,
    Waiter,
)
from headrace_core.workflow.firing import Overlap


def apply_turn(
    partition: PartitionState, events: Sequence[ev.PartitionEvent], time_ms: int
) -> None:
    """Fold the partition events of one accepted record; also moves the partition's time."""
    partition.time_ms = time_ms
    for event in events:
        apply(partition, event)


def restore_start_keys(partition: PartitionState, keys: Iterable[tuple[bytes, StartKey]]) -> None:
    """Part of loading a snapshot, which keeps start keys in rows of their own."""
    partition.start_keys.update(keys)


def set_time(partition: PartitionState, time_ms: int) -> None:
    partition.time_ms = time_ms


def set_chain(partition: PartitionState, chain: bytes) -> None:
    """Records without a run form the partition's own chain."""
    partition.chain = chain


def apply(partition: PartitionState, event: ev.PartitionEvent) -> None:
    applier = APPLIERS.get(type(event))
    if applier is None:
        raise UnknownEvent(f"this reader does not know the event {type(event).__name__}")
    applier(partition, event)


def _claimed(partition: PartitionState, event: ev.PartitionClaimed) -> None:
    """Nothing to remember: epoch and sequence belong to the filter."""


def _start_keyed(partition: PartitionState, event: ev.StartKeyed) -> None:
    for kept in (partition.start_keys, partition.brief_keys):
        _forget_expired(kept, partition.time_ms)
    brief = event.expires_at_ms - partition.time_ms <= BRIEF_KEY_KEPT_MS
    keys = partition.brief_keys if brief else partition.start_keys
    assert event.key not in keys, "a start key is registered once"
    keys[event.key] = StartKey(event.fingerprint, event.run, event.expires_at_ms)


def _forget_expired(keys: dict[bytes, StartKey], time_ms: int) -> None:
    # Keys of one kind are registered in the order of their expiry: the oldest stand in front.
    while keys:
        oldest = next(iter(keys))
        if keys[oldest].expires_at_ms > time_ms:
            break
        del keys[oldest]


def _schedule_set(partition: PartitionState, event: ev.ScheduleSet) -> None:
    before = partition.schedules.pop(event.schedule, None)
    may_overlap = event.overlap is Overlap.ALLOW
    if before is not None and (may_overlap or not (event.every_ms or event.cron)):
        for run in before.open:
            del partition.scheduled_runs[run]
    if not event.every_ms and not event.cron:
        return
    partition.schedules[event.schedule] = Schedule(
        tenant=event.tenant,
        flow=event.flow,
        version=event.version,
        plan=event.plan,
        trigger=event.trigger,
        every_ms=event.every_ms,
        next_due_ms=event.next_due_ms,
        fired_ms=before.fired_ms if before else 0,
        cron=event.cron,
        timezone=event.timezone,
        overlap=event.overlap,
        catchup=event.catchup,
        open=() if before is None or may_overlap else before.open,
        queued=before.queued if before else (),
    )


def _schedule_fired(partition: PartitionState, event: ev.ScheduleFired) -> None:
    schedule = partition.schedules[event.schedule]
    assert event.due_ms >= schedule.next_due_ms, "a firing is never early and never double"
    partition.schedules[event.schedule] = replace(
        schedule, fired_ms=event.due_ms, next_due_ms=event.next_due_ms
    )
    _scheduled_run(partition, event.schedule, event.run)


def _schedule_held(partition: PartitionState, event: ev.ScheduleHeld) -> None:
    schedule = partition.schedules[event.schedule]
    assert event.due_ms >= schedule.next_due_ms, "a firing is never early and never double"
    kept = () if schedule.overlap is Overlap.CANCEL_RUNNING else schedule.queued
    queued = (*kept, event.due_ms) if event.queued else schedule.queued
    partition.schedules[event.schedule] = replace(
        schedule, fired_ms=event.due_ms, next_due_ms=event.next_due_ms, queued=queued
    )


def _schedule_released(partition: PartitionState, event: ev.ScheduleReleased) -> None:
    schedule = partition.schedules[event.schedule]
    assert schedule.queued[:1] == (event.due_ms,), "firings that wait start in their order"
    partition.schedules[event.schedule] = replace(schedule, queued=schedule.queued[1:])
    _scheduled_run(partition, event.schedule, event.run)


def _scheduled_run(partition: PartitionState, name: str, run: RunId) -> None:
    schedule = partition.schedules[name]
    if schedule.overlap is Overlap.ALLOW:
        return
    partition.scheduled_runs[run] = name
    partition.schedules[name] = replace(schedule, open=(*schedule.open, run))


def _schedule_run_ended(partition: PartitionState, event: ev.ScheduleRunEnded) -> None:
    schedule = partition.schedules[event.schedule]
    del partition.scheduled_runs[event.run]
    still = tuple(run for run in schedule.open if run != event.run)
    partition.schedules[event.schedule] = replace(schedule, open=still)


def _message_sent(partition: PartitionState, event: ev.MessageSent) -> None:
    outbox = partition.outboxes.get(event.target)
    if outbox is None:
        outbox = partition.outboxes[event.target] = Outbox()
    assert event.number == outbox.sent + 1, "messages are numbered without a gap"
    outbox.sent = event.number
    outbox.messages[event.number] = event.message


def _message_received(partition: PartitionState, event: ev.MessageReceived) -> None:
    watermark = partition.inboxes.get(event.source, 0)
    assert event.number == watermark + 1, "messages are taken in order, each once"
    partition.inboxes[event.source] = event.number


def _message_acknowledged(partition: PartitionState, event: ev.MessageAcknowledged) -> None:
    outbox = partition.outboxes[event.target]
    assert outbox.acknowledged <= event.number <= outbox.sent
    for number in range(outbox.acknowledged + 1, event.number + 1):
        del outbox.messages[number]
    outbox.acknowledged = event.number


def _event_published(partition: PartitionState, event: ev.EventPublished) -> None:
    assert event.number == partition.events_published + 1, "events are numbered without a gap"
    partition.events_published = event.number
    if event.expires_at_ms <= partition.time_ms:
        return
    kept = KeptEvent(
        event.event,
        event.tenant,
        event.content,
        event.number,
        partition.time_ms,
        event.expires_at_ms,
    )
    if partition.kept_bytes >= partition.kept_bytes_swept:
        _sweep_events(partition)
    partition.kept_events.setdefault(event.correlation, []).append(kept)
    partition.kept_bytes += kept.size_bytes


def _sweep_events(partition: PartitionState) -> None:
    """Seldom enough that an event costs the same however many are kept."""
    for correlation, events in list(partition.kept_events.items()):
        live = [one for one in events if one.expires_at_ms > partition.time_ms]
        if live:
            partition.kept_events[correlation] = live
        else:
            del partition.kept_events[correlation]
    partition.kept_bytes = sum(
        one.size_bytes for events in partition.kept_events.values() for one in events
    )
    partition.kept_bytes_swept = max(KEPT_BYTES_SWEPT_FROM, 2 * partition.kept_bytes)


def _event_forwarded(partition: PartitionState, event: ev.EventForwarded) -> None:
    for waiter in partition.waiters[event.correlation]:
        if waiter.run == event.run and waiter.step == event.step:
            assert event.number > waiter.seen, "events are forwarded in order, each once"
            waiter.seen = event.number
            return
    raise AssertionError("events are forwarded only to who waits")


def _waiter_joined(partition: PartitionState, event: ev.WaiterJoined) -> None:
    waiters = partition.waiters.setdefault(event.correlation, [])
    waiters.append(Waiter(event.tenant, event.run, event.step, event.since_ms))


def _waiter_left(partition: PartitionState, event: ev.WaiterLeft) -> None:
    left = [
        waiter
        for waiter in partition.waiters[event.correlation]
        if (waiter.run, waiter.step) != (event.run, event.step)
    ]
    if left:
        partition.waiters[event.correlation] = left
    else:
        del partition.waiters[event.correlation]


def _limit_asked(partition: PartitionState, event: ev.LimitAsked) -> None:
    limit = partition.run_limits.get(event.key)
    if limit is None:
        limit = RunLimit(event.tenant, event.flow, event.limit)
        partition.run_limits[event.key] = limit
    assert event.run not in limit.holders and event.run not in limit.queue, "a run asks once"
    limit.limit = event.limit
    limit.queue.append(event.run)


def _limit_granted(partition: PartitionState, event: ev.LimitGranted) -> None:
    limit = partition.run_limits[event.key]
    assert limit.queue[0] == event.run, "places are given in the order of asking"
    assert len(limit.holders) < limit.limit, "no more places are given than there are"
    del limit.queue[0]
    limit.holders[event.run] = False


def _limit_replaced(partition: PartitionState, event: ev.LimitReplaced) -> None:
    limit = partition.run_limits[event.key]
    if event.run in limit.holders:
        limit.holders[event.run] = True
    else:
        limit.queue.remove(event.run)


def _limit_left(partition: PartitionState, event: ev.LimitLeft) -> None:
    limit = partition.run_limits[event.key]
    if event.run in limit.holders:
        del limit.holders[event.run]
    else:
        limit.queue.remove(event.run)
    if not limit.holders and not limit.queue:
        del partition.run_limits[event.key]


def _rate_granted(partition: PartitionState, event: ev.RateGranted) -> None:
    rate = partition.rates.get(event.key)
    if rate is None:
        if len(partition.rates) >= partition.rates_swept:
            _sweep_rates(partition)
        rate = partition.rates[event.key] = Rate(event.tenant, event.per_ms, event.limit)
    rate.per_ms, rate.limit = event.per_ms, event.limit
    rate.begins_ms.append(event.at_ms)
    del rate.begins_ms[: -event.limit]


def _sweep_rates(partition: PartitionState) -> None:
    for key, rate in list(partition.rates.items()):
        if rate.is_over(partition.time_ms):
            del partition.rates[key]
    partition.rates_swept = max(RATES_SWEPT_FROM, 2 * len(partition.rates))


def _letter_decided(partition: PartitionState, event: ev.LetterDecision) -> None:
    """Nothing to remember: a start key of the letter's own says for a day that it was decided,
    and history for ever."""


APPLIERS: Mapping[type[ev.PartitionEvent], Callable[[PartitionState, Any], None]] = {
    ev.PartitionClaimed: _claimed,
    ev.StartKeyed: _start_keyed,
    ev.ScheduleSet: _schedule_set,
    ev.ScheduleFired: _schedule_fired,
    ev.ScheduleHeld: _schedule_held,
    ev.ScheduleReleased: _schedule_released,
    ev.ScheduleRunEnded: _schedule_run_ended,
    ev.MessageSent: _message_sent,
    ev.MessageReceived: _message_received,
    ev.MessageAcknowledged: _message_acknowledged,
    ev.EventPublished: _event_published,
    ev.EventForwarded: _event_forwarded,
    ev.WaiterJoined: _waiter_joined,
    ev.WaiterLeft: _waiter_left,
    ev.LimitAsked: _limit_asked,
    ev.LimitGranted: _limit_granted,
    ev.LimitReplaced: _limit_replaced,
    ev.LimitLeft: _limit_left,
    ev.RateGranted: _rate_granted,
    ev.DeadLetterReplayed: _letter_decided,
    ev.DeadLetterDiscarded: _letter_decided,
}
