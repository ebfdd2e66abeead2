"""Partition events and messages between runs, to and from protobuf."""

from collections.abc import Callable, Mapping
from typing import Any

from headrace.event.v1 import envelope_pb2 as envelope
from headrace.event.v1 import partition_events_pb2 as pb
from headrace_contracts.codec import correlated_events as correlated
from headrace_contracts.codec import limit_events as limits
from headrace_contracts.codec.run_events import put_error, put_parent, take_error, take_parent
from headrace_core.errors import UnknownEvent
from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.partition import events as ev
from headrace_core.payload import Stored
from headrace_core.run.status import RunStatus
from headrace_core.workflow.firing import Catchup, Overlap


def put_message(to: pb.Message, message: ev.Message) -> None:
    name, put, _ = MESSAGES[type(message)]
    put(getattr(to, name), message)


def take_message(message: pb.Message) -> ev.Message:
    name = message.WhichOneof("message")
    if name is None:
        raise UnknownEvent("a message between partitions is of a kind unknown here")
    return _TAKE[name](getattr(message, name))


def _put_child_start(m: pb.ChildStart, message: ev.ChildStart) -> None:
    m.run, m.tenant, m.flow = message.run, message.tenant, message.flow
    m.version, m.plan, m.input = message.version, message.plan, message.input
    m.priority = message.priority
    put_parent(m.parent, message.parent)
    if message.timeout_ms is not None:
        m.timeout_ms = message.timeout_ms


def _take_child_start(m: pb.ChildStart) -> ev.ChildStart:
    return ev.ChildStart(
        run=RunId(m.run),
        tenant=TenantId(m.tenant),
        flow=m.flow,
        version=m.version,
        plan=PlanHash(m.plan),
        input=Stored(m.input),
        parent=take_parent(m.parent),
        priority=m.priority,
        timeout_ms=m.timeout_ms if m.HasField("timeout_ms") else None,
    )


def _put_child_ended(m: pb.ChildEnded, message: ev.ChildEnded) -> None:
    put_parent(m.parent, message.parent)
    m.tenant, m.child, m.output = message.tenant, message.child, message.output
    m.status = pb.RunStatus.ValueType(message.status)
    if message.error is not None:
        put_error(m.error, message.error)


def _take_child_ended(m: pb.ChildEnded) -> ev.ChildEnded:
    return ev.ChildEnded(
        parent=take_parent(m.parent),
        tenant=TenantId(m.tenant),
        child=RunId(m.child),
        status=RunStatus(m.status),
        output=Stored(m.output),
        error=take_error(m.error) if m.HasField("error") else None,
    )


def _put_child_cancel(m: pb.ChildCancel, message: ev.ChildCancel) -> None:
    m.run, m.tenant = message.run, message.tenant


def _take_child_cancel(m: pb.ChildCancel) -> ev.ChildCancel:
    return ev.ChildCancel(run=RunId(m.run), tenant=TenantId(m.tenant))


MESSAGES: Mapping[
    type[ev.Message], tuple[str, Callable[[Any, Any], None], Callable[[Any], Any]]
] = {
    ev.ChildStart: ("child_start", _put_child_start, _take_child_start),
    ev.ChildEnded: ("child_ended", _put_child_ended, _take_child_ended),
    ev.ChildCancel: ("child_cancel", _put_child_cancel, _take_child_cancel),
    ev.WaiterJoin: ("waiter_join", correlated.put_waiter_join, correlated.take_waiter_join),
    ev.WaiterLeave: ("waiter_leave", correlated.put_waiter_leave, correlated.take_waiter_leave),
    ev.EventDelivery: (
        "event_delivery",
        correlated.put_event_delivery,
        correlated.take_event_delivery,
    ),
    ev.EventForward: ("event_forward", correlated.put_event_forward, correlated.take_event_forward),
    ev.EventStart: ("event_start", correlated.put_event_start, correlated.take_event_start),
    ev.LimitAsk: ("limit_ask", limits.put_limit_ask, limits.take_limit_ask),
    ev.LimitAnswer: ("limit_answer", limits.put_limit_answer, limits.take_limit_answer),
    ev.LimitLeave: ("limit_leave", limits.put_limit_leave, limits.take_limit_leave),
    ev.RateAsk: ("rate_ask", limits.put_rate_ask, limits.take_rate_ask),
    ev.RateGrant: ("rate_grant", limits.put_rate_grant, limits.take_rate_grant),
}
_TAKE: Mapping[str, Callable[[Any], Any]] = {name: take for name, _, take in MESSAGES.values()}


def put_partition_claimed(to: envelope.PartitionEvent, event: ev.PartitionClaimed) -> None:
    m = to.partition_claimed
    m.owner, m.nonce = event.owner, event.nonce


