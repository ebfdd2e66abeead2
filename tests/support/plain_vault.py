"""A vault for tests of decisions: payloads are readable, and large ones are references."""

from dataclasses import dataclass, field

from headrace_core.errors import KeyErased
from headrace_core.ids import RunId
from headrace_core.payload import (
    HEADER_BYTES,
    INLINE_BYTES_MAX,
    NOTHING,
    OF_SUBJECT,
    REFERENCE,
    SEALED,
    BlobMissingHere,
    Stored,
    is_reference,
    key_mark,
    subject_key_of,
)


@dataclass(slots=True)
class PlainVault:
    """Deterministic, bound to the run like the real one: a payload of another run is refused, and
    so is one of a data subject whose key is in `erased`, or was never asked for."""

    blobs: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    at_hand: set[bytes] = field(default_factory=set[bytes])
    subjects: dict[str, int] = field(default_factory=dict[str, int])
    keys: set[int] = field(default_factory=set[int])
    erased: set[int] = field(default_factory=set[int])

    def open(self, run: RunId, stored: Stored) -> bytes:
        if stored == NOTHING:
            return b"null"
        self._check(run, stored)
        owner, _, content = stored[HEADER_BYTES:].partition(b"\x00")
        assert owner.decode() == run, f"a payload of {owner.decode()} was opened for {run}"
        if is_reference(stored):
            if stored not in self.at_hand:
                raise BlobMissingHere(run, stored)
            return self.blobs[content]
        return content

    def seal(self, run: RunId, json: bytes) -> Stored:
        return self.sealed(run, json, 0)

    def sealed(self, run: RunId, json: bytes, subject_key: int) -> Stored:
        header = bytes((SEALED | (OF_SUBJECT if subject_key else 0),)) + subject_key.to_bytes(4)
        self._check(run, Stored(header))
        if len(json) <= INLINE_BYTES_MAX:
            return Stored(header + run.encode() + b"\x00" + json)
        address = str(len(self.blobs)).encode()
        self.blobs[address] = json
        header = bytes((header[0] | REFERENCE,)) + header[1:]
        return Stored(header + run.encode() + b"\x00" + address)

    def under(self, subject_key: int) -> "PlainVault | PlainSubjectVault":
        if not subject_key:
            return self
        if subject_key not in self.keys:
            raise BlobMissingHere(RunId(""), key_mark(subject_key))
        return PlainSubjectVault(self, subject_key)

    def subject_key(self, subject: str) -> int:
        key = self.subjects.setdefault(subject, len(self.subjects) + 1)
        self.keys.add(key)
        return key

    def fetch(self, stored: Stored) -> None:
        if subject_key_of(stored):
            self.keys.add(subject_key_of(stored))
        self.at_hand.add(stored)

    def _check(self, run: RunId, stored: Stored) -> None:
        key = subject_key_of(stored)
        if key in self.erased:
            raise KeyErased(f"key {key} was erased")
        if key and key not in self.keys:
            raise BlobMissingHere(run, stored)


@dataclass(frozen=True, slots=True)
class PlainSubjectVault:
    """Seals under one data subject's key."""

    vault: PlainVault
    key: int

    def open(self, run: RunId, stored: Stored) -> bytes:
        return self.vault.open(run, stored)

    def seal(self, run: RunId, json: bytes) -> Stored:
        return self.vault.sealed(run, json, self.key)

    def under(self, subject_key: int) -> "PlainVault | PlainSubjectVault":
        return self.vault.under(subject_key)
