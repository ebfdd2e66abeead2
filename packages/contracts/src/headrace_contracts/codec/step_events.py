"""Step events to and from protobuf: one pair of functions per kind, gathered in one table."""

from collections.abc import Iterable

from headrace.event.v1 import envelope_pb2 as envelope
from headrace.event.v1 import step_events_pb2 as pb
from headrace_contracts.codec.run_events import put_error, take_error
from headrace_core.ids import (
    Correlation,
    EventId,
    ExecutorId,
    LimitKey,
    RunId,
    StepKey,
)
from headrace_core.payload import Stored
from headrace_core.run import events as ev
from headrace_core.run.status import Repair, SkipReason, WaitingKind
from headrace_core.workflow.joins import EdgeState


def put_usage(to: pb.Usage, usage: ev.Usage) -> None:
    to.model, to.prompt_hash = usage.model, usage.prompt_hash
    to.input_tokens, to.output_tokens = usage.input_tokens, usage.output_tokens
    to.cost_micros, to.duration_ms = usage.cost_micros, usage.duration_ms


def take_usage(usage: pb.Usage) -> ev.Usage:
    return ev.Usage(
        model=usage.model,
        prompt_hash=usage.prompt_hash,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=usage.cost_micros,
        duration_ms=usage.duration_ms,
    )


def take_edges(edges: Iterable[pb.EdgeTaken]) -> tuple[ev.EdgeTaken, ...]:
    return tuple(
        ev.EdgeTaken(source=edge.source, port=edge.port, state=EdgeState(edge.state))
        for edge in edges
    )


def put_step_ready(to: envelope.RunEvent, event: ev.StepReady) -> None:
    m = to.step_ready
    m.step = event.step
    for edge in event.edges:
        m.edges.add(source=edge.source, port=edge.port, state=pb.EdgeState.ValueType(edge.state))


def take_step_ready(m: pb.StepReady) -> ev.StepReady:
    return ev.StepReady(step=StepKey(m.step), edges=take_edges(m.edges))


def put_step_assigned(to: envelope.RunEvent, event: ev.StepAssigned) -> None:
    m = to.step_assigned
    m.step, m.attempt = event.step, event.attempt
    m.executor, m.token = event.executor, event.token


def take_step_assigned(m: pb.StepAssigned) -> ev.StepAssigned:
    return ev.StepAssigned(
        step=StepKey(m.step),
        attempt=m.attempt,
        executor=ExecutorId(m.executor),
        token=m.token,
    )


def put_step_waiting(to: envelope.RunEvent, event: ev.StepWaiting) -> None:
    m = to.step_waiting
    m.step, m.kind = event.step, pb.WaitingKind.ValueType(event.kind)
    if event.due_ms is not None:
        m.due_ms = event.due_ms
    if event.child is not None:
        m.child = event.child
    if event.correlation:
        m.correlation = event.correlation
    if event.limit_key:
        m.limit_key = event.limit_key


def take_step_waiting(m: pb.StepWaiting) -> ev.StepWaiting:
    return ev.StepWaiting(
        step=StepKey(m.step),
        kind=WaitingKind(m.kind),
        due_ms=m.due_ms if m.HasField("due_ms") else None,
        child=RunId(m.child) if m.child else None,
        correlation=Correlation(m.correlation),
        limit_key=LimitKey(m.limit_key),
    )


def put_step_retry_scheduled(to: envelope.RunEvent, event: ev.StepRetryScheduled) -> None:
    m = to.step_retry_scheduled
    m.step, m.attempt, m.due_ms = event.step, event.attempt, event.due_ms
    m.counted, m.fallback = event.counted, event.fallback
    put_error(m.error, event.error)
    if event.usage is not None:
        put_usage(m.usage, event.usage)


def take_step_retry_scheduled(m: pb.StepRetryScheduled) -> ev.StepRetryScheduled:
    return ev.StepRetryScheduled(
        step=StepKey(m.step),
        attempt=m.attempt,
        error=take_error(m.error),
        due_ms=m.due_ms,
        counted=m.counted,
        fallback=m.fallback,
        usage=take_usage(m.usage) if m.HasField("usage") else None,
    )


