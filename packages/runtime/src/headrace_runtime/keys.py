"""Payload keys: the root key's file, and the data keys that it wraps: each tenant's of the month,
and those of data subjects, which can be erased one by one.
"""

import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from headrace_core.errors import SetupError
from headrace_core.ids import TenantId
from headrace_runtime.postgres.migrate import Migration, load_migrations
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))
SCHEMA = "headrace_keys"
KEY_BYTES = 32
NONCE_BYTES = 12


def migrations() -> tuple[Migration, ...]:
    """Of schema `headrace_keys`; applied by the gateway."""
    return load_migrations(Path(__file__).with_name("migrations") / SCHEMA)


def month_of(now_ms: int) -> str:
    """`2026-11`, in UTC."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m")


def month_after(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    return f"{year + number // 12:04d}-{number % 12 + 1:02d}"


class RootKey:
    """Wraps data keys, and is what other families of keys are derived from. Never printed."""

    def __init__(self, secret: bytes) -> None:
        self._aead = AESGCM(secret)
        self._secret = secret

    def derive(self, purpose: str) -> bytes:
        """A key of its own for each purpose (HKDF-SHA256, RFC 5869): none tells of another."""
        return HKDF(SHA256(), KEY_BYTES, None, f"headrace/{purpose}".encode()).derive(self._secret)

    def subject_digest(self, tenant: TenantId, subject: str) -> bytes:
        """What stands for a data subject where keys are stored: of no use to whoever guesses."""
        key = self.derive("subject")
        return hmac.digest(key, f"{tenant}\0{subject}".encode(), "sha256")

    def wrap(self, tenant: TenantId, month: str, key: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, key, _owner(tenant, month))

    def unwrap(self, tenant: TenantId, month: str, wrapped: bytes) -> bytes:
        """Raises SetupError: a data key that does not open is another installation's."""
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return self._aead.decrypt(nonce, sealed, _owner(tenant, month))
        except (InvalidTag, ValueError) as fault:
            raise SetupError(
                f"The root key does not open the data key of tenant {tenant!r} for {month}: "
                "the database belongs to another installation, or the root key file was replaced. "
                "Restore the root key that was in use when the tenant was made."
            ) from fault


def load_root_key(path: Path, *, create: bool = False) -> RootKey:
    """Read the root key; with `create` draw one if there is no file.

    Raises SetupError if the file is missing, readable by others or not 64 hexadecimal digits.
    """
    if create and not path.exists():
        _create(path)
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text(encoding="ascii").strip() if not mode & 0o077 else ""
    except FileNotFoundError:
        raise SetupError(
            f"The root key file {path} does not exist. Restore it from a backup; for a new "
            "installation `headrace up` makes one."
        ) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise SetupError(f"The root key file {path} cannot be read: {fault}") from fault
    if mode & 0o077:
        raise SetupError(
            f"{path} holds the root key and others may read it (mode {mode:04o}). "
            f"Run: chmod 600 {path}"
        )
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise SetupError(f"{path} is not a root key (64 hexadecimal digits). Restore a backup.")
    return RootKey(secret)


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written aside and linked: a crash leaves no empty file, and two processes agree on one key.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


@dataclass(frozen=True, slots=True)
class DataKey:
    """`secret` is None once the key was erased; its id stays known."""

    id: int
    tenant: TenantId
    month: str
    secret: bytes | None

    def __repr__(self) -> str:
        return f"DataKey({self.id}, {self.tenant!r}, {self.month!r})"


@dataclass(frozen=True, slots=True)
class Subject:
    """A data subject that a tenant has had a key for. `digest` stands for it; times are epoch
    milliseconds, `erased_ms` None while the key exists."""

    key: int
    digest: str
    created_ms: int
    erased_ms: int | None
    erased_by: str


