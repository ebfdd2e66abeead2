"""Secrets of tenants in `headrace_vault`. Written by connectors; opened there and in executors.

A family of keys of its own: one per tenant, derived from the root key and never stored, which has
nothing to do with the keys of payloads. Associated data bind a row to tenant, name, version and
purpose, so a row that was copied elsewhere does not open.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace_core.errors import InvalidInput, NotFound, SetupError, TooLarge
from headrace_core.ids import TenantId
from headrace_runtime.keys import NONCE_BYTES, RootKey
from headrace_runtime.nonces import NONCES
from headrace_runtime.postgres.migrate import Migration, load_migrations
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements
from headrace_runtime.secret_text import SecretText

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))
SCHEMA = "headrace_vault"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
VALUE_BYTES_MAX = 64 * 1024
PURPOSE = "tenant-secret"
TENANT_KEYS_MAX = 1_024


def migrations() -> tuple[Migration, ...]:
    """Of schema `headrace_vault`; applied by connectors."""
    return load_migrations(Path(__file__).with_name("migrations") / SCHEMA)


@dataclass(frozen=True, slots=True)
class SecretEntry:
    """What may be known of a secret without its value."""

    name: str
    version: int
    set_ms: int


class SecretSealer:
    """Seals and opens values. Derived keys are cached, values never."""

    def __init__(self, root_key: RootKey) -> None:
        def key(tenant: TenantId) -> AESGCM:
            return AESGCM(root_key.derive(f"{PURPOSE}/{tenant}"))

        self._key = lru_cache(maxsize=TENANT_KEYS_MAX)(key)

    def seal(self, tenant: TenantId, name: str, version: int, value: str) -> bytes:
        nonce = NONCES.take()
        owner = _owner(tenant, name, version)
        return nonce + self._key(tenant).encrypt(nonce, value.encode(), owner)

    def open(self, tenant: TenantId, name: str, version: int, sealed: bytes) -> SecretText:
        """Raises SetupError: a row that does not open is another installation's, or was moved."""
        try:
            value = self._key(tenant).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _owner(tenant, name, version)
            )
        except (InvalidTag, ValueError):
            raise SetupError(
                f"Secret {name!r} (version {version}) of tenant {tenant!r} does not open: the root "
                "key file was replaced, or the row was changed. Restore the root key that was in "
                "use when it was set, or set the secret again."
            ) from None
        return SecretText(name, value.decode())


class TenantSecrets:
    def __init__(self, pool: Pool, root_key: RootKey) -> None:
        self._pool = pool
        self._sealer = SecretSealer(root_key)

    async def set(self, tenant: TenantId, name: str, value: bytes) -> int:
        """The new version, from 1. Raises InvalidInput, TooLarge."""
        text = _checked(name, value)
        while True:
            version = 1 + await self._pool.fetchval(STATEMENTS["version"], tenant, name)
            sealed = self._sealer.seal(tenant, name, version, text)
            added = await self._pool.fetchval(STATEMENTS["add"], tenant, name, version, sealed)
            # Else somebody set it at the same time: this one becomes the next version.
            if added is not None:
                return version

    async def open(self, tenant: TenantId, name: str) -> SecretText:
        """The newest value. Raises NotFound, SetupError."""
        opened = await self.open_all(tenant, (name,))
        return opened[name]

    async def open_all(self, tenant: TenantId, names: Collection[str]) -> Mapping[str, SecretText]:
        """The newest value of each, in one statement. Raises NotFound that names the missing."""
        wanted = sorted(set(names))
        rows = await self._pool.fetch(STATEMENTS["newest_of"], tenant, wanted) if wanted else []
        opened = {
            row["name"]: self._sealer.open(tenant, row["name"], row["version"], row["sealed"])
            for row in rows
        }
        missing = [name for name in wanted if name not in opened]
        if missing:
            raise NotFound(
                f"Tenant {tenant!r} has no secret {', '.join(map(repr, missing))}. "
                f"Set it with: headrace secrets set {missing[0]}"
            )
        return opened

    async def list(self, tenant: TenantId) -> Sequence[SecretEntry]:
        rows = await self._pool.fetch(STATEMENTS["list"], tenant)
        return [
            SecretEntry(row["name"], row["version"], int(row["set_at"].timestamp() * 1000))
            for row in rows
        ]

    async def delete(self, tenant: TenantId, name: str) -> None:
        """All versions, for ever. Raises NotFound."""
        if not await self._pool.fetch(STATEMENTS["delete"], tenant, name):
            raise NotFound(f"Tenant {tenant!r} has no secret {name!r}.")


def _checked(name: str, value: bytes) -> str:
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is not the name of a secret: a letter, then letters, digits, _ and -, "
            "64 at most."
        )
    if len(value) > VALUE_BYTES_MAX:
        raise TooLarge(f"A secret has at most {VALUE_BYTES_MAX} bytes; this one has {len(value)}.")
    if not value:
        raise InvalidInput(f"Secret {name!r} has no value. To remove a secret, delete it.")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInput(
            f"The value of secret {name!r} is not UTF-8 text. Set binary data as base64."
        ) from None


def _owner(tenant: TenantId, name: str, version: int) -> bytes:
    return f"{PURPOSE}\0{tenant}\0{name}\0{version}".encode()
