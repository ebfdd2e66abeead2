"""The export of a run: JSON lines that an auditor replays and verifies offline.

One header line (plan, end of the chain, keys of exactly what is in the export), then one line per
turn with its stored bytes, then one line per blob that a payload refers to, still sealed.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from headrace_core.errors import BrokenChain
from headrace_core.ids import RunId, TenantId
from headrace_core.payload import Stored, key_id_of
from headrace_core.run.events import RunEvent
from headrace_history.domain.projections.journal import check_chain
from headrace_history.domain.turns import JournalTurn

_LINE = ConfigDict(
    frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", strict=True
)


class ExportHeader(BaseModel):
    """`keys` maps data key ids to the key that opens this run's payloads alone; `sequence` and
    `chain` are the end that the turns must lead to."""

    model_config = _LINE

    format: Literal["headrace-export/1"] = "headrace-export/1"
    run: RunId
    tenant: TenantId
    flow: str
    version: int
    plan_hash: str
    plan: Mapping[str, object] | None
    sequence: int
    chain: bytes
    keys: Mapping[int, bytes]


class TurnLine(BaseModel):
    """One turn; the hash is over `body` as it stands here."""

    model_config = _LINE

    offset: int
    time_ms: int
    sequence: int
    count: int
    chain: bytes
    body: bytes


class BlobLine(BaseModel):
    """The content of a reference. `key` opens this blob alone."""

    model_config = _LINE

    blob: str
    key: bytes
    sealed: bytes


_HEADER = TypeAdapter(ExportHeader)
_ENTRY: TypeAdapter[TurnLine | BlobLine] = TypeAdapter(TurnLine | BlobLine)
Entry = TypeVar("Entry")


def line(entry: ExportHeader | TurnLine | BlobLine) -> bytes:
    return entry.model_dump_json().encode() + b"\n"


def turn_line(turn: JournalTurn) -> bytes:
    return line(
        TurnLine(
            offset=turn.offset,
            time_ms=turn.time_ms,
            sequence=turn.sequence,
            count=turn.count,
            chain=turn.chain,
            body=turn.body,
        )
    )


def stored_of(events: Iterable[RunEvent]) -> Iterator[Stored]:
    """Every payload that stands in these events."""
    for event in events:
        yield from _stored_in(event)


def _stored_in(part: object) -> Iterator[Stored]:
    if isinstance(part, bytes):
        if part:
            yield Stored(part)
    elif isinstance(part, tuple):
        for one in cast("tuple[object, ...]", part):
            yield from _stored_in(one)
    elif is_dataclass(part):
        for item in fields(part):
            yield from _stored_in(getattr(part, item.name))


def key_ids_of(payloads: Iterable[Stored]) -> AbstractSet[int]:
    return {key_id_of(stored) for stored in payloads}


def verify(lines: Iterable[bytes]) -> tuple[ExportHeader, list[JournalTurn], list[BlobLine]]:
    """Check an export against itself.

    Raises BrokenChain when any turn is missing, added or changed.
    """
    numbered = enumerate(lines, 1)
    _, first = next(numbered, (1, b""))
    header = _read(_HEADER, first, 1)
    turns: list[JournalTurn] = []
    blobs: list[BlobLine] = []
    for number, text in numbered:
        match _read(_ENTRY, text, number):
            case TurnLine() as turn:
                turns.append(_turn(turn))
            case BlobLine() as blob:
                blobs.append(blob)
    sequence, chain = check_chain(header.run, header.tenant, turns)
    if (sequence, chain) != (header.sequence, header.chain):
        raise BrokenChain(
            f"the export of run {header.run} ends after event {sequence}, its header names event "
            f"{header.sequence} with hash {header.chain.hex()}: something is missing"
        )
    return header, turns, blobs


def _turn(entry: TurnLine) -> JournalTurn:
    return JournalTurn(
        entry.offset, entry.time_ms, entry.sequence, entry.count, entry.chain, entry.body
    )


def _read(adapter: TypeAdapter[Entry], text: bytes, number: int) -> Entry:
    try:
        return adapter.validate_json(text)
    except ValidationError as fault:
        reason = fault.errors()[0]
        raise BrokenChain(
            f"line {number} is not one of an export of a run: {reason['msg']} "
            f"({'.'.join(map(str, reason['loc'])) or 'the whole line'})"
        ) from fault
