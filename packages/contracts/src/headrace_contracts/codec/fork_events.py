"""A fork's first event to and from protobuf; the gateway's command carries the same message."""

from headrace.event.v1 import envelope_pb2 as envelope
from headrace.event.v1 import fork_events_pb2 as pb
from headrace.event.v1 import step_events_pb2 as step_pb
from headrace_contracts.codec.run_events import put_error, take_error
from headrace_contracts.codec.step_events import take_edges
from headrace_core.ids import LimitKey, PlanHash, RunId, StepKey
from headrace_core.payload import Stored
from headrace_core.run import events as ev
from headrace_core.run.status import SkipReason, StepStatus


def put_run_forked(to: envelope.RunEvent, event: ev.RunForked) -> None:
    fill_run_forked(to.run_forked, event)


def fill_run_forked(m: pb.RunForked, event: ev.RunForked) -> None:
    m.source, m.source_sequence = event.source, event.source_sequence
    m.state_hash = event.state_hash
    m.flow, m.version, m.plan, m.input = event.flow, event.version, event.plan, event.input
    m.started_by, m.priority = event.started_by, event.priority
    m.input_edited, m.reason = event.input_edited, event.reason
    m.limit_key = event.limit_key
    if event.timeout_at_ms is not None:
        m.timeout_at_ms = event.timeout_at_ms
    for step in event.steps:
        _put_step(m.steps.add(), step)


def take_run_forked(m: pb.RunForked) -> ev.RunForked:
    return ev.RunForked(
        source=RunId(m.source),
        source_sequence=m.source_sequence,
        state_hash=m.state_hash,
        flow=m.flow,
        version=m.version,
        plan=PlanHash(m.plan),
        input=Stored(m.input),
        started_by=m.started_by,
        steps=tuple(_take_step(step) for step in m.steps),
        input_edited=m.input_edited,
        priority=m.priority,
        timeout_at_ms=m.timeout_at_ms if m.HasField("timeout_at_ms") else None,
        reason=Stored(m.reason),
        limit_key=LimitKey(m.limit_key),
    )


def _put_step(m: pb.InheritedStep, step: ev.InheritedStep) -> None:
    m.step, m.status = step.step, pb.StepStatus.ValueType(step.status)
    m.output, m.port, m.recovered = step.output, step.port, step.recovered
    m.attempt, m.ready_ms, m.ended_ms = step.attempt, step.ready_ms, step.ended_ms
    m.edited = step.edited
    if step.error is not None:
        put_error(m.error, step.error)
    if step.skip_reason is not None:
        m.skip_reason = step_pb.SkipReason.ValueType(step.skip_reason)
    for edge in step.edges:
        state = step_pb.EdgeState.ValueType(edge.state)
        m.edges.add(source=edge.source, port=edge.port, state=state)
    if step.items is not None:
        m.items.count, m.items.items = step.items.count, step.items.items
        for outcome in step.items.outcomes:
            _put_item(m.items.outcomes.add(), outcome)


def _take_step(m: pb.InheritedStep) -> ev.InheritedStep:
    return ev.InheritedStep(
        step=StepKey(m.step),
        status=StepStatus(m.status),
        output=Stored(m.output),
        port=m.port,
        recovered=m.recovered,
        error=take_error(m.error) if m.HasField("error") else None,
        skip_reason=SkipReason(m.skip_reason) if m.skip_reason else None,
        edges=take_edges(m.edges),
        items=_take_items(m.items) if m.HasField("items") else None,
        attempt=m.attempt,
        ready_ms=m.ready_ms,
        ended_ms=m.ended_ms,
        edited=m.edited,
    )


def _put_item(m: pb.InheritedItem, item: ev.InheritedItem) -> None:
    m.index, m.status = item.index, pb.StepStatus.ValueType(item.status)
    m.output = item.output
    if item.error is not None:
        put_error(m.error, item.error)


def _take_items(m: pb.InheritedItems) -> ev.InheritedItems:
    outcomes = tuple(
        ev.InheritedItem(
            index=one.index,
            status=StepStatus(one.status),
            output=Stored(one.output),
            error=take_error(one.error) if one.HasField("error") else None,
        )
        for one in m.outcomes
    )
    return ev.InheritedItems(count=m.count, items=Stored(m.items), outcomes=outcomes)
