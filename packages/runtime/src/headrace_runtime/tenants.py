"""Tenants and API keys in `headrace_control`. Written by the gateway; all may read."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from headrace_core.errors import InvalidInput, InvalidState, NotFound
from headrace_core.ids import TenantId
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))
TENANT_ID = re.compile(r"[a-z][a-z0-9-]{0,38}")
KEY_PREFIX = "hr"
KEY_ID_LETTERS = 12
SECRET_BYTES = 24
WEIGHT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """`schema_name` is opaque: it is what history names the tenant's schema."""

    id: TenantId
    schema_name: str
    weight: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Without its secret: that is shown once, when the key is made."""

    id: str
    tenant: TenantId
    name: str
    role: str
    created_ms: int
    revoked: bool


class Tenants:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, tenant: TenantId, weight: int = 1) -> Tenant:
        """May be repeated: an existing tenant is answered as it is. Raises InvalidInput."""
        if not TENANT_ID.fullmatch(tenant):
            raise InvalidInput(
                f"{tenant!r} is not a tenant id: a lower-case letter, then lower-case letters, "
                "digits and dashes, 39 at most."
            )
        _check_weight(weight)
        await self._pool.execute(STATEMENTS["add"], tenant, f"t_{secrets.token_hex(8)}", weight)
        return await self.get(tenant)

    async def get(self, tenant: TenantId) -> Tenant:
        """Raises NotFound."""
        row = await self._pool.fetchrow(STATEMENTS["one"], tenant)
        if row is None:
            raise NotFound(f"There is no tenant {tenant!r}.")
        return _tenant(row)

    async def all(self) -> Sequence[Tenant]:
        return [_tenant(row) for row in await self._pool.fetch(STATEMENTS["all"])]

    async def set_weight(self, tenant: TenantId, weight: int) -> None:
        """The tenant's share of executors against the others'. Raises NotFound, InvalidInput."""
        _check_weight(weight)
        if await self._pool.fetchval(STATEMENTS["set_weight"], tenant, weight) is None:
            raise NotFound(f"There is no tenant {tenant!r}.")


class ApiKeys:
    """A key's text is `hr_<id>_<secret>`. The secret is 192 random bits, so one SHA-256 of it is
    as safe as a slow hash, and checking it costs microseconds."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, tenant: TenantId, name: str, role: str) -> tuple[ApiKey, str]:
        """The key and its text, which cannot be read again. Raises NotFound."""
        key_id = secrets.token_hex(KEY_ID_LETTERS // 2)
        secret = secrets.token_hex(SECRET_BYTES)
        await self._insert(key_id, tenant, secret, name, role)
        return await self._get(tenant, key_id), f"{KEY_PREFIX}_{key_id}_{secret}"

    async def admit(self, text: str, tenant: TenantId, name: str, role: str) -> None:
        """Make a given key text known, unless it is: for the key an installation starts with.

        Raises InvalidInput for a text of another form, InvalidState for a known id with
        another secret.
        """
        parts = parse(text)
        if parts is None:
            raise InvalidInput("An API key has the form hr_<id>_<secret>.")
        key_id, secret = parts
        if await self.find(text) is not None:
            return
        try:
            await self._insert(key_id, tenant, secret, name, role)
        except asyncpg.UniqueViolationError:
            if await self.find(text) is None:
                raise InvalidState(f"API key {key_id} exists with another secret.") from None

    async def find(self, text: str) -> ApiKey | None:
        """The key that `text` proves, revoked or not; None for anything else."""
        parts = parse(text)
        if parts is None:
            return None
        row = await self._pool.fetchrow(STATEMENTS["key"], parts[0])
        if row is None or not hmac.compare_digest(row["secret_sha256"], _digest(parts[1])):
            return None
        return _key(row)

    async def of_tenant(self, tenant: TenantId) -> Sequence[ApiKey]:
        return [_key(row) for row in await self._pool.fetch(STATEMENTS["keys_of"], tenant)]

    async def revoke(self, tenant: TenantId, key_id: str) -> None:
        """May be repeated. Raises NotFound."""
        if await self._pool.fetchval(STATEMENTS["revoke_key"], tenant, key_id) is None:
            raise NotFound(f"Tenant {tenant!r} has no API key {key_id!r}.")

    async def _insert(
        self, key_id: str, tenant: TenantId, secret: str, name: str, role: str
    ) -> None:
        try:
            await self._pool.execute(
                STATEMENTS["add_key"], key_id, tenant, _digest(secret), name, role
            )
        except asyncpg.ForeignKeyViolationError:
            raise NotFound(f"There is no tenant {tenant!r}.") from None

    async def _get(self, tenant: TenantId, key_id: str) -> ApiKey:
        found = [key for key in await self.of_tenant(tenant) if key.id == key_id]
        return found[0]


def parse(text: str) -> tuple[str, str] | None:
    """(id, secret) of a key's text, None if it is not one."""
    parts = text.split("_")
    if len(parts) != 3 or parts[0] != KEY_PREFIX or not all(map(str.isalnum, parts[1:])):
        return None
    return parts[1], parts[2]


def _check_weight(weight: int) -> None:
    if not 1 <= weight <= WEIGHT_MAX:
        raise InvalidInput(f"A tenant's weight is between 1 and {WEIGHT_MAX}, not {weight}.")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _tenant(row: asyncpg.Record) -> Tenant:
    created_ms = int(row["created"].timestamp() * 1000)
    return Tenant(row["id"], row["schema_name"], row["weight"], created_ms)


def _key(row: asyncpg.Record) -> ApiKey:
    created_ms = int(row["created"].timestamp() * 1000)
    revoked = row["revoked"] is not None
    return ApiKey(row["id"], row["tenant"], row["name"], row["role"], created_ms, revoked)
