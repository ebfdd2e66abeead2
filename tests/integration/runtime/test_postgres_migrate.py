"""Migrations on a real server: applied once, whole or not at all, whoever comes first."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from headrace_core.errors import SetupError
from headrace_runtime.postgres.migrate import Migration, load_migrations, migrate
from headrace_runtime.postgres.pool import Session, open_connection, open_pool

pytestmark = pytest.mark.postgres

FIRST = Migration(1, "init", "create table item (id int primary key); create table t (n int);")
SECOND = Migration(2, "colour", "alter table item add column colour text;")


def connected(dsn: str, work: Callable[[Session], Awaitable[None]]) -> None:
    async def run() -> None:
        connection = await open_connection(dsn, application_name="t")
        try:
            await work(connection)
        finally:
            await connection.close()

    asyncio.run(run())


def test_only_what_is_missing_is_applied(database: str) -> None:
    async def run(connection: Session) -> None:
        assert await migrate(connection, "headrace_x", [FIRST]) == 1
        assert await migrate(connection, "headrace_x", [FIRST]) == 0
        assert await migrate(connection, "headrace_x", [FIRST, SECOND]) == 1
        await connection.execute("insert into headrace_x.item values (1, 'red')")
        rows = await connection.fetch("select number, name from headrace_x.schema_version")
        assert [tuple(row) for row in rows] == [(1, "init"), (2, "colour")]
        assert await connection.fetchval("show search_path") == "pg_catalog"

    connected(database, run)


def test_each_schema_has_its_own_version(database: str) -> None:
    async def run(connection: Session) -> None:
        assert await migrate(connection, "tenant_a", [FIRST, SECOND]) == 2
        assert await migrate(connection, "tenant_b", [FIRST]) == 1
        await connection.execute("insert into tenant_b.item values (1)")
        assert await connection.fetchval("select count(*) from tenant_a.item") == 0

    connected(database, run)


def test_services_that_start_at_once_apply_each_migration_once(database: str) -> None:
    async def run() -> None:
        pool = await open_pool(database, application_name="t", connections_max=8)

        async def start() -> int:
            async with pool.acquire() as connection:
                return await migrate(connection, "headrace_x", [FIRST, SECOND])

        applied = await asyncio.gather(*(start() for _ in range(8)))
        assert sum(applied) == 2
        await pool.close()

    asyncio.run(run())


def test_a_migration_that_fails_leaves_no_trace_and_the_earlier_ones_stay(database: str) -> None:
    broken = Migration(2, "broken", "create table half (n int); select no_such_column from item;")

    async def run(connection: Session) -> None:
        with pytest.raises(SetupError, match=r"0002_broken of schema headrace_x failed.*undone"):
            await migrate(connection, "headrace_x", [FIRST, broken])
        assert await connection.fetchval("select to_regclass('headrace_x.half')") is None
        assert await connection.fetchval("select max(number) from headrace_x.schema_version") == 1
        assert await migrate(connection, "headrace_x", [FIRST, SECOND]) == 1

    connected(database, run)


def test_an_applied_migration_that_was_changed_is_refused(database: str) -> None:
    changed = Migration(1, "init", FIRST.sql + " -- changed")

    async def run(connection: Session) -> None:
        await migrate(connection, "headrace_x", [FIRST])
        with pytest.raises(SetupError, match="0001 of schema headrace_x was applied with other"):
            await migrate(connection, "headrace_x", [changed])

    connected(database, run)


def test_a_database_newer_than_the_code_is_accepted(database: str) -> None:
    async def run(connection: Session) -> None:
        await migrate(connection, "headrace_x", [FIRST, SECOND])
        assert await migrate(connection, "headrace_x", [FIRST]) == 0

    connected(database, run)


def test_a_migration_that_ends_the_transaction_itself_is_refused(database: str) -> None:
    committing = Migration(1, "commits", "create table a (n int); commit;")

    async def run(connection: Session) -> None:
        with pytest.raises(SetupError, match="ends the transaction"):
            await migrate(connection, "headrace_x", [committing])

    connected(database, run)


def test_objects_belong_to_the_owner_of_the_schema_whoever_migrates(database: str) -> None:
    async def run(connection: Session) -> None:
        await connection.execute("drop role if exists migrate_owner; create role migrate_owner")
        await connection.execute("create schema headrace_x authorization migrate_owner")
        await migrate(connection, "headrace_x", [FIRST])
        owners = await connection.fetch(
            "select distinct tableowner from pg_tables where schemaname = 'headrace_x'"
        )
        assert [row["tableowner"] for row in owners] == ["migrate_owner"]
        await connection.execute("drop owned by migrate_owner; drop role migrate_owner")

    connected(database, run)


def test_a_schema_name_that_is_no_plain_identifier_is_refused(database: str) -> None:
    async def run(connection: Session) -> None:
        with pytest.raises(ValueError, match="not a plain SQL identifier"):
            await migrate(connection, "x; drop schema public", [FIRST])

    connected(database, run)


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "0002_colour.sql").write_text("select 2;")
    (tmp_path / "0001_init.sql").write_text("select 1;")
    found = load_migrations(tmp_path)
    assert [(m.number, m.name) for m in found] == [(1, "init"), (2, "colour")]


@pytest.mark.parametrize("names", [["0002_a.sql"], ["0001_a.sql", "0001_b.sql"], ["init.sql"], []])
def test_a_gap_a_repeat_or_a_bad_name_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("select 1;")
    with pytest.raises(ValueError, match=r"expected|no migrations"):
        load_migrations(tmp_path)
