"""Events from outside and those who wait for them, to and from protobuf."""

from headrace.event.v1 import envelope_pb2 as envelope
from headrace.event.v1 import partition_events_pb2 as pb
from headrace_contracts.codec.run_events import put_error, take_error
from headrace_core.ids import Correlation, EventId, PlanHash, RunId, StepKey, TenantId
from headrace_core.partition import events as ev
from headrace_core.payload import Stored


def put_waiter_join(m: pb.WaiterJoin, message: ev.WaiterJoin) -> None:
    m.tenant, m.run, m.step = message.tenant, message.run, message.step
    m.correlation, m.since_ms = message.correlation, message.since_ms


def take_waiter_join(m: pb.WaiterJoin) -> ev.WaiterJoin:
    return ev.WaiterJoin(
        tenant=TenantId(m.tenant),
        run=RunId(m.run),
        step=StepKey(m.step),
        correlation=Correlation(m.correlation),
        since_ms=m.since_ms,
    )


def put_waiter_leave(m: pb.WaiterLeave, message: ev.WaiterLeave) -> None:
    m.tenant, m.run, m.step = message.tenant, message.run, message.step
    m.correlation = message.correlation


def take_waiter_leave(m: pb.WaiterLeave) -> ev.WaiterLeave:
    return ev.WaiterLeave(
        tenant=TenantId(m.tenant),
        run=RunId(m.run),
        step=StepKey(m.step),
        correlation=Correlation(m.correlation),
    )


def put_event_delivery(m: pb.EventDelivery, message: ev.EventDelivery) -> None:
    m.tenant, m.run, m.step = message.tenant, message.run, message.step
    m.correlation, m.event, m.content = message.correlation, message.event, message.content


def take_event_delivery(m: pb.EventDelivery) -> ev.EventDelivery:
    return ev.EventDelivery(
        tenant=TenantId(m.tenant),
        run=RunId(m.run),
        step=StepKey(m.step),
        correlation=Correlation(m.correlation),
        event=EventId(m.event),
        content=Stored(m.content),
    )


def put_event_forward(m: pb.EventForward, message: ev.EventForward) -> None:
    m.tenant, m.correlation = message.tenant, message.correlation


def take_event_forward(m: pb.EventForward) -> ev.EventForward:
    return ev.EventForward(tenant=TenantId(m.tenant), correlation=Correlation(m.correlation))


def put_event_start(m: pb.EventStart, message: ev.EventStart) -> None:
    m.run, m.tenant, m.flow = message.run, message.tenant, message.flow
    m.version, m.plan, m.input = message.version, message.plan, message.input
    m.trigger, m.event = message.trigger, message.event
    if message.error is not None:
        put_error(m.error, message.error)


def take_event_start(m: pb.EventStart) -> ev.EventStart:
    return ev.EventStart(
        run=RunId(m.run),
        tenant=TenantId(m.tenant),
        flow=m.flow,
        version=m.version,
        plan=PlanHash(m.plan),
        input=Stored(m.input),
        trigger=m.trigger,
        event=EventId(m.event),
        error=take_error(m.error) if m.HasField("error") else None,
    )


def put_event_published(to: envelope.PartitionEvent, event: ev.EventPublished) -> None:
    m = to.event_published
    m.event, m.tenant, m.correlation = event.event, event.tenant, event.correlation
    m.content, m.number, m.expires_at_ms = event.content, event.number, event.expires_at_ms


def take_event_published(m: pb.EventPublished) -> ev.EventPublished:
    return ev.EventPublished(
        event=EventId(m.event),
        tenant=TenantId(m.tenant),
        correlation=Correlation(m.correlation),
        content=Stored(m.content),
        number=m.number,
        expires_at_ms=m.expires_at_ms,
    )


def put_event_forwarded(to: envelope.PartitionEvent, event: ev.EventForwarded) -> None:
    m = to.event_forwarded
    m.correlation, m.run, m.step = event.correlation, event.run, event.step
    m.number = event.number


def take_event_forwarded(m: pb.EventForwarded) -> ev.EventForwarded:
    return ev.EventForwarded(
        correlation=Correlation(m.correlation),
        run=RunId(m.run),
        step=StepKey(m.step),
        number=m.number,
    )


def put_waiter_joined(to: envelope.PartitionEvent, event: ev.WaiterJoined) -> None:
    m = to.waiter_joined
    m.tenant, m.run, m.step = event.tenant, event.run, event.step
    m.correlation, m.since_ms = event.correlation, event.since_ms


def take_waiter_joined(m: pb.WaiterJoined) -> ev.WaiterJoined:
    return ev.WaiterJoined(
        tenant=TenantId(m.tenant),
        run=RunId(m.run),
        step=StepKey(m.step),
        correlation=Correlation(m.correlation),
        since_ms=m.since_ms,
    )


def put_waiter_left(to: envelope.PartitionEvent, event: ev.WaiterLeft) -> None:
    m = to.waiter_left
    m.run, m.step, m.correlation = event.run, event.step, event.correlation


def take_waiter_left(m: pb.WaiterLeft) -> ev.WaiterLeft:
    return ev.WaiterLeft(
        run=RunId(m.run), step=StepKey(m.step), correlation=Correlation(m.correlation)
    )
