"""Connections as services get them: their settings, and what happens when nobody answers."""

import asyncio
import socket
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from headrace_core.errors import SetupError, Unavailable
from headrace_runtime.postgres.pool import Session, open_connection, open_pool
from tests.support.postgres import PostgresForTests

pytestmark = pytest.mark.postgres


def test_sessions_have_our_settings_and_no_schema_of_their_own(database: str) -> None:
    async def run() -> None:
        pool = await open_pool(database, application_name="scheduler", statement_timeout_ms=1234)
        async with pool.acquire() as connection:
            for name, wanted in {
                "application_name": "scheduler",
                "statement_timeout": "1234ms",
                "lock_timeout": "10s",
                "idle_in_transaction_session_timeout": "30s",
                "jit": "off",
                "search_path": "pg_catalog",
                "TimeZone": "UTC",
            }.items():
                assert await connection.fetchval(f"show {name}") == wanted, name
        await pool.close()

    asyncio.run(run())


def test_set_local_ends_with_its_transaction_on_a_pooled_connection(database: str) -> None:
    async def run() -> None:
        pool = await open_pool(database, application_name="t", connections_max=1)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("set local search_path = elsewhere")
        async with pool.acquire() as connection:
            assert await connection.fetchval("show search_path") == "pg_catalog"
        await pool.close()

    asyncio.run(run())


def test_a_connection_given_back_inside_a_transaction_is_rolled_back(database: str) -> None:
    async def run() -> None:
        pool = await open_pool(database, application_name="t", connections_max=1)
        async with pool.acquire() as connection:
            await connection.execute("create table public.t (n int)")
            await connection.transaction().start()
            await connection.execute("insert into public.t values (1)")
        async with pool.acquire() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("select count(*) from public.t") == 0
        await pool.close()

    asyncio.run(run())


def test_a_statement_over_its_time_is_cut_off_by_the_server(database: str) -> None:
    async def run() -> None:
        connection = await open_connection(database, application_name="t", statement_timeout_ms=50)
        with pytest.raises(asyncpg.QueryCanceledError):
            await connection.execute("select pg_sleep(60)")
        await connection.close()

    asyncio.run(run())


def test_a_server_that_does_not_answer_is_unavailable_and_named_without_the_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        opening = open_pool(
            f"postgresql://u:secret@127.0.0.1:{port}/db", application_name="t", wait_s=0.2
        )
        with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port}/db does not answer") as fault:
            asyncio.run(opening)
    assert "secret" not in fault.value.message


def test_a_wrong_password_is_said_at_once(database: str) -> None:
    parts = urlsplit(database)
    wrong = urlunsplit(parts._replace(netloc=f"postgres:guess@{parts.hostname}:{parts.port}"))
    with pytest.raises(SetupError, match="refuses the login") as fault:
        asyncio.run(open_connection(wrong, application_name="t", wait_s=60))
    assert "guess" not in fault.value.message


def test_a_missing_database_is_said_at_once(postgres: PostgresForTests) -> None:
    opening = open_pool(postgres.server.dsn("no_such"), application_name="t", wait_s=60)
    with pytest.raises(SetupError, match='"no_such" does not exist'):
        asyncio.run(opening)


def test_a_template_is_prepared_once_and_copied(postgres: PostgresForTests) -> None:
    prepared: list[str] = []

    async def prepare(session: Session) -> None:
        prepared.append("once")
        await session.execute("create table public.t (n int); insert into public.t values (7)")

    async def row(dsn: str) -> object:
        connection = await open_connection(dsn, application_name="t")
        await connection.execute("update public.t set n = n + 1")
        found = await connection.fetchval("select n from public.t")
        await connection.close()
        return found

    for _ in range(2):
        dsn = postgres.fresh_database(postgres.template("with_row", prepare))
        assert asyncio.run(row(dsn)) == 8
        postgres.drop(dsn)
    assert prepared == ["once"]
