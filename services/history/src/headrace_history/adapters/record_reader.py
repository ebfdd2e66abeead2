"""Reads records and bodies straight from protobuf.

A digest names the kinds of a body's events without building them, and a record becomes one object
instead of three: decoding everything would cost the projector more than all the rest of its work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, get_args

from google.protobuf.message import DecodeError

from headrace.event.v1 import envelope_pb2 as pb
from headrace_contracts.codec import PARTITION_EVENTS, RUN_EVENTS, decode_body
from headrace_core.errors import BrokenChain, UnknownEvent
from headrace_core.ids import RunId, TenantId
from headrace_core.partition.events import LetterDecision
from headrace_core.run.events import RunEvent
from headrace_history.domain.turns import (
    MARKED_KINDS,
    METERED_KINDS,
    Digest,
    LogRecord,
    counts_of,
)

SHAPES_MAX: Final = 4096
"""Sequences of kinds that are kept; flows have few, the turns of a wide fan-out may have many."""

_KIND = {name: kind for kind, (name, _, _) in RUN_EVENTS.items()}
_TAKE = {name: take for name, _, take in RUN_EVENTS.values()}
_MARKED = frozenset(name for kind, (name, _, _) in RUN_EVENTS.items() if kind in MARKED_KINDS)
_METERED = frozenset(name for kind, (name, _, _) in RUN_EVENTS.items() if kind in METERED_KINDS)

_DECISION = {
    name: take
    for kind, (name, _, take) in PARTITION_EVENTS.items()
    if kind in get_args(LetterDecision)
}

_Names = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What follows from the kinds alone: the digest if no event says more, and which may."""

    plain: Digest
    marked: tuple[tuple[int, str], ...]
    metered: tuple[tuple[int, str], ...]


class ProtobufRecords:
    """RecordReader."""

    def __init__(self) -> None:
        self._shapes: dict[_Names, _Shape] = {}

    def record(self, offset: int, record: bytes) -> LogRecord:
        try:
            m = pb.Record.FromString(record)
        except DecodeError as error:
            raise BrokenChain(f"a record is not readable: {error}") from error
        run = m.run
        return LogRecord(
            offset,
            m.time_ms,
            m.sequence,
            0,
            m.chain,
            m.body,
            m.log_id,
            m.partition,
            m.epoch,
            m.seq,
            TenantId(m.tenant),
            RunId(run) if run else None,
            m.claim,
        )

    def events(self, body: bytes) -> tuple[RunEvent, ...]:
        return decode_body(body).run_events

    def digest(self, body: bytes) -> Digest:
        try:
            parsed = pb.Body.FromString(body)
        except DecodeError as error:
            raise BrokenChain(f"a record's body is not readable: {error}") from error
        digest = self._digest(parsed.run_events)
        decisions = tuple(_decisions(parsed.partition_events)) if parsed.partition_events else ()
        return replace(digest, decisions=decisions) if decisions else digest

    def _digest(self, events: Sequence[pb.RunEvent]) -> Digest:
        names = tuple([event.WhichOneof("event") for event in events])
        shape = self._shapes.get(names) or self._shape(names)
        if not shape.marked:
            for place, name in shape.metered:
                if getattr(events[place], name).HasField("usage"):
                    break
            else:
                return shape.plain
        metered = [
            (place, name)
            for place, name in shape.metered
            if getattr(events[place], name).HasField("usage")
        ]
        places = sorted((*shape.marked, *metered)) if metered else shape.marked
        try:
            marks = [_TAKE[name](getattr(events[place], name)) for place, name in places]
        except ValueError as fault:
            raise UnknownEvent(
                f"an event has a value that this version does not know: {fault}; upgrade history, "
                "then restart it"
            ) from fault
        return Digest(shape.plain.counts, tuple(marks))

    def _shape(self, names: _Names) -> _Shape:
        known = [name for name in names if name is not None]
        if len(known) < len(names):
            raise UnknownEvent(
                "a record holds an event of a kind that this version does not know: upgrade "
                "history, then restart it"
            )
        kinds = [_KIND[name] for name in known]
        places = tuple(enumerate(known))
        shape = _Shape(
            Digest(counts_of(kinds)),
            tuple((place, name) for place, name in places if name in _MARKED),
            tuple((place, name) for place, name in places if name in _METERED),
        )
        if len(self._shapes) < SHAPES_MAX:
            self._shapes[names] = shape
        return shape


def _decisions(events: Sequence[pb.PartitionEvent]) -> Iterator[LetterDecision]:
    for event in events:
        name = event.WhichOneof("event")
        if name in _DECISION:
            yield _DECISION[name](getattr(event, name))
