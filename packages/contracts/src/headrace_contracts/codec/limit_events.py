"""Limits of a key and those who share them, to and from protobuf."""

from headrace.event.v1 import envelope_pb2 as envelope
from headrace.event.v1 import partition_events_pb2 as pb
from headrace_core.ids import LimitKey, RunId, StepKey, TenantId
from headrace_core.partition import events as ev
from headrace_core.run.status import Admission
from headrace_core.workflow.firing import OnConflict


def put_limit_ask(m: pb.LimitAsk, message: ev.LimitAsk) -> None:
    m.key, m.tenant, m.flow = message.key, message.tenant, message.flow
    m.run, m.limit, m.on_conflict = message.run, message.limit, message.on_conflict


def take_limit_ask(m: pb.LimitAsk) -> ev.LimitAsk:
    return ev.LimitAsk(
        key=LimitKey(m.key),
        tenant=TenantId(m.tenant),
        flow=m.flow,
        run=RunId(m.run),
        limit=m.limit,
        on_conflict=OnConflict(m.on_conflict),
    )


def put_limit_answer(m: pb.LimitAnswer, message: ev.LimitAnswer) -> None:
    m.tenant, m.run, m.count, m.by = message.tenant, message.run, message.count, message.by
    m.admission = pb.Admission.ValueType(message.admission)


def take_limit_answer(m: pb.LimitAnswer) -> ev.LimitAnswer:
    return ev.LimitAnswer(
        tenant=TenantId(m.tenant),
        run=RunId(m.run),
        admission=Admission(m.admission),
        count=m.count,
        by=RunId(m.by),
    )


def put_limit_leave(m: pb.LimitLeave, message: ev.LimitLeave) -> None:
    m.key, m.tenant, m.run = message.key, message.tenant, message.run


def take_limit_leave(m: pb.LimitLeave) -> ev.LimitLeave:
    return ev.LimitLeave(key=LimitKey(m.key), tenant=TenantId(m.tenant), run=RunId(m.run))


def put_limit_asked(to: envelope.PartitionEvent, event: ev.LimitAsked) -> None:
    m = to.limit_asked
    m.key, m.tenant, m.flow = event.key, event.tenant, event.flow
    m.run, m.limit = event.run, event.limit


def take_limit_asked(m: pb.LimitAsked) -> ev.LimitAsked:
    return ev.LimitAsked(
        key=LimitKey(m.key),
        tenant=TenantId(m.tenant),
        flow=m.flow,
        run=RunId(m.run),
        limit=m.limit,
    )


def put_limit_granted(to: envelope.PartitionEvent, event: ev.LimitGranted) -> None:
    to.limit_granted.key, to.limit_granted.run = event.key, event.run


def take_limit_granted(m: pb.LimitGranted) -> ev.LimitGranted:
    return ev.LimitGranted(key=LimitKey(m.key), run=RunId(m.run))


def put_limit_replaced(to: envelope.PartitionEvent, event: ev.LimitReplaced) -> None:
    to.limit_replaced.key, to.limit_replaced.run = event.key, event.run


def take_limit_replaced(m: pb.LimitReplaced) -> ev.LimitReplaced:
    return ev.LimitReplaced(key=LimitKey(m.key), run=RunId(m.run))


def put_limit_left(to: envelope.PartitionEvent, event: ev.LimitLeft) -> None:
    to.limit_left.key, to.limit_left.run = event.key, event.run


def take_limit_left(m: pb.LimitLeft) -> ev.LimitLeft:
    return ev.LimitLeft(key=LimitKey(m.key), run=RunId(m.run))


def put_rate_ask(m: pb.RateAsk, message: ev.RateAsk) -> None:
    m.key, m.tenant, m.run, m.step = message.key, message.tenant, message.run, message.step
    m.per_ms, m.limit = message.per_ms, message.limit


def take_rate_ask(m: pb.RateAsk) -> ev.RateAsk:
    return ev.RateAsk(
        key=LimitKey(m.key),
        tenant=TenantId(m.tenant),
        run=RunId(m.run),
        step=StepKey(m.step),
        per_ms=m.per_ms,
        limit=m.limit,
    )


def put_rate_grant(m: pb.RateGrant, message: ev.RateGrant) -> None:
    m.tenant, m.run, m.step = message.tenant, message.run, message.step
    m.at_ms = message.at_ms


def take_rate_grant(m: pb.RateGrant) -> ev.RateGrant:
    return ev.RateGrant(
        tenant=TenantId(m.tenant), run=RunId(m.run), step=StepKey(m.step), at_ms=m.at_ms
    )


def put_rate_granted(to: envelope.PartitionEvent, event: ev.RateGranted) -> None:
    m = to.rate_granted
    m.key, m.tenant, m.per_ms = event.key, event.tenant, event.per_ms
    m.limit, m.at_ms = event.limit, event.at_ms


def take_rate_granted(m: pb.RateGranted) -> ev.RateGranted:
    return ev.RateGranted(
        key=LimitKey(m.key),
        tenant=TenantId(m.tenant),
        per_ms=m.per_ms,
        limit=m.limit,
        at_ms=m.at_ms,
    )
