"""Records to and from bytes. One table holds the codec of every event kind."""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from headrace.event.v1 import envelope_pb2 as pb
from headrace_contracts.codec import correlated_events as correlated
from headrace_contracts.codec import fork_events as fork
from headrace_contracts.codec import letter_events as letters
from headrace_contracts.codec import limit_events as limits
from headrace_contracts.codec import partition_events as partition
from headrace_contracts.codec import run_events as run
from headrace_contracts.codec import step_events as step
from headrace_core.errors import BrokenChain, UnknownEvent
from headrace_core.ids import RunId, TenantId
from headrace_core.log.record import Body, Envelope, Record
from headrace_core.partition import events as pev
from headrace_core.run import events as ev

Put = Callable[[Any, Any], None]
Take = Callable[[Any], Any]

RUN_EVENTS: Mapping[type[ev.RunEvent], tuple[str, Put, Take]] = {
    ev.RunStarted: ("run_started", run.put_run_started, run.take_run_started),
    ev.RunForked: ("run_forked", fork.put_run_forked, fork.take_run_forked),
    ev.RunAdmitted: ("run_admitted", run.put_run_admitted, run.take_run_admitted),
    ev.RunWaiting: ("run_waiting", run.put_run_waiting, run.take_run_waiting),
    ev.RunResumed: ("run_resumed", run.put_run_resumed, run.take_run_resumed),
    ev.RunSuspended: ("run_suspended", run.put_run_suspended, run.take_run_suspended),
    ev.RunParked: ("run_parked", run.put_run_parked, run.take_run_parked),
    ev.RunCancelRequested: (
        "run_cancel_requested",
        run.put_run_cancel_requested,
        run.take_run_cancel_requested,
    ),
    ev.RunSucceeded: ("run_succeeded", run.put_run_succeeded, run.take_run_succeeded),
    ev.RunFailed: ("run_failed", run.put_run_failed, run.take_run_failed),
    ev.RunCancelled: ("run_cancelled", run.put_run_cancelled, run.take_run_cancelled),
    ev.RunCompensating: (
        "run_compensating",
        run.put_run_compensating,
        run.take_run_compensating,
    ),
    ev.RunCompensated: ("run_compensated", run.put_run_compensated, run.take_run_compensated),
    ev.StepReady: ("step_ready", step.put_step_ready, step.take_step_ready),
    ev.StepAssigned: ("step_assigned", step.put_step_assigned, step.take_step_assigned),
    ev.StepWaiting: ("step_waiting", step.put_step_waiting, step.take_step_waiting),
    ev.StepRetryScheduled: (
        "step_retry_scheduled",
        step.put_step_retry_scheduled,
        step.take_step_retry_scheduled,
    ),
    ev.StepSucceeded: ("step_succeeded", step.put_step_succeeded, step.take_step_succeeded),
    ev.StepFailed: ("step_failed", step.put_step_failed, step.take_step_failed),
    ev.StepSkipped: ("step_skipped", step.put_step_skipped, step.take_step_skipped),
    ev.StepCancelled: ("step_cancelled", step.put_step_cancelled, step.take_step_cancelled),
    ev.StepCompensating: (
        "step_compensating",
        step.put_step_compensating,
        step.take_step_compensating,
    ),
    ev.StepNoted: ("step_noted", step.put_step_noted, step.take_step_noted),
    ev.StepRepaired: ("step_repaired", step.put_step_repaired, step.take_step_repaired),
    ev.ItemsExpanded: ("items_expanded", step.put_items_expanded, step.take_items_expanded),
    ev.ItemsRefilled: ("items_refilled", step.put_items_refilled, step.take_items_refilled),
    ev.ApprovalRequested: (
        "approval_requested",
        step.put_approval_requested,
        step.take_approval_requested,
    ),
    ev.ApprovalEscalated: (
        "approval_escalated",
        step.put_approval_escalated,
        step.take_approval_escalated,
    ),
    ev.ApprovalDecided: (
        "approval_decided",
        step.put_approval_decided,
        step.take_approval_decided,
    ),
    ev.TimerFired: ("timer_fired", step.put_timer_fired, step.take_timer_fired),
    ev.GroupOpened: ("group_opened", step.put_group_opened, step.take_group_opened),
    ev.PassStarted: ("pass_started", step.put_pass_started, step.take_pass_started),
    ev.StepStopRequested: (
        "step_stop_requested",
        step.put_step_stop_requested,
        step.take_step_stop_requested,
    ),
    ev.SignalReceived: (
        "signal_received",
        step.put_signal_received,
        step.take_signal_received,
    ),
    ev.EventReceived: ("event_received", step.put_event_received, step.take_event_received),
    ev.DeadLetterAdded: (
        "dead_letter_added",
        letters.put_dead_letter_added,
        letters.take_dead_letter_added,
    ),
}
PARTITION_EVENTS: Mapping[type[pev.PartitionEvent], tuple[str, Put, Take]] = {
    pev.PartitionClaimed: (
        "partition_claimed",
        partition.put_partition_claimed,
        partition.take_partition_claimed,
    ),
    pev.StartKeyed: ("start_keyed", partition.put_start_keyed, partition.take_start_keyed),
    pev.ScheduleSet: ("schedule_set", partition.put_schedule_set, partition.take_schedule_set),
    pev.ScheduleFired: (
        "schedule_fired",
        partition.put_schedule_fired,
        partition.take_schedule_fired,
    ),
    pev.ScheduleHeld: (
        "schedule_held",
        partition.put_schedule_held,
        partition.take_schedule_held,
    ),
    pev.ScheduleReleased: (
        "schedule_released",
        partition.put_schedule_released,
        partition.take_schedule_released,
    ),
    pev.ScheduleRunEnded: (
        "schedule_run_ended",
        partition.put_schedule_run_ended,
        partition.take_schedule_run_ended,
    ),
    pev.MessageSent: ("message_sent", partition.put_message_sent, partition.take_message_sent),
    pev.MessageReceived: (
        "message_received",
        partition.put_message_received,
        partition.take_message_received,
    ),
    pev.MessageAcknowledged: (
        "message_acknowledged",
        partition.put_message_acknowledged,
        partition.take_message_acknowledged,
    ),
    pev.EventPublished: (
        "event_published",
        correlated.put_event_published,
        correlated.take_event_published,
    ),
    pev.EventForwarded: (
        "event_forwarded",
        correlated.put_event_forwarded,
        correlated.take_event_forwarded,
    ),
    pev.WaiterJoined: (
        "waiter_joined",
        correlated.put_waiter_joined,
        correlated.take_waiter_joined,
    ),
    pev.WaiterLeft: ("waiter_left", correlated.put_waiter_left, correlated.take_waiter_left),
    pev.LimitAsked: ("limit_asked", limits.put_limit_asked, limits.take_limit_asked),
    pev.LimitGranted: ("limit_granted", limits.put_limit_granted, limits.take_limit_granted),
    pev.LimitReplaced: ("limit_replaced", limits.put_limit_replaced, limits.take_limit_replaced),
    pev.LimitLeft: ("limit_left", limits.put_limit_left, limits.take_limit_left),
    pev.RateGranted: ("rate_granted", limits.put_rate_granted, limits.take_rate_granted),
    pev.DeadLetterReplayed: (
        "dead_letter_replayed",
        letters.put_dead_letter_replayed,
        letters.take_dead_letter_replayed,
    ),
    pev.DeadLetterDiscarded: (
        "dead_letter_discarded",
        letters.put_dead_letter_discarded,
        letters.take_dead_letter_discarded,
    ),
}
_PUT_RUN: Mapping[Any, Put] = {kind: put for kind, (_, put, _) in RUN_EVENTS.items()}
_PUT_PARTITION: Mapping[Any, Put] = {kind: put for kind, (_, put, _) in PARTITION_EVENTS.items()}
_TAKE_RUN: Mapping[str, Take] = {name: take for name, _, take in RUN_EVENTS.values()}
_TAKE_PARTITION: Mapping[str, Take] = {name: take for name, _, take in PARTITION_EVENTS.values()}


