"""Stored payloads: opaque bytes that state, log and streams pass on without opening them.

Layout: one byte of flags, the data key's id (4 bytes), then nonce, ciphertext and tag. The first
byte alone says whether the sealed content is the JSON itself or a reference to a blob. Hashes
are over these bytes, so destroying a key erases a payload and every proof still holds.
"""

from dataclasses import dataclass
from typing import NewType, Protocol

from headrace_core.ids import RunId

Stored = NewType("Stored", bytes)
NOTHING = Stored(b"")
"""No payload at all; opens to JSON null."""

SEALED = 0x01
COMPRESSED = 0x02
REFERENCE = 0x04
HEADER_BYTES = 5
INLINE_BYTES_MAX = 65_536
"""Larger JSON goes to the blob store and the payload becomes a reference to it."""


@dataclass(eq=False, slots=True)
class BlobMissingHere(Exception):
    """The content of a reference is not at hand: fetch it, then decide again.

    Not frozen: whoever passes an exception on may set its traceback.
    """

    run: RunId
    stored: Stored


class Vault(Protocol):
    """Opens and seals payloads of one tenant. Pure from the caller's side: no I/O.

    `open` raises BlobMissingHere for a reference that was not fetched beforehand, KeyErased when
    the key is gone and PayloadTampered when the bytes are not what was sealed for that run.
    `seal` answers a reference for JSON above INLINE_BYTES_MAX and keeps the blob for the caller,
    who stores it before the record that names it.
    """

    def open(self, run: RunId, stored: Stored) -> bytes: ...

    def seal(self, run: RunId, json: bytes) -> Stored: ...


def is_reference(stored: Stored) -> bool:
    return bool(stored) and bool(stored[0] & REFERENCE)


def key_id_of(stored: Stored) -> int:
    return int.from_bytes(stored[1:HEADER_BYTES])
