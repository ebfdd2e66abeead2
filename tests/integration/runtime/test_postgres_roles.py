"""Service roles on a real server: each does its own work and is refused the others'."""

import asyncio
import base64
import stat
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from headrace_runtime.postgres.embedded import EmbeddedPostgres
from headrace_runtime.postgres.migrate import Migration, migrate
from headrace_runtime.postgres.pool import open_connection
from headrace_runtime.postgres.roles import (
    SERVICE_ROLES,
    Access,
    create_database,
    provision_embedded,
    provision_external,
    scram_verifier,
)

pytestmark = pytest.mark.postgres

TABLE = Migration(1, "init", "create table t (n int); insert into t values (7);")


async def run_as(access: Access, service: str, statement: str) -> object:
    connection = await open_connection(access.dsns[service], application_name=service)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def migrate_all(access: Access) -> None:
    for role in SERVICE_ROLES:
        connection = await open_connection(access.dsns[role.service], application_name="t")
        for schema in role.owns:
            await migrate(connection, schema, [TABLE])
        await connection.close()


async def check_rights(access: Access) -> None:
    """Every service against every schema: owners and writers write, readers read, no more."""
    for role in SERVICE_ROLES:
        for schema in [schema for other in SERVICE_ROLES for schema in other.owns]:
            read = f"select count(*) from {schema}.t"
            write = f"insert into {schema}.t values (8) returning n"
            if schema in (*role.owns, *role.writes):
                assert await run_as(access, role.service, write) == 8
                assert await run_as(access, role.service, read)
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await run_as(access, role.service, write)
            if schema in role.reads:
                assert await run_as(access, role.service, read)
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await run_as(access, role.service, read)


def test_each_schema_has_one_owner() -> None:
    owned = [schema for role in SERVICE_ROLES for schema in role.owns]
    assert len(owned) == len(set(owned))
    for role in SERVICE_ROLES:
        assert set(role.reads) | set(role.writes) <= set(owned) - set(role.owns)


def test_services_on_the_built_in_server_have_least_rights(
    postgres_home: Path, tmp_path: Path
) -> None:
    passwords = tmp_path / "roles"

    async def run(dsn: str) -> None:
        access = await provision_embedded(dsn, passwords)
        assert access.shared_role_reason is None
        await migrate_all(access)
        await check_rights(access)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await run_as(access, "scheduler", "create schema other")
        await run_as(access, "history", "create schema tenant_a")
        again = await provision_embedded(dsn, passwords)
        assert again == access
        assert await run_as(again, "scheduler", "select count(*) from headrace_log.t")

    with EmbeddedPostgres(postgres_home, settings={"fsync": "off"}) as server:
        asyncio.run(run(server.dsn()))
    for file in passwords.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_lost_passwords_of_the_built_in_server_are_drawn_anew(
    postgres_home: Path, tmp_path: Path
) -> None:
    async def run(dsn: str) -> None:
        first = await provision_embedded(dsn, tmp_path / "first")
        second = await provision_embedded(dsn, tmp_path / "second")
        assert first.dsns != second.dsns
        assert await run_as(second, "executor", "select 1") == 1

    with EmbeddedPostgres(postgres_home, settings={"fsync": "off"}) as server:
        asyncio.run(run(server.dsn()))


def test_an_external_login_that_may_create_roles_gets_one_per_service(
    postgres_home: Path, tmp_path: Path
) -> None:
    async def run(dsn: str) -> None:
        given = await external_login(dsn, "createrole", owns_database=True)
        access = await provision_external(given, tmp_path / "roles")
        assert access.shared_role_reason is None
        await migrate_all(access)
        await check_rights(access)
        assert await provision_external(given, tmp_path / "roles") == access
        other_home = await provision_external(given, tmp_path / "other")
        assert "its password is not in" in str(other_home.shared_role_reason)
        assert set(other_home.dsns.values()) == {given}
        assert await run_as(other_home, "scheduler", "select count(*) from headrace_log.t")

    with EmbeddedPostgres(postgres_home, settings={"fsync": "off"}) as server:
        asyncio.run(run(server.dsn()))


@pytest.mark.parametrize(
    ("power", "owns_database", "reason"),
    [("nocreaterole", True, "may not create roles"), ("createrole", False, "does not own")],
)
def test_an_external_login_without_that_right_is_used_for_all(
    postgres_home: Path, tmp_path: Path, power: str, owns_database: bool, reason: str
) -> None:
    async def run(dsn: str) -> None:
        given = await external_login(dsn, power, owns_database)
        access = await provision_external(given, tmp_path / "roles")
        assert reason in str(access.shared_role_reason)
        assert set(access.dsns) == {role.service for role in SERVICE_ROLES}
        assert set(access.dsns.values()) == {given}
        if owns_database:
            await migrate_all(access)

    with EmbeddedPostgres(postgres_home, settings={"fsync": "off"}) as server:
        asyncio.run(run(server.dsn()))


def test_the_verifier_is_the_one_that_postgres_makes_itself(database: str) -> None:
    async def run() -> None:
        connection = await open_connection(database, application_name="t")
        await connection.execute("drop role if exists verified")
        await connection.execute("create role verified password 'known'")
        made = await connection.fetchval(
            "select rolpassword from pg_authid where rolname = 'verified'"
        )
        await connection.execute("drop role verified")
        await connection.close()
        salt = base64.b64decode(made.split("$")[1].split(":")[1])
        assert scram_verifier("known", salt) == made

    asyncio.run(run())


async def external_login(dsn: str, power: str, owns_database: bool) -> str:
    connection = await open_connection(dsn, application_name="t")
    await connection.execute(f"create role given login {power} password 'given'")
    await connection.close()
    await create_database(dsn, "theirs", owner="given" if owns_database else None)
    parts = urlsplit(dsn)
    netloc = f"given:given@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=netloc, path="/theirs"))
