"""Events and records to and from protobuf: one table, round-trip tested for every kind."""

from headrace_contracts.codec.correlated_events import put_event_start, take_event_start
from headrace_contracts.codec.fork_events import fill_run_forked, take_run_forked
from headrace_contracts.codec.record import (
    PARTITION_EVENTS,
    RUN_EVENTS,
    decode_body,
    decode_record,
    encode_body,
    encode_record,
)

__all__ = [
    "PARTITION_EVENTS",
    "RUN_EVENTS",
    "decode_body",
    "decode_record",
    "encode_body",
    "encode_record",
    "fill_run_forked",
    "put_event_start",
    "take_event_start",
    "take_run_forked",
]
