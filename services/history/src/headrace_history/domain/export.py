"""The export of a run: JSON lines that an auditor replays and verifies offline.

One header line (plan, end of the chain, keys of exactly what is in the export), then one line per
turn with its stored bytes, then one line per blob that a payload refers to.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, fields

from headrace_core.errors import BrokenChain
from headrace_core.ids import RunId, TenantId
from headrace_core.payload import Stored, key_id_of
from headrace_core.run.events import RunEvent, StepError
from headrace_history.domain.projections.journal import check_chain
from headrace_history.domain.turns import JournalTurn

FORMAT = "headrace-export/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportHeader:
    """`keys` maps data key ids to the key that opens this run's payloads alone; `sequence` and
    `chain` are the end that the turns must lead to."""

    run: RunId
    tenant: TenantId
    flow: str
    version: int
    plan_hash: str
    plan: Mapping[str, object] | None
    sequence: int
    chain: bytes
    keys: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Export:
    header: ExportHeader
    turns: tuple[JournalTurn, ...]
    blobs: Mapping[str, bytes]


def header_line(header: ExportHeader) -> bytes:
    return _line(
        {
            "format": FORMAT,
            "run": header.run,
            "tenant": header.tenant,
            "flow": header.flow,
            "version": header.version,
            "plan_hash": header.plan_hash,
            "plan": header.plan,
            "sequence": header.sequence,
            "chain": header.chain.hex(),
            "keys": {str(number): key.hex() for number, key in header.keys.items()},
        }
    )


def turn_line(turn: JournalTurn) -> bytes:
    return _line(
        {
            "offset": turn.offset,
            "time_ms": turn.time_ms,
            "sequence": turn.sequence,
            "count": turn.count,
            "chain": turn.chain.hex(),
            "body": _text(turn.body),
        }
    )


def blob_line(address: str, sealed: bytes, key: bytes) -> bytes:
    """A blob stays sealed under its own key, which stands beside it."""
    return _line({"blob": address, "key": key.hex(), "sealed": _text(sealed)})


def stored_of(events: Iterable[RunEvent]) -> Iterator[Stored]:
    """Every payload that stands in these events."""
    for event in events:
        for item in fields(event):
            value = getattr(event, item.name)
            if isinstance(value, bytes) and value:
                yield Stored(value)
            elif isinstance(value, StepError) and value.message:
                yield value.message


def key_ids_of(events: Iterable[RunEvent]) -> Set[int]:
    return {key_id_of(stored) for stored in stored_of(events)}


def verify(lines: Iterable[bytes]) -> tuple[ExportHeader, list[JournalTurn]]:
    """Check an export against itself.

    Raises BrokenChain when any turn is missing, added or changed.
    """
    entries = iter(lines)
    header = _read_header(next(entries, b""))
    turns: list[JournalTurn] = []
    for number, line in enumerate(entries, 2):
        entry = _read(line, number)
        if "body" in entry:
            turns.append(_read_turn(entry, number))
    sequence, chain = check_chain(header.run, header.tenant, turns)
    if (sequence, chain) != (header.sequence, header.chain):
        raise BrokenChain(
            f"the export of run {header.run} ends after event {sequence}, its header names event "
            f"{header.sequence} with hash {header.chain.hex()}: something is missing"
        )
    return header, turns


def _read_header(line: bytes) -> ExportHeader:
    entry = _read(line, 1)
    if entry.get("format") != FORMAT:
        raise BrokenChain(f"line 1 is not the header of an export in the format {FORMAT}")
    try:
        return ExportHeader(
            run=entry["run"],
            tenant=entry["tenant"],
            flow=entry["flow"],
            version=entry["version"],
            plan_hash=entry["plan_hash"],
            plan=entry["plan"],
            sequence=entry["sequence"],
            chain=bytes.fromhex(entry["chain"]),
            keys={int(number): bytes.fromhex(key) for number, key in entry["keys"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenChain(f"line 1 of the export is damaged: {error!r}") from error


def _read_turn(entry: Mapping[str, object], number: int) -> JournalTurn:
    try:
        return JournalTurn(
            offset=int(str(entry["offset"])),
            time_ms=int(str(entry["time_ms"])),
            sequence=int(str(entry["sequence"])),
            count=int(str(entry["count"])),
            chain=bytes.fromhex(str(entry["chain"])),
            body=base64.b64decode(str(entry["body"]), validate=True),
        )
    except (KeyError, ValueError, binascii.Error) as error:
        raise BrokenChain(f"line {number} of the export is damaged: {error!r}") from error


def _read(line: bytes, number: int) -> Mapping[str, object]:
    try:
        entry: object = json.loads(line)
    except ValueError as error:
        raise BrokenChain(f"line {number} of the export is not JSON: {error}") from error
    if not isinstance(entry, dict):
        raise BrokenChain(f"line {number} of the export is not an object")
    return entry  # pyright: ignore[reportUnknownVariableType]


def _line(entry: Mapping[str, object]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
