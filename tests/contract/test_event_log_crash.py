"""PostgreSQL restarted and killed in the middle of appends: nothing acknowledged is lost."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from headrace_core.errors import Unavailable, UnclearAppend
from headrace_runtime.eventlog.postgres import PostgresLog, create_log
from headrace_runtime.postgres.embedded import EmbeddedPostgres
from tests.contract.log_checks import accepted_of, check_log, read_raw
from tests.contract.log_owner import Notes, Owner
from tests.support.postgres_sessions import kill_and_wait

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

BATCH = 5
ACTED_BETWEEN = 1_000
ROUNDS = 3
LOCKED = 3
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"


async def write_on(owner: Owner, partition: int, done: asyncio.Event) -> None:
    """Through everything that happens to the server."""
    while not done.is_set():
        with suppress(UnclearAppend, Unavailable):
            if partition not in owner.places:
                await owner.claim(partition)
            await owner.append({partition: [owner.new_value() for _ in range(BATCH)]})


async def until_acted(notes: Notes, count: int) -> None:
    while True:
        if len(notes.acted) >= count:
            return
        await asyncio.sleep(0)


async def until_an_append_waits(server: EmbeddedPostgres, owner: Owner) -> asyncpg.Connection:
    """One append is in the server, at a head that the answered session has locked."""
    while True:
        if LOCKED in owner.places:
            break
        await asyncio.sleep(0)
    session = await asyncpg.connect(server.dsn())
    await session.execute(f"begin; select from headrace_log.head where part = {LOCKED} for update")
    while True:
        if await session.fetchval(WAITING):
            return session
        await asyncio.sleep(0.005)


async def write_through(server: EmbeddedPostgres, interrupt: Callable[[], None]) -> Notes:
    described = await create_log(server.dsn(), 4, application_name="tests")
    log = await PostgresLog.open(server.dsn(), application_name="tests", writers=4)
    notes = Notes()
    owners = [Owner(f"owner {n}", log, described.log_id, notes) for n in range(4)]
    done = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number, owner in enumerate(owners):
            tasks.create_task(write_on(owner, number, done))
        for _ in range(ROUNDS):
            await until_acted(notes, len(notes.acted) + ACTED_BETWEEN)
            session = await until_an_append_waits(server, owners[LOCKED])
            interrupt()
            session.terminate()
        await until_acted(notes, len(notes.acted) + ACTED_BETWEEN)
        done.set()
    raw = await read_raw(log, page=1_000)
    await log.close()
    check_log(raw, described.log_id, notes)
    accepted = accepted_of(raw, described.log_id)
    assert sum(len(records) for records in accepted.values()) >= len(notes.acted)
    assert len(notes.unclear) >= ROUNDS, "appends were under way"
    assert len(notes.claims) >= len(owners) + ROUNDS
    return notes


def test_a_restart_of_the_database_costs_claims_and_no_records(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home) as server:

        def restart() -> None:
            server.stop()
            server.start()

        notes = asyncio.run(write_through(server, restart))
    assert len(notes.acted) >= (ROUNDS + 1) * ACTED_BETWEEN


def test_a_killed_database_has_lost_no_acknowledged_record(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home) as server:

        def kill() -> None:
            kill_and_wait(server.pid)
            assert server.poll() is not None
            server.start()

        notes = asyncio.run(write_through(server, kill))
    assert len(notes.acted) >= (ROUNDS + 1) * ACTED_BETWEEN
