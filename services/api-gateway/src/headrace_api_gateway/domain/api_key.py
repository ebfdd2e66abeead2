"""API keys: `hr_live_<id>_<secret>_<checksum>`.

Prefix and checksum let secret scanners find a leaked key and let us refuse a mistyped one
without a look-up. Only the SHA-256 of the secret is stored: it is 160 bits of chance, so a slow
hash would add nothing.
"""

import hashlib
import hmac
import zlib
from dataclasses import dataclass

from headrace_core.errors import Unauthenticated

PREFIX = "hr_live"
ID_LETTERS, SECRET_LETTERS = 12, 32
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    secret: str

    @property
    def text(self) -> str:
        """Shown once, when the key is made."""
        return f"{PREFIX}_{self.id}_{self.secret}_{_checksum(self.id, self.secret)}"

    @property
    def secret_hash(self) -> bytes:
        return hashlib.sha256(self.secret.encode()).digest()

    def matches(self, stored_hash: bytes) -> bool:
        return hmac.compare_digest(self.secret_hash, stored_hash)

    def __repr__(self) -> str:
        return f"ApiKey({self.id!r}, ...)"


def new_key(chance: bytes) -> ApiKey:
    """`chance` is at least 44 random bytes, one per letter."""
    assert len(chance) >= ID_LETTERS + SECRET_LETTERS
    letters = "".join(_ALPHABET[byte & 31] for byte in chance)
    return ApiKey(letters[:ID_LETTERS], letters[ID_LETTERS : ID_LETTERS + SECRET_LETTERS])


def parse_key(text: str) -> ApiKey:
    """Raises Unauthenticated for anything that cannot be a key of ours."""
    head, _, checksum = text.rpartition("_")
    head, _, secret = head.rpartition("_")
    prefix, _, key_id = head.rpartition("_")
    if (
        prefix != PREFIX
        or len(key_id) != ID_LETTERS
        or len(secret) != SECRET_LETTERS
        or checksum != _checksum(key_id, secret)
    ):
        raise Unauthenticated(
            "The API key is not complete: copy it whole, it looks like "
            f"{PREFIX}_<id>_<secret>_<checksum>."
        )
    return ApiKey(key_id, secret)


def _checksum(key_id: str, secret: str) -> str:
    return f"{zlib.crc32(f'{key_id}_{secret}'.encode()):08x}"
