"""Opens the payloads of one run with nothing but the keys that its export holds. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace_core.errors import KeyErased, PayloadTampered
from headrace_core.ids import RunId, TenantId
from headrace_core.payload import (
    COMPRESSED,
    HEADER_BYTES,
    BlobMissingHere,
    Stored,
    is_reference,
    key_id_of,
)
from headrace_history.domain.export import BlobLine
from headrace_runtime.sealing import BODY_AT

NULL = b"null"


@dataclass(frozen=True, slots=True)
class ExportVault:
    """`headrace_core.payload.Vault`, for reading: what the export leaves out is erased here."""

    tenant: TenantId
    keys: Mapping[int, bytes]
    blobs: Mapping[str, BlobLine]

    def open(self, run: RunId, stored: Stored) -> bytes:
        """Raises KeyErased, PayloadTampered, and BlobMissingHere for content that was lost before
        the run was exported."""
        if not stored:
            return NULL
        key = self.keys.get(key_id_of(stored))
        if key is None:
            raise KeyErased(f"The export has no key {key_id_of(stored)}.")
        opened = self._open(key, run, stored)
        if not is_reference(stored):
            return opened
        blob = self.blobs.get(orjson.loads(opened)["blob"])
        if blob is None:
            raise BlobMissingHere(run, stored)
        return self._open(blob.key, blob.blob, Stored(blob.sealed))

    def seal(self, run: RunId, json: bytes) -> Stored:
        raise NotImplementedError("an export is only read")

    def under(self, subject_key: int) -> "ExportVault":
        return self

    def _open(self, key: bytes, owner: str, stored: Stored) -> bytes:
        header = stored[:HEADER_BYTES]
        associated = f"{self.tenant}\0{owner}".encode() + header
        try:
            nonce, sealed = stored[HEADER_BYTES:BODY_AT], stored[BODY_AT:]
            content = AESGCM(key).decrypt(nonce, sealed, associated)
            return zstandard.decompress(content) if header[0] & COMPRESSED else content
        except (InvalidTag, ValueError, zstandard.ZstdError) as fault:
            raise PayloadTampered(f"A payload of {owner} is not what was sealed.") from fault