class DataKeys:
    """The rows of schema `headrace_keys`."""

    def __init__(self, pool: Pool, root_key: RootKey) -> None:
        self._pool = pool
        self._root_key = root_key

    async def ensure(self, tenant: TenantId, now_ms: int) -> int:
        """Make the tenant's key of this month and the next, unless they are there; the id of
        this month's. The next one is made early so that everybody has it when its month begins.
        """
        month = month_of(now_ms)
        this = await self._ensure_month(tenant, month)
        await self._ensure_month(tenant, month_after(month))
        return this

    async def of_tenants(self, tenants: Sequence[TenantId], above_id: int = 0) -> Sequence[DataKey]:
        """Keys of these tenants with a higher id, and every erased one, in order of id.

        Raises SetupError when the root key does not open one.
        """
        rows = await self._pool.fetch(STATEMENTS["of_tenants"], list(tenants), above_id)
        return [self._unwrapped(row) for row in rows]

    async def erase(self, tenant: TenantId, first_month: str, last_month: str) -> Sequence[int]:
        """Destroy keys for ever; the ids destroyed. What they sealed cannot be opened again,
        from backups of the log neither; a backup of this table must be destroyed too."""
        rows = await self._pool.fetch(STATEMENTS["erase"], tenant, first_month, last_month)
        return [row["id"] for row in rows]

    async def of_ids(self, tenant: TenantId, ids: Sequence[int]) -> Sequence[DataKey]:
        """Those keys of this tenant, whatever they are for. Raises SetupError."""
        rows = await self._pool.fetch(STATEMENTS["of_ids"], tenant, list(ids))
        return [self._unwrapped(row) for row in rows]

    async def erased_of(self, ids: Sequence[int]) -> Sequence[int]:
        """Which of these were erased."""
        rows = await self._pool.fetch(STATEMENTS["erased_of"], list(ids))
        return [row["id"] for row in rows]

    async def ensure_subject(self, tenant: TenantId, subject: str, now_ms: int) -> int:
        """The id of this data subject's key, which is made unless it is there. One who comes back
        after an erasure gets another key."""
        digest = self._root_key.subject_digest(tenant, subject)
        while True:
            found = await self._pool.fetchval(STATEMENTS["of_subject"], tenant, digest)
            if found is None:
                month = month_of(now_ms)
                wrapped = self._root_key.wrap(tenant, month, secrets.token_bytes(KEY_BYTES))
                found = await self._pool.fetchval(
                    STATEMENTS["add_subject"], tenant, month, digest, wrapped
                )
            if found is not None:
                assert isinstance(found, int)
                return found
            # Somebody else was faster.

    async def subjects(
        self, tenant: TenantId, *, subject: str = "", above_id: int = 0, limit: int = 100
    ) -> Sequence[Subject]:
        """In order of their keys; those of one data subject if it is named."""
        digest = self._root_key.subject_digest(tenant, subject) if subject else None
        rows = await self._pool.fetch(STATEMENTS["subjects"], tenant, above_id, digest, limit)
        return [_subject(row) for row in rows]

    async def erase_subject(self, tenant: TenantId, subject: str, by: str) -> Subject | None:
        """Destroy this data subject's key for ever; None if there is none. As with `erase`, a
        backup of this table must be destroyed too."""
        digest = self._root_key.subject_digest(tenant, subject)
        row = await self._pool.fetchrow(STATEMENTS["erase_subject"], tenant, digest, by)
        return None if row is None else _subject(row)

    def _unwrapped(self, row: asyncpg.Record) -> DataKey:
        tenant, month, wrapped = row["tenant"], row["month"], row["wrapped"]
        secret = None if wrapped is None else self._root_key.unwrap(tenant, month, wrapped)
        return DataKey(row["id"], tenant, month, secret)

    async def _ensure_month(self, tenant: TenantId, month: str) -> int:
        found = await self._pool.fetchval(STATEMENTS["usable"], tenant, month)
        if found is None:
            wrapped = self._root_key.wrap(tenant, month, secrets.token_bytes(KEY_BYTES))
            found = await self._pool.fetchval(STATEMENTS["add"], tenant, month, wrapped)
        if found is None:
            # Another gateway was faster.
            found = await self._pool.fetchval(STATEMENTS["usable"], tenant, month)
        assert isinstance(found, int), "erased in the moment it was made"
        return found


def _subject(row: asyncpg.Record) -> Subject:
    erased = row["erased"]
    return Subject(
        key=row["id"],
        digest=row["subject"].hex(),
        created_ms=int(row["created"].timestamp() * 1_000),
        erased_ms=None if erased is None else int(erased.timestamp() * 1_000),
        erased_by=row["erased_by"],
    )


def _owner(tenant: TenantId, month: str) -> bytes:
    return f"{tenant}\0{month}".encode()
