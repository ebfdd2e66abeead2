"""Events and records through bytes and back: nothing is lost, nothing unreadable is passed on."""

from enum import IntEnum
from typing import Any, get_args

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.event.v1 import (
    envelope_pb2,
    fork_events_pb2,
    partition_events_pb2,
    run_events_pb2,
    step_events_pb2,
)
from headrace_contracts.codec import (
    PARTITION_EVENTS,
    RUN_EVENTS,
    decode_body,
    decode_record,
    encode_body,
    encode_record,
)
from headrace_contracts.codec.partition_events import put_message, take_message
from headrace_core.errors import BrokenChain, UnknownEvent
from headrace_core.ids import StepKey
from headrace_core.log.record import Body, Envelope
from headrace_core.partition.events import Message, PartitionEvent
from headrace_core.run.events import RunEvent, StepSkipped
from headrace_core.run.status import CancelCause, RunStatus, SkipReason, StepStatus, WaitingKind
from headrace_core.workflow.joins import EdgeState
from tests.support.strategies import instances

RUN_KINDS: tuple[type[Any], ...] = get_args(RunEvent)
PARTITION_KINDS: tuple[type[Any], ...] = get_args(PartitionEvent)
MESSAGE_KINDS: tuple[type[Any], ...] = get_args(Message)
# A field that no version has yet, of a message's own number space.
FUTURE_FIELD = b"\xfa\x3f\x00"


@pytest.mark.parametrize("kind", RUN_KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_a_run_event_comes_back_as_it_was(kind: type[Any], data: st.DataObject) -> None:
    event = data.draw(instances(kind))
    assert decode_body(encode_body([event])) == Body((event,), ())


@pytest.mark.parametrize("kind", PARTITION_KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_a_partition_event_comes_back_as_it_was(kind: type[Any], data: st.DataObject) -> None:
    event = data.draw(instances(kind))
    assert decode_body(encode_body([], [event])) == Body((), (event,))


@pytest.mark.parametrize("kind", MESSAGE_KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_a_message_comes_back_as_it_was(kind: type[Any], data: st.DataObject) -> None:
    message = data.draw(instances(kind))
    stored = partition_events_pb2.Message()
    put_message(stored, message)
    again = partition_events_pb2.Message.FromString(stored.SerializeToString())
    assert take_message(again) == message


@given(
    st.lists(st.one_of(*map(instances, RUN_KINDS)), max_size=4),
    st.lists(st.one_of(*map(instances, PARTITION_KINDS)), max_size=4),
)
def test_a_turn_keeps_the_order_of_its_events(run_events: Any, partition_events: Any) -> None:
    body = decode_body(encode_body(run_events, partition_events))
    assert body == Body(tuple(run_events), tuple(partition_events))


@given(instances(Envelope), st.binary(max_size=200))
def test_a_record_comes_back_as_it_was(envelope: Envelope, body: bytes) -> None:
    record = decode_record(encode_record(envelope, body))
    assert record.envelope == envelope
    assert record.body == body


def test_every_kind_of_event_has_a_codec() -> None:
    assert set(RUN_EVENTS) == set(RUN_KINDS)
    assert set(PARTITION_EVENTS) == set(PARTITION_KINDS)


def test_every_kind_in_the_format_is_in_the_tables() -> None:
    for message, table in (
        (envelope_pb2.RunEvent, RUN_EVENTS),
        (envelope_pb2.PartitionEvent, PARTITION_EVENTS),
    ):
        in_format = [field.name for field in message.DESCRIPTOR.oneofs_by_name["event"].fields]
        assert sorted(in_format) == sorted(name for name, _, _ in table.values())


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (RunStatus, partition_events_pb2.RunStatus),
        (CancelCause, run_events_pb2.CancelCause),
        (WaitingKind, step_events_pb2.WaitingKind),
        (SkipReason, step_events_pb2.SkipReason),
        (EdgeState, step_events_pb2.EdgeState),
        (StepStatus, fork_events_pb2.StepStatus),
    ],
)
def test_enumerations_have_the_numbers_of_the_format(
    kind: type[IntEnum], stored: EnumTypeWrapper
) -> None:
    numbers = {name: number for name, number in stored.items() if number}
    prefix = stored.Name(0).removesuffix("UNSPECIFIED")
    assert numbers == {prefix + one.name: one.value for one in kind if one.value}


def test_a_kind_of_event_that_is_unknown_here_is_refused() -> None:
    future_run_event = envelope_pb2.Body(
        run_events=[envelope_pb2.RunEvent.FromString(FUTURE_FIELD)]
    )
    future_partition_event = envelope_pb2.Body(
        partition_events=[envelope_pb2.PartitionEvent.FromString(FUTURE_FIELD)]
    )
    for body in (future_run_event, future_partition_event):
        with pytest.raises(UnknownEvent, match="upgrade every reader"):
            decode_body(body.SerializeToString())


def test_a_kind_of_message_that_is_unknown_here_is_refused() -> None:
    body = envelope_pb2.Body()
    sent = body.partition_events.add().message_sent
    sent.message.MergeFromString(FUTURE_FIELD)
    with pytest.raises(UnknownEvent):
        decode_body(body.SerializeToString())


def test_a_known_event_with_an_unknown_reason_is_refused() -> None:
    body = envelope_pb2.Body.FromString(
        encode_body([StepSkipped(step=StepKey("s"), reason=SkipReason.CONDITION)])
    )
    body.run_events[0].step_skipped.reason = step_events_pb2.SkipReason.ValueType(99)
    with pytest.raises(UnknownEvent, match="step_skipped"):
        decode_body(body.SerializeToString())


def test_a_record_that_was_cut_short_is_refused() -> None:
    with pytest.raises(BrokenChain, match="a record is not readable"):
        decode_record(b"\x0a\x10cut")
    with pytest.raises(BrokenChain, match="a record's body is not readable"):
        decode_body(b"\x0a\x10cut")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_refused(broken: bytes) -> None:
    try:
        body = decode_record(broken).body
    except BrokenChain:
        body = broken
    try:
        decode_body(body)
    except (BrokenChain, UnknownEvent):
        return


@given(instances(Envelope), st.one_of(*map(instances, RUN_KINDS)), st.data())
def test_a_record_with_a_flipped_byte_is_a_record_or_refused(
    envelope: Envelope, event: Any, data: st.DataObject
) -> None:
    record = bytearray(encode_record(envelope, encode_body([event])))
    record[data.draw(st.integers(0, len(record) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decode_body(decode_record(bytes(record)).body)
    except (BrokenChain, UnknownEvent):
        return