def put_step_succeeded(to: envelope.RunEvent, event: ev.StepSucceeded) -> None:
    m = to.step_succeeded
    m.step, m.attempt, m.output = event.step, event.attempt, event.output
    if event.port:
        m.port = event.port
    if event.recovered:
        m.recovered = True
    if event.compensable:
        m.compensable = True
    if event.usage is not None:
        put_usage(m.usage, event.usage)
    if event.error is not None:
        put_error(m.error, event.error)


def take_step_succeeded(m: pb.StepSucceeded) -> ev.StepSucceeded:
    return ev.StepSucceeded(
        step=StepKey(m.step),
        attempt=m.attempt,
        output=Stored(m.output),
        port=m.port,
        recovered=m.recovered,
        usage=take_usage(m.usage) if m.HasField("usage") else None,
        error=take_error(m.error) if m.HasField("error") else None,
        compensable=m.compensable,
    )


def put_step_failed(to: envelope.RunEvent, event: ev.StepFailed) -> None:
    m = to.step_failed
    m.step, m.attempt, m.handled = event.step, event.attempt, event.handled
    put_error(m.error, event.error)
    if event.usage is not None:
        put_usage(m.usage, event.usage)


def take_step_failed(m: pb.StepFailed) -> ev.StepFailed:
    return ev.StepFailed(
        step=StepKey(m.step),
        attempt=m.attempt,
        error=take_error(m.error),
        handled=m.handled,
        usage=take_usage(m.usage) if m.HasField("usage") else None,
    )


def put_step_skipped(to: envelope.RunEvent, event: ev.StepSkipped) -> None:
    m = to.step_skipped
    m.step, m.reason = event.step, pb.SkipReason.ValueType(event.reason)
    for edge in event.edges:
        m.edges.add(source=edge.source, port=edge.port, state=pb.EdgeState.ValueType(edge.state))


def take_step_skipped(m: pb.StepSkipped) -> ev.StepSkipped:
    return ev.StepSkipped(
        step=StepKey(m.step), reason=SkipReason(m.reason), edges=take_edges(m.edges)
    )


def put_step_cancelled(to: envelope.RunEvent, event: ev.StepCancelled) -> None:
    m = to.step_cancelled
    m.step, m.attempt = event.step, event.attempt
    if event.usage is not None:
        put_usage(m.usage, event.usage)


def take_step_cancelled(m: pb.StepCancelled) -> ev.StepCancelled:
    return ev.StepCancelled(
        step=StepKey(m.step),
        attempt=m.attempt,
        usage=take_usage(m.usage) if m.HasField("usage") else None,
    )


def put_step_compensating(to: envelope.RunEvent, event: ev.StepCompensating) -> None:
    to.step_compensating.step = event.step


def take_step_compensating(m: pb.StepCompensating) -> ev.StepCompensating:
    return ev.StepCompensating(step=StepKey(m.step))


def put_step_noted(to: envelope.RunEvent, event: ev.StepNoted) -> None:
    m = to.step_noted
    m.step, m.attempt, m.number, m.note = event.step, event.attempt, event.number, event.note


def take_step_noted(m: pb.StepNoted) -> ev.StepNoted:
    return ev.StepNoted(
        step=StepKey(m.step), attempt=m.attempt, number=m.number, note=Stored(m.note)
    )


def put_step_repaired(to: envelope.RunEvent, event: ev.StepRepaired) -> None:
    m = to.step_repaired
    m.step, m.repair = event.step, pb.Repair.ValueType(event.repair)
    m.repaired_by, m.input, m.failed = event.repaired_by, event.input, event.failed


def take_step_repaired(m: pb.StepRepaired) -> ev.StepRepaired:
    return ev.StepRepaired(
        step=StepKey(m.step),
        repair=Repair(m.repair),
        repaired_by=m.repaired_by,
        input=Stored(m.input),
        failed=m.failed,
    )


def put_items_expanded(to: envelope.RunEvent, event: ev.ItemsExpanded) -> None:
    m = to.items_expanded
    m.step, m.count, m.items = event.step, event.count, event.items


