"""Dead letters and what was decided of them, to and from protobuf."""

from headrace.event.v1 import envelope_pb2 as envelope
from headrace.event.v1 import letter_events_pb2 as pb
from headrace_contracts.codec.run_events import put_error, take_error
from headrace_core.ids import LetterId, RunId, StepKey, TenantId
from headrace_core.partition import events as pev
from headrace_core.payload import Stored
from headrace_core.run import events as ev


def put_dead_letter_added(to: envelope.RunEvent, event: ev.DeadLetterAdded) -> None:
    m = to.dead_letter_added
    m.step, m.attempt = event.step, event.attempt
    m.letter, m.operation = event.letter, event.operation
    put_error(m.error, event.error)


def take_dead_letter_added(m: pb.DeadLetterAdded) -> ev.DeadLetterAdded:
    return ev.DeadLetterAdded(
        step=StepKey(m.step),
        attempt=m.attempt,
        letter=LetterId(m.letter),
        operation=m.operation,
        error=take_error(m.error),
    )


def put_dead_letter_replayed(to: envelope.PartitionEvent, event: pev.DeadLetterReplayed) -> None:
    m = to.dead_letter_replayed
    m.letter, m.tenant, m.run, m.step = event.letter, event.tenant, event.run, event.step
    m.as_run, m.replayed_by = event.as_run, event.replayed_by


def take_dead_letter_replayed(m: pb.DeadLetterReplayed) -> pev.DeadLetterReplayed:
    return pev.DeadLetterReplayed(
        letter=LetterId(m.letter),
        tenant=TenantId(m.tenant),
        run=RunId(m.run),
        step=StepKey(m.step),
        as_run=RunId(m.as_run),
        replayed_by=m.replayed_by,
    )


def put_dead_letter_discarded(to: envelope.PartitionEvent, event: pev.DeadLetterDiscarded) -> None:
    m = to.dead_letter_discarded
    m.letter, m.tenant, m.run, m.step = event.letter, event.tenant, event.run, event.step
    m.discarded_by, m.reason = event.discarded_by, event.reason


def take_dead_letter_discarded(m: pb.DeadLetterDiscarded) -> pev.DeadLetterDiscarded:
    return pev.DeadLetterDiscarded(
        letter=LetterId(m.letter),
        tenant=TenantId(m.tenant),
        run=RunId(m.run),
        step=StepKey(m.step),
        discarded_by=m.discarded_by,
        reason=Stored(m.reason),
    )
