"""A vault for tests of decisions: payloads are readable, and large ones are references."""

from dataclasses import dataclass, field

from headrace_core.ids import RunId
from headrace_core.payload import (
    INLINE_BYTES_MAX,
    NOTHING,
    REFERENCE,
    SEALED,
    BlobMissingHere,
    Stored,
    is_reference,
)

_HEADER = bytes((SEALED, 0, 0, 0, 0))


@dataclass(slots=True)
class PlainVault:
    """Deterministic, bound to the run like the real one: a payload of another run is refused."""

    blobs: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    at_hand: set[bytes] = field(default_factory=set[bytes])

    def open(self, run: RunId, stored: Stored) -> bytes:
        if stored == NOTHING:
            return b"null"
        owner, _, content = stored[len(_HEADER) :].partition(b"\x00")
        assert owner.decode() == run, f"a payload of {owner.decode()} was opened for {run}"
        if is_reference(stored):
            if stored not in self.at_hand:
                raise BlobMissingHere(run, stored)
            return self.blobs[content]
        return content

    def seal(self, run: RunId, json: bytes) -> Stored:
        if len(json) <= INLINE_BYTES_MAX:
            return Stored(_HEADER + run.encode() + b"\x00" + json)
        address = str(len(self.blobs)).encode()
        self.blobs[address] = json
        header = bytes((SEALED | REFERENCE, 0, 0, 0, 0))
        return Stored(header + run.encode() + b"\x00" + address)

    def fetch(self, stored: Stored) -> None:
        self.at_hand.add(stored)
