"""A real PostgreSQL for tests: one server per session (and xdist worker), a database per test.

Nothing survives a session, so it runs without fsync. What a test is about durability starts a
server of its own.
"""

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headrace_runtime.postgres.embedded import EmbeddedPostgres
from headrace_runtime.postgres.pool import Session, open_connection

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "min_wal_size": "32MB",
    "autovacuum": "off",
}


class PostgresForTests:
    """`fresh_database` may be called from anywhere, also from inside a running event loop."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        self._templates: dict[str, str] = {}
        # A thread of its own: a test's event loop may be running in this one.
        self._thread = ThreadPoolExecutor(max_workers=1)

    def fresh_database(self, template: str = "template0") -> str:
        """DSN, for the superuser, of a new database that is a copy of `template`."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"create database {name} template {template} strategy file_copy")
        return self.server.dsn(name)

    def template(self, name: str, prepare: Callable[[Session], Awaitable[object]]) -> str:
        """A database to copy, filled by `prepare` once per session: for migrated schemas."""
        if name not in self._templates:
            self._templates[name] = dsn = self.fresh_database()
            self._run(dsn, prepare)
        return urlsplit(self._templates[name]).path[1:]

    def drop(self, dsn: str) -> None:
        """Also cuts off sessions that a failed test left open."""
        self._execute(f"drop database if exists {urlsplit(dsn).path[1:]} with (force)")

    def close(self) -> None:
        self._thread.shutdown()

    def _execute(self, statement: str) -> None:
        async def execute(session: Session) -> None:
            await session.execute(statement)

        self._run(self.server.dsn(), execute)

    def _run(self, dsn: str, work: Callable[[Session], Awaitable[object]]) -> None:
        async def connected() -> None:
            session = await open_connection(dsn, application_name="tests")
            try:
                await work(session)
            finally:
                await session.close()

        self._thread.submit(asyncio.run, connected()).result()


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresForTests]:
    # Not pytest's own temporary folder: it is closed to the account that root may have to use.
    home = Path(tempfile.mkdtemp(prefix="headrace-postgres-"))
    try:
        with EmbeddedPostgres(home, settings=SETTINGS) as server:
            tests = PostgresForTests(server)
            yield tests
            tests.close()
    finally:
        shutil.rmtree(home)


@pytest.fixture
def database(postgres: PostgresForTests) -> Generator[str]:
    """DSN of an empty database that only this test uses."""
    dsn = postgres.fresh_database()
    yield dsn
    postgres.drop(dsn)


@pytest.fixture
def postgres_home() -> Generator[Path]:
    """For a server of the test's own. Outside pytest's folder, which is closed to `nobody`."""
    home = Path(tempfile.mkdtemp(prefix="headrace-postgres-"))
    yield home
    shutil.rmtree(home)
