"""API keys: `hr_live_<id>_<secret>_<checksum>`, and their rows in `headrace_control`.

Prefix and checksum let secret scanners find a leaked key and let us refuse a mistyped one
without a look-up. Only the SHA-256 of the secret is stored: it is 160 bits of chance, so a slow
hash would add nothing.
"""

import hashlib
import hmac
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import asyncpg

from headrace_core.errors import NotFound, Unauthenticated
from headrace_core.ids import TenantId
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))
PREFIX = "hr_live"
ID_LETTERS, SECRET_LETTERS = 12, 32
SERVING_ROLES = frozenset({"worker", "editor"})
"""Roles whose permissions hold `tasks.serve`: their keys open a worker's stream."""
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


@dataclass(frozen=True, slots=True)
class StoredKey:
    """Without its secret."""

    id: str
    tenant: TenantId
    name: str
    role: str
    secret_hash: bytes
    created_ms: int
    revoked: bool


class FindsKeys(Protocol):
    async def find(self, key_id: str) -> StoredKey | None: ...


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


async def proven_key(keys: FindsKeys, text: str) -> StoredKey:
    """Whose key the text is. Raises Unauthenticated for a text that proves none, or a revoked
    one."""
    key = parse_key(text)
    stored = await keys.find(key.id)
    if stored is None or not key.matches(stored.secret_hash):
        raise Unauthenticated(f"There is no API key {key.id!r} with this secret.")
    if stored.revoked:
        raise Unauthenticated(f"The API key {key.id!r} was revoked. Use another one.")
    return stored


class ApiKeys:
    """Written by the gateway; the scheduler reads them too."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, key_id: str) -> StoredKey | None:
        row = await self._pool.fetchrow(STATEMENTS["find"], key_id)
        return None if row is None else _key(row)

    async def add(
        self, key_id: str, tenant: TenantId, secret_hash: bytes, name: str, role: str
    ) -> StoredKey:
        """Raises NotFound for an unknown tenant."""
        try:
            row = await self._pool.fetchrow(
                STATEMENTS["add"], key_id, tenant, secret_hash, name, role
            )
        except asyncpg.ForeignKeyViolationError:
            raise NotFound(f"There is no tenant {tenant!r}.") from None
        assert row is not None, "an insert without a condition returns its row"
        return _key(row)

    async def of_tenant(self, tenant: TenantId) -> Sequence[StoredKey]:
        return [_key(row) for row in await self._pool.fetch(STATEMENTS["of_tenant"], tenant)]

    async def revoke(self, tenant: TenantId, key_id: str) -> None:
        """May be repeated. Raises NotFound."""
        if await self._pool.fetchval(STATEMENTS["revoke"], tenant, key_id) is None:
            raise NotFound(f"Tenant {tenant!r} has no API key {key_id!r}.")


def _checksum(key_id: str, secret: str) -> str:
    return f"{zlib.crc32(f'{key_id}_{secret}'.encode()):08x}"


def _key(row: asyncpg.Record) -> StoredKey:
    return StoredKey(
        row["id"],
        row["tenant"],
        row["name"],
        row["role"],
        row["secret_sha256"],
        int(row["created"].timestamp() * 1000),
        row["revoked"] is not None,
    )