def encode_body(
    run_events: "list[ev.RunEvent] | tuple[ev.RunEvent, ...]",
    partition_events: "list[pev.PartitionEvent] | tuple[pev.PartitionEvent, ...]" = (),
) -> bytes:
    body = pb.Body()
    add = body.run_events.add
    for event in run_events:
        _PUT_RUN[type(event)](add(), event)
    for partition_event in partition_events:
        _PUT_PARTITION[type(partition_event)](body.partition_events.add(), partition_event)
    return body.SerializeToString()


def decode_body(body: bytes) -> Body:
    """Raises UnknownEvent for a kind that this version does not know: the partition must stop."""
    try:
        parsed = pb.Body.FromString(body)
    except DecodeError as error:
        raise BrokenChain(f"a record's body is not readable: {error}") from error
    return Body(
        tuple(_take(event, _TAKE_RUN) for event in parsed.run_events),
        tuple(_take(event, _TAKE_PARTITION) for event in parsed.partition_events),
    )


def _take(event: "pb.RunEvent | pb.PartitionEvent", table: Mapping[str, Take]) -> Any:
    name = event.WhichOneof("event")
    if name is None:
        raise UnknownEvent(
            "a record holds an event of a kind that this version does not know: "
            "upgrade every reader before a writer emits new kinds"
        )
    try:
        return table[name](getattr(event, name))
    except ValueError as error:
        raise UnknownEvent(
            f"an event {name} holds a value that this version does not know ({error}): "
            "upgrade every reader before a writer emits new values"
        ) from error


def encode_record(envelope: Envelope, body: bytes) -> bytes:
    return pb.Record(
        log_id=envelope.log_id,
        partition=envelope.partition,
        epoch=envelope.epoch,
        seq=envelope.seq,
        time_ms=envelope.time_ms,
        tenant=envelope.tenant,
        run=envelope.run or "",
        sequence=envelope.sequence,
        chain=envelope.chain,
        claim=envelope.claim,
        body=body,
    ).SerializeToString()


def decode_record(record: bytes) -> Record:
    """Raises BrokenChain when the bytes are no record at all."""
    try:
        m = pb.Record.FromString(record)
    except DecodeError as error:
        raise BrokenChain(f"a record is not readable: {error}") from error
    return Record(
        Envelope(
            log_id=m.log_id,
            partition=m.partition,
            epoch=m.epoch,
            seq=m.seq,
            time_ms=m.time_ms,
            tenant=TenantId(m.tenant),
            run=RunId(m.run) if m.run else None,
            sequence=m.sequence,
            chain=m.chain,
            claim=m.claim,
        ),
        m.body,
    )
