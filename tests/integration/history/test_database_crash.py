"""History over a database that is killed: what a reader has seen stays."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import TypeVar

import pytest

from headrace_core.errors import Unavailable
from headrace_core.run.status import RunStatus
from headrace_runtime.postgres.embedded import EmbeddedPostgres
from tests.integration.history.conftest import running_history
from tests.support.postgres_sessions import kill_and_wait
from tests.unit.history.recorded_runs import TENANT, LogWriter, run_of, sequential_run

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
Answer = TypeVar("Answer")


@pytest.fixture
def server(postgres_home: Path) -> Generator[EmbeddedPostgres]:
    # The WAL writer would soon make durable whatever a commit has not waited for.
    with EmbeddedPostgres(postgres_home, settings={"wal_writer_delay": "10s"}) as running:
        yield running


async def test_a_run_that_was_written_is_found_after_the_database_was_killed(
    server: EmbeddedPostgres, writer: LogWriter
) -> None:
    async with running_history(server.dsn(), writer) as history:
        await writer.run(run_of(1), sequential_run(3))
        await history.flushed(TENANT)
        before = await history.replayer.turns(TENANT, run_of(1))
        kill_and_wait(server.pid)
        server.start()
        row = await answered(lambda: history.replayer.row(TENANT, run_of(1)))
        assert row.status is RunStatus.SUCCEEDED
        after = await answered(lambda: history.replayer.turns(TENANT, run_of(1)))
        assert after == before


async def answered(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Once the connections that died with the server are gone from the pool."""
    while True:
        try:
            return await ask()
        except Unavailable:
            await asyncio.sleep(0)
