"""The journal: stored turns packed into chunks of up to 64 events.

Bodies are the log's own bytes, never encoded again, so a chunk carries what an auditor hashes.
A chunk is one format byte, then per turn a fixed header and the body.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from headrace_core.errors import BrokenChain
from headrace_core.ids import RunId, TenantId
from headrace_core.log.chain import chain_hash
from headrace_history.domain.turns import JournalTurn

CHUNK_EVENTS_MAX = 64
CHUNK_BYTES_MAX = 1 << 20
"""A chunk closes at either bound; a single turn above one is a chunk of its own."""

_FORMAT = b"\x01"
_TURN = struct.Struct(">QQIII32s")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Turns whose events are numbered `first` to `last` without a gap; `offset` is the first's."""

    offset: int
    first: int
    last: int
    data: bytes


def chunks_of(turns: Sequence[JournalTurn]) -> Iterator[Chunk]:
    """Pack consecutive turns of one run."""
    begin = events = size = 0
    parts = [_FORMAT]
    pack = _TURN.pack
    for index, turn in enumerate(turns):
        body = turn.body
        length, count = len(body), turn.count
        if index > begin and (events + count > CHUNK_EVENTS_MAX or size > CHUNK_BYTES_MAX):
            yield _chunk(turns[begin], turns[index - 1], parts)
            begin, events, size, parts = index, 0, 0, [_FORMAT]
        events += count
        size += length
        parts += (
            pack(turn.offset, turn.time_ms, turn.sequence, count, length, turn.chain),
            body,
        )
    if turns:
        yield _chunk(turns[begin], turns[-1], parts)


def _chunk(first: JournalTurn, last: JournalTurn, parts: Sequence[bytes]) -> Chunk:
    return Chunk(first.offset, first.sequence, last.last_sequence, b"".join(parts))


def unpack(data: bytes) -> Iterator[JournalTurn]:
    """Raises BrokenChain when the bytes are no chunk."""
    if data[:1] != _FORMAT:
        raise BrokenChain(f"a journal chunk has the unknown format {data[:1].hex() or 'empty'}")
    position = 1
    while position < len(data):
        body_at = position + _TURN.size
        if body_at > len(data):
            raise BrokenChain("a journal chunk ends inside a turn")
        offset, time_ms, sequence, count, length, chain = _TURN.unpack_from(data, position)
        position = body_at + length
        if position > len(data):
            raise BrokenChain("a journal chunk ends inside a turn")
        yield JournalTurn(offset, time_ms, sequence, count, chain, data[body_at:position])


def check_follows(
    run: RunId, tenant: TenantId, sequence: int, chain: bytes, turn: JournalTurn
) -> None:
    """Raise BrokenChain unless `turn` is the one after event `sequence` with hash `chain`."""
    if turn.sequence != sequence + 1:
        raise BrokenChain(
            f"run {run} has {sequence} events, but the record at offset {turn.offset} begins "
            f"with event {turn.sequence}"
        )
    if turn.chain != chain_hash(chain, tenant, run, turn.sequence, turn.time_ms, turn.body):
        raise BrokenChain(
            f"the record at offset {turn.offset} does not continue the chain of run {run} after "
            f"event {sequence}: its bytes are not those that were written"
        )


def check_chain(run: RunId, tenant: TenantId, turns: Iterable[JournalTurn]) -> tuple[int, bytes]:
    """Verify a whole run from its first turn; its last event's number and the chain's end."""
    sequence, chain = 0, b""
    for turn in turns:
        check_follows(run, tenant, sequence, chain, turn)
        sequence, chain = turn.last_sequence, turn.chain
    return sequence, chain
