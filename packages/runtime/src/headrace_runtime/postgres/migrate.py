"""Numbered migrations of one schema: `0001_init.sql`, `0002_…`, only ever added.

The schema's `schema_version` table records what was applied. A database that is newer than this
code is accepted: in a rolling upgrade code meets the schema of its successor.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from headrace_core.errors import SetupError
from headrace_runtime.postgres.pool import Connection
from headrace_runtime.postgres.sql import identifier, load_statements

FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
STATEMENTS = load_statements(Path(__file__).with_name("migrate.sql"))
# For the lock, which another starting service may hold, and for each migration.
PATIENCE_S = 600


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(folder: Path) -> tuple[Migration, ...]:
    """In order. ValueError unless the numbers are 1, 2, 3, … and every name is well formed."""
    migrations: list[Migration] = []
    for number, path in enumerate(sorted(folder.glob("*.sql")), start=1):
        parts = FILE_NAME.fullmatch(path.name)
        if parts is None or int(parts.group(1)) != number:
            raise ValueError(f"{path}: expected {number:04d}_<name>.sql (a-z, 0-9, _) here")
        migrations.append(Migration(number, parts.group(2), path.read_text(encoding="utf-8")))
    if not migrations:
        raise ValueError(f"{folder} holds no migrations")
    return tuple(migrations)


async def migrate(connection: Connection, schema: str, migrations: Sequence[Migration]) -> int:
    """Create `schema` if need be and apply what is missing; the number of migrations applied.

    Each runs in one transaction with its version row, with `search_path` set to the schema and
    as the schema's owner. Several services may call this at the same time. Raises SetupError if
    an applied file was changed since, or if a migration fails (it then left no trace).
    """
    identifier(schema)
    async with connection.transaction():
        await _lock(connection, schema)
        await _prepare_schema(connection, schema)
    applied = 0
    for migration in migrations:
        async with connection.transaction():
            await _lock(connection, schema)
            if not await _is_applied(connection, schema, migration):
                await _apply(connection, schema, migration)
                applied += 1
    return applied


async def _lock(connection: Connection, schema: str) -> None:
    """Until the end of the transaction. Taken anew for each migration: no lock of the session
    can be left behind on a pooled connection.
    """
    await connection.execute(STATEMENTS["set_patience"].format(patience=f"{PATIENCE_S}s"))
    await connection.execute(STATEMENTS["lock"], schema, timeout=PATIENCE_S)


async def _prepare_schema(connection: Connection, schema: str) -> None:
    # Not "create schema if not exists": that asks for the right to create even if it exists.
    if not await connection.fetchval(STATEMENTS["has_schema"], schema):
        await connection.execute(f"create schema {schema}")
    if not await connection.fetchval(STATEMENTS["has_version_table"], schema):
        await _become_owner(connection, schema)
        await connection.execute(STATEMENTS["create_version_table"].format(schema=schema))


async def _become_owner(connection: Connection, schema: str) -> None:
    """Objects belong to the schema's owner even if an administrator runs the migration."""
    owner = await connection.fetchval(STATEMENTS["foreign_owner"], schema)
    if owner is None:
        return
    try:
        await connection.execute(STATEMENTS["become"], owner)
    except asyncpg.InsufficientPrivilegeError as fault:
        raise SetupError(
            f"Schema {schema} belongs to role {owner}, and this login may not act for it. "
            "Use the login that created it, or make this one a member of that role."
        ) from fault


async def _is_applied(connection: Connection, schema: str, migration: Migration) -> bool:
    statement = STATEMENTS["applied_checksum"].format(schema=schema)
    checksum = await connection.fetchval(statement, migration.number)
    if checksum is not None and checksum != migration.checksum:
        raise SetupError(
            f"Migration {migration.number:04d} of schema {schema} was applied with other content "
            "than it has now. Migrations are only added: restore the file, add a new one."
        )
    return checksum is not None


async def _apply(connection: Connection, schema: str, migration: Migration) -> None:
    what = f"Migration {migration.number:04d}_{migration.name} of schema {schema}"
    await _become_owner(connection, schema)
    await connection.execute(f"set local search_path = {schema}, pg_catalog")
    try:
        await connection.execute(migration.sql, timeout=PATIENCE_S)
    except asyncpg.PostgresError as fault:
        raise SetupError(f"{what} failed and was undone: {fault}") from fault
    if not connection.is_in_transaction():
        raise SetupError(f"{what} ends the transaction: take its COMMIT or ROLLBACK out.")
    record = STATEMENTS["record"].format(schema=schema)
    await connection.execute(record, migration.number, migration.name, migration.checksum)
