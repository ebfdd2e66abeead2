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
OF_SUBJECT = 0x08
"""Sealed under a data subject's own key, which can be erased by itself."""
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

    def under(self, subject_key: int) -> "Vault":
        """The same vault, but what it seals is sealed under this data subject's key; 0 is none.

        Raises BlobMissingHere while the key is not at hand; `seal` raises KeyErased when it is
        gone.
        """
        ...


def is_reference(stored: Stored) -> bool:
    return bool(stored) and bool(stored[0] & REFERENCE)


def key_id_of(stored: Stored) -> int:
    return int.from_bytes(stored[1:HEADER_BYTES])


def subject_key_of(stored: Stored) -> int:
    """The data subject's key that this payload is sealed under; 0 where it is the tenant's.

    Of a run that is its input's: everything of the run is sealed under the same.
    """
    return key_id_of(stored) if stored and stored[0] & OF_SUBJECT else 0


def key_mark(subject_key: int) -> Stored:
    """A header without content: stands for the key where only that has to be brought to hand."""
    return Stored(bytes((SEALED | OF_SUBJECT,)) + subject_key.to_bytes(4))