def take_partition_claimed(m: pb.PartitionClaimed) -> ev.PartitionClaimed:
    return ev.PartitionClaimed(owner=m.owner, nonce=m.nonce)


def put_start_keyed(to: envelope.PartitionEvent, event: ev.StartKeyed) -> None:
    m = to.start_keyed
    m.key, m.fingerprint = event.key, event.fingerprint
    m.run, m.expires_at_ms = event.run, event.expires_at_ms


def take_start_keyed(m: pb.StartKeyed) -> ev.StartKeyed:
    return ev.StartKeyed(
        key=m.key, fingerprint=m.fingerprint, run=RunId(m.run), expires_at_ms=m.expires_at_ms
    )


def put_schedule_set(to: envelope.PartitionEvent, event: ev.ScheduleSet) -> None:
    m = to.schedule_set
    m.schedule, m.tenant, m.flow = event.schedule, event.tenant, event.flow
    m.version, m.plan, m.trigger = event.version, event.plan, event.trigger
    m.every_ms, m.next_due_ms = event.every_ms, event.next_due_ms
    m.cron, m.timezone = event.cron, event.timezone
    m.overlap, m.catchup = event.overlap, event.catchup


def take_schedule_set(m: pb.ScheduleSet) -> ev.ScheduleSet:
    return ev.ScheduleSet(
        schedule=m.schedule,
        tenant=TenantId(m.tenant),
        flow=m.flow,
        version=m.version,
        plan=PlanHash(m.plan),
        trigger=m.trigger,
        every_ms=m.every_ms,
        next_due_ms=m.next_due_ms,
        cron=m.cron,
        timezone=m.timezone,
        overlap=Overlap(m.overlap or "allow"),
        catchup=Catchup(m.catchup or "last"),
    )


def put_schedule_fired(to: envelope.PartitionEvent, event: ev.ScheduleFired) -> None:
    m = to.schedule_fired
    m.schedule, m.due_ms = event.schedule, event.due_ms
    m.next_due_ms, m.run = event.next_due_ms, event.run


def take_schedule_fired(m: pb.ScheduleFired) -> ev.ScheduleFired:
    return ev.ScheduleFired(
        schedule=m.schedule, due_ms=m.due_ms, next_due_ms=m.next_due_ms, run=RunId(m.run)
    )


def put_schedule_held(to: envelope.PartitionEvent, event: ev.ScheduleHeld) -> None:
    m = to.schedule_held
    m.schedule, m.due_ms = event.schedule, event.due_ms
    m.next_due_ms, m.queued = event.next_due_ms, event.queued


def take_schedule_held(m: pb.ScheduleHeld) -> ev.ScheduleHeld:
    return ev.ScheduleHeld(
        schedule=m.schedule, due_ms=m.due_ms, next_due_ms=m.next_due_ms, queued=m.queued
    )


def put_schedule_released(to: envelope.PartitionEvent, event: ev.ScheduleReleased) -> None:
    m = to.schedule_released
    m.schedule, m.due_ms, m.run = event.schedule, event.due_ms, event.run


def take_schedule_released(m: pb.ScheduleReleased) -> ev.ScheduleReleased:
    return ev.ScheduleReleased(schedule=m.schedule, due_ms=m.due_ms, run=RunId(m.run))


def put_schedule_run_ended(to: envelope.PartitionEvent, event: ev.ScheduleRunEnded) -> None:
    m = to.schedule_run_ended
    m.schedule, m.run = event.schedule, event.run


def take_schedule_run_ended(m: pb.ScheduleRunEnded) -> ev.ScheduleRunEnded:
    return ev.ScheduleRunEnded(schedule=m.schedule, run=RunId(m.run))


def put_message_sent(to: envelope.PartitionEvent, event: ev.MessageSent) -> None:
    m = to.message_sent
    m.target, m.number = event.target, event.number
    put_message(m.message, event.message)


def take_message_sent(m: pb.MessageSent) -> ev.MessageSent:
    return ev.MessageSent(target=m.target, number=m.number, message=take_message(m.message))


def put_message_received(to: envelope.PartitionEvent, event: ev.MessageReceived) -> None:
    to.message_received.source = event.source
    to.message_received.number = event.number


def take_message_received(m: pb.MessageReceived) -> ev.MessageReceived:
    return ev.MessageReceived(source=m.source, number=m.number)


def put_message_acknowledged(to: envelope.PartitionEvent, event: ev.MessageAcknowledged) -> None:
    to.message_acknowledged.target = event.target
    to.message_acknowledged.number = event.number


def take_message_acknowledged(m: pb.MessageAcknowledged) -> ev.MessageAcknowledged:
    return ev.MessageAcknowledged(target=m.target, number=m.number)
