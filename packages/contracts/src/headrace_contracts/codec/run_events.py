"""Run events to and from protobuf: one pair of functions per kind, gathered in one table."""

from headrace.event.v1 import envelope_pb2 as envelope
from headrace.event.v1 import run_events_pb2 as pb
from headrace_core.ids import LimitKey, PlanHash, RunId, StepKey
from headrace_core.payload import Stored
from headrace_core.run import events as ev
from headrace_core.run.status import CancelCause


def put_error(to: pb.StepError, error: ev.StepError) -> None:
    to.type = error.type
    to.message = error.message


def take_error(error: pb.StepError) -> ev.StepError:
    return ev.StepError(type=error.type, message=Stored(error.message))


def put_parent(to: pb.Parent, parent: ev.Parent) -> None:
    to.run, to.step, to.attempt = parent.run, parent.step, parent.attempt
    to.detached = parent.detached


def take_parent(parent: pb.Parent) -> ev.Parent:
    return ev.Parent(
        run=RunId(parent.run),
        step=StepKey(parent.step),
        attempt=parent.attempt,
        detached=parent.detached,
    )


def put_run_started(to: envelope.RunEvent, event: ev.RunStarted) -> None:
    m = to.run_started
    m.flow, m.version, m.plan, m.input = event.flow, event.version, event.plan, event.input
    m.trigger, m.started_by, m.priority = event.trigger, event.started_by, event.priority
    if event.timeout_at_ms is not None:
        m.timeout_at_ms = event.timeout_at_ms
    if event.scheduled_at_ms is not None:
        m.scheduled_at_ms = event.scheduled_at_ms
    if event.parent is not None:
        put_parent(m.parent, event.parent)
    if event.limit_key:
        m.limit_key = event.limit_key


def take_run_started(m: pb.RunStarted) -> ev.RunStarted:
    return ev.RunStarted(
        flow=m.flow,
        version=m.version,
        plan=PlanHash(m.plan),
        input=Stored(m.input),
        trigger=m.trigger,
        started_by=m.started_by,
        priority=m.priority,
        timeout_at_ms=m.timeout_at_ms if m.HasField("timeout_at_ms") else None,
        scheduled_at_ms=m.scheduled_at_ms if m.HasField("scheduled_at_ms") else None,
        parent=take_parent(m.parent) if m.HasField("parent") else None,
        limit_key=LimitKey(m.limit_key),
    )


def put_run_admitted(to: envelope.RunEvent, event: ev.RunAdmitted) -> None:
    to.run_admitted.SetInParent()
    if event.timeout_at_ms is not None:
        to.run_admitted.timeout_at_ms = event.timeout_at_ms


def take_run_admitted(m: pb.RunAdmitted) -> ev.RunAdmitted:
    return ev.RunAdmitted(timeout_at_ms=m.timeout_at_ms if m.HasField("timeout_at_ms") else None)


def put_run_waiting(to: envelope.RunEvent, event: ev.RunWaiting) -> None:
    to.run_waiting.SetInParent()


def take_run_waiting(m: pb.RunWaiting) -> ev.RunWaiting:
    return ev.RunWaiting()


def put_run_resumed(to: envelope.RunEvent, event: ev.RunResumed) -> None:
    to.run_resumed.SetInParent()
    if event.resumed_by:
        to.run_resumed.resumed_by = event.resumed_by
    if event.failure is not None:
        put_error(to.run_resumed.failure, event.failure)


def take_run_resumed(m: pb.RunResumed) -> ev.RunResumed:
    failure = take_error(m.failure) if m.HasField("failure") else None
    return ev.RunResumed(resumed_by=m.resumed_by, failure=failure)


def put_run_suspended(to: envelope.RunEvent, event: ev.RunSuspended) -> None:
    put_error(to.run_suspended.incident, event.incident)
    to.run_suspended.step = event.step


def take_run_suspended(m: pb.RunSuspended) -> ev.RunSuspended:
    return ev.RunSuspended(incident=take_error(m.incident), step=StepKey(m.step))


def put_run_parked(to: envelope.RunEvent, event: ev.RunParked) -> None:
    put_error(to.run_parked.incident, event.incident)


def take_run_parked(m: pb.RunParked) -> ev.RunParked:
    return ev.RunParked(incident=take_error(m.incident))


def put_run_cancel_requested(to: envelope.RunEvent, event: ev.RunCancelRequested) -> None:
    m = to.run_cancel_requested
    m.cause = pb.CancelCause.ValueType(event.cause)
    m.requested_by, m.reason = event.requested_by, event.reason


def take_run_cancel_requested(m: pb.RunCancelRequested) -> ev.RunCancelRequested:
    return ev.RunCancelRequested(
        cause=CancelCause(m.cause), requested_by=m.requested_by, reason=Stored(m.reason)
    )


def put_run_succeeded(to: envelope.RunEvent, event: ev.RunSucceeded) -> None:
    to.run_succeeded.output = event.output


def take_run_succeeded(m: pb.RunSucceeded) -> ev.RunSucceeded:
    return ev.RunSucceeded(output=Stored(m.output))


def put_run_failed(to: envelope.RunEvent, event: ev.RunFailed) -> None:
    put_error(to.run_failed.error, event.error)
    if event.step is not None:
        to.run_failed.step = event.step


def take_run_failed(m: pb.RunFailed) -> ev.RunFailed:
    return ev.RunFailed(
        error=take_error(m.error),
        step=StepKey(m.step) if m.step else None,
    )


def put_run_cancelled(to: envelope.RunEvent, event: ev.RunCancelled) -> None:
    to.run_cancelled.SetInParent()


def take_run_cancelled(m: pb.RunCancelled) -> ev.RunCancelled:
    return ev.RunCancelled()


def put_run_compensating(to: envelope.RunEvent, event: ev.RunCompensating) -> None:
    put_error(to.run_compensating.error, event.error)
    if event.step is not None:
        to.run_compensating.step = event.step


def take_run_compensating(m: pb.RunCompensating) -> ev.RunCompensating:
    return ev.RunCompensating(
        error=take_error(m.error),
        step=StepKey(m.step) if m.step else None,
    )


def put_run_compensated(to: envelope.RunEvent, event: ev.RunCompensated) -> None:
    to.run_compensated.SetInParent()


def take_run_compensated(m: pb.RunCompensated) -> ev.RunCompensated:
    return ev.RunCompensated()