def take_items_expanded(m: pb.ItemsExpanded) -> ev.ItemsExpanded:
    return ev.ItemsExpanded(step=StepKey(m.step), count=m.count, items=Stored(m.items))


def put_items_refilled(to: envelope.RunEvent, event: ev.ItemsRefilled) -> None:
    m = to.items_refilled
    m.step, m.first, m.count = event.step, event.first, event.count


def take_items_refilled(m: pb.ItemsRefilled) -> ev.ItemsRefilled:
    return ev.ItemsRefilled(step=StepKey(m.step), first=m.first, count=m.count)


def put_approval_requested(to: envelope.RunEvent, event: ev.ApprovalRequested) -> None:
    m = to.approval_requested
    m.step, m.request = event.step, event.request
    if event.expires_at_ms is not None:
        m.expires_at_ms = event.expires_at_ms


def take_approval_requested(m: pb.ApprovalRequested) -> ev.ApprovalRequested:
    return ev.ApprovalRequested(
        step=StepKey(m.step),
        request=Stored(m.request),
        expires_at_ms=m.expires_at_ms if m.HasField("expires_at_ms") else None,
    )


def put_approval_escalated(to: envelope.RunEvent, event: ev.ApprovalEscalated) -> None:
    m = to.approval_escalated
    m.step, m.number, m.request = event.step, event.number, event.request


def take_approval_escalated(m: pb.ApprovalEscalated) -> ev.ApprovalEscalated:
    return ev.ApprovalEscalated(step=StepKey(m.step), number=m.number, request=Stored(m.request))


def put_approval_decided(to: envelope.RunEvent, event: ev.ApprovalDecided) -> None:
    m = to.approval_decided
    m.step, m.decision, m.answer = event.step, event.decision, event.answer


def take_approval_decided(m: pb.ApprovalDecided) -> ev.ApprovalDecided:
    return ev.ApprovalDecided(step=StepKey(m.step), decision=m.decision, answer=Stored(m.answer))


def put_timer_fired(to: envelope.RunEvent, event: ev.TimerFired) -> None:
    to.timer_fired.step = event.step


def take_timer_fired(m: pb.TimerFired) -> ev.TimerFired:
    return ev.TimerFired(step=StepKey(m.step))


def put_group_opened(to: envelope.RunEvent, event: ev.GroupOpened) -> None:
    m = to.group_opened
    m.step = event.step
    if event.due_ms is not None:
        m.due_ms = event.due_ms


def take_group_opened(m: pb.GroupOpened) -> ev.GroupOpened:
    due_ms = m.due_ms if m.HasField("due_ms") else None
    return ev.GroupOpened(step=StepKey(m.step), due_ms=due_ms)


def put_pass_started(to: envelope.RunEvent, event: ev.PassStarted) -> None:
    m = to.pass_started
    m.step, m.number = event.step, event.number


def take_pass_started(m: pb.PassStarted) -> ev.PassStarted:
    return ev.PassStarted(step=StepKey(m.step), number=m.number)


def put_step_stop_requested(to: envelope.RunEvent, event: ev.StepStopRequested) -> None:
    m = to.step_stop_requested
    m.step, m.by = event.step, event.by
    if event.error is not None:
        put_error(m.error, event.error)


def take_step_stop_requested(m: pb.StepStopRequested) -> ev.StepStopRequested:
    error = take_error(m.error) if m.HasField("error") else None
    return ev.StepStopRequested(step=StepKey(m.step), error=error, by=m.by)


def put_signal_received(to: envelope.RunEvent, event: ev.SignalReceived) -> None:
    m = to.signal_received
    m.step, m.name, m.signal, m.sent_by = event.step, event.name, event.signal, event.sent_by


def take_signal_received(m: pb.SignalReceived) -> ev.SignalReceived:
    return ev.SignalReceived(
        step=StepKey(m.step), name=m.name, signal=EventId(m.signal), sent_by=m.sent_by
    )


def put_event_received(to: envelope.RunEvent, event: ev.EventReceived) -> None:
    to.event_received.step, to.event_received.event = event.step, event.event


def take_event_received(m: pb.EventReceived) -> ev.EventReceived:
    return ev.EventReceived(step=StepKey(m.step), event=EventId(m.event))
