"""What only the PostgreSQL log has: its creation, its faults, and a late commit."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from headrace_core.errors import Fenced, SetupError, Unavailable, UnclearAppend, WrongLog
from headrace_runtime.eventlog.port import Batch
from headrace_runtime.eventlog.postgres import STALE_OWNER, PostgresLog, create_log
from headrace_runtime.eventlog.postgres_sessions import STATEMENTS

pytestmark = pytest.mark.postgres

WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"


async def opened(dsn: str, deadline_ms: int = 10_000) -> PostgresLog:
    return await PostgresLog.open(dsn, application_name="tests", deadline_ms=deadline_ms, wait_s=1)


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresLog]:
    await create_log(database, 4, application_name="tests")
    log = await opened(database)
    yield log
    await log.close()


@pytest.fixture
async def admin(database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    session = await asyncpg.connect(database)
    yield session
    await session.close()


async def until_waiting(admin: "asyncpg.Connection[asyncpg.Record]", sessions: int) -> None:
    """As soon as so many sessions wait for a lock."""
    while True:
        if await admin.fetchval(WAITING) == sessions:
            return
        await asyncio.sleep(0.005)


async def test_many_that_create_the_log_at_once_get_the_same_one(database: str) -> None:
    created = await asyncio.gather(
        *(create_log(database, 8, application_name="tests") for _ in range(4))
    )
    assert len(set(created)) == 1
    assert created[0].partitions == 8
    assert await create_log(database, 64, application_name="tests") == created[0]
    log = await opened(database)
    assert await log.ends() == [0] * 8
    await log.close()


@pytest.mark.parametrize("partitions", [0, -4, 3, 12, 2048])
async def test_the_number_of_partitions_is_a_power_of_two(partitions: int) -> None:
    with pytest.raises(SetupError, match="a power of two from 1 to 1024"):
        await create_log("postgresql://nowhere", partitions, application_name="tests")


async def test_who_comes_before_the_log_is_created_waits_for_it(database: str) -> None:
    with pytest.raises(Unavailable, match="start the scheduler first"):
        await PostgresLog.open(database, application_name="tests", wait_s=0)
    opening = asyncio.create_task(opened(database))
    created = await create_log(database, 2, application_name="tests")
    log = await opening
    assert await log.describe() == created
    await log.close()


async def test_an_append_in_the_server_that_comes_after_the_next_claim_is_refused(
    database: str, log: PostgresLog, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Its client has long given up; the append waits for the head behind the next claim."""
    assert await log.claim(0, b"claim") == 0
    blocker, abandoned = await asyncpg.connect(database), await asyncpg.connect(database)
    held = blocker.transaction()
    await held.start()
    await blocker.execute("select from headrace_log.head where part = 0 for update")
    claiming = asyncio.create_task(log.claim(0, b"next claim"))
    await until_waiting(admin, 1)
    arguments = [0], [0], [1], [1], [b"late"]
    appending = asyncio.create_task(abandoned.fetch(STATEMENTS["append"], *arguments))
    await until_waiting(admin, 2)
    await held.rollback()
    assert await claiming == 1
    with pytest.raises(asyncpg.PostgresError) as refusal:
        await appending
    assert refusal.value.sqlstate == STALE_OWNER
    assert [entry.record for entry in await log.read(0, 0, 10)] == [b"claim", b"next claim"]
    assert await log.append([Batch(0, 1, 2, [b"good"])])
    await blocker.close()
    await abandoned.close()


async def test_an_append_that_is_cancelled_leaves_nothing_behind_in_the_server(
    database: str, log: PostgresLog, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await log.claim(0, b"claim")
    await log.append([Batch(0, 0, 1, [b"good"])])
    blocker = await asyncpg.connect(database)
    async with blocker.transaction():
        await blocker.execute("select from headrace_log.head where part = 0 for update")
        appending = asyncio.create_task(log.append([Batch(0, 0, 2, [b"given up"])]))
        await until_waiting(admin, 1)
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        await until_waiting(admin, 0)
    assert await log.claim(0, b"next claim") == 2
    await blocker.close()


async def test_an_append_that_the_server_gives_up_has_stored_nothing(
    database: str, log: PostgresLog
) -> None:
    impatient = await opened(database, deadline_ms=100)
    await impatient.claim(0, b"claim")
    blocker = await asyncpg.connect(database)
    async with blocker.transaction():
        await blocker.execute("select from headrace_log.head where part = 0 for update")
        with pytest.raises(UnclearAppend, match="nothing was stored: canceling statement"):
            await impatient.append([Batch(0, 0, 1, [b"late"])])
    assert await log.ends() == [1, 0, 0, 0]
    await blocker.close()
    await impatient.close()


async def test_owners_with_the_same_partitions_in_another_order_do_not_deadlock(
    database: str, log: PostgresLog
) -> None:
    other = await opened(database)
    heads = [await log.claim(partition, b"claim") for partition in range(4)]
    forwards = [Batch(number, heads[number], 1, [b"x"]) for number in range(4)]
    for _ in range(20):
        results = await asyncio.gather(
            log.append(forwards), other.append(forwards[::-1]), return_exceptions=True
        )
        refused = [one for one in results if isinstance(one, Fenced)]
        stored = [one for one in results if not isinstance(one, BaseException)]
        assert len(refused) + len(stored) == 2, results
    assert await log.ends() == [2, 2, 2, 2]
    await other.close()


async def test_a_refusal_says_why(log: PostgresLog) -> None:
    await log.claim(0, b"claim")
    await log.claim(1, b"claim")
    await log.claim(1, b"claim")
    await log.claim(2, b"claim")
    with pytest.raises(Fenced) as refusal:
        await log.append([Batch(0, 0, 5, [b"x"]), Batch(1, 0, 1, [b"x"]), Batch(2, 0, 1, [b"x"])])
    assert str(refusal.value) == (
        "partition 0 was rewound to offset 1, below 5; "
        "partition 1 was claimed at offset 1 since this owner's claim at 0: nothing was stored"
    )
    assert refusal.value.partitions == (0, 1)


async def test_a_read_only_database_is_named_as_such(
    database: str, log: PostgresLog, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await log.claim(0, b"claim")
    name = await admin.fetchval("select current_database()")
    await admin.execute(f"alter database {name} set default_transaction_read_only = on")
    standby = await opened(database)
    with pytest.raises(UnclearAppend, match=r"nothing was stored: the database is read-only\."):
        await standby.append([Batch(0, 0, 1, [b"x"])])
    assert len(await standby.read(0, 0, 10)) == 1
    await standby.close()


async def test_a_full_disk_is_named_as_such_and_forgotten_once_there_is_room(
    log: PostgresLog, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await log.claim(0, b"claim")
    await admin.execute("""
        create function public.fill() returns trigger language plpgsql as $$ begin
            raise exception using errcode = 'disk_full', message = 'could not extend file';
        end $$;
        create trigger full_disk before insert on headrace_log.record
            execute function public.fill();
    """)
    with pytest.raises(UnclearAppend, match=r"disk is full \(could not extend file\)\. Free"):
        await log.append([Batch(0, 0, 1, [b"x"])])
    await admin.execute("drop trigger full_disk on headrace_log.record")
    await log.append([Batch(0, 0, 1, [b"x"])])
    assert await log.ends() == [2, 0, 0, 0]


async def test_a_login_that_may_only_read_is_told_so(
    database: str, log: PostgresLog, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await log.claim(0, b"claim")
    await admin.execute("""
        create role log_reader login password 'secret';
        grant usage on schema headrace_log to log_reader;
        grant select on all tables in schema headrace_log to log_reader;
    """)
    try:
        place = database.rpartition("@")[2]
        reader = await opened(f"postgresql://log_reader:secret@{place}")
        assert len(await reader.read(0, 0, 10)) == 1
        with pytest.raises(SetupError, match="permission denied"):
            await reader.append([Batch(0, 0, 1, [b"x"])])
        await reader.close()
    finally:
        await admin.execute("drop owned by log_reader; drop role log_reader")


async def test_commits_are_durable_even_where_the_server_says_otherwise(
    database: str, log: PostgresLog, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """The test server runs with synchronous_commit off."""
    assert await admin.fetchval("show synchronous_commit") == "off"
    await log.claim(0, b"claim")
    await admin.execute("""
        create function public.note() returns trigger language plpgsql as $$ begin
            assert current_setting('synchronous_commit') = 'on';
            return null;
        end $$;
        create trigger is_durable after insert on headrace_log.record
            execute function public.note();
    """)
    await log.append([Batch(0, 0, 1, [b"x"])])
    await log.claim(0, b"claim")


async def test_a_connection_that_broke_while_idle_is_replaced_unnoticed(
    log: PostgresLog, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await log.claim(0, b"claim")
    await log.read(0, 0, 1)
    await admin.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where pid <> pg_backend_pid()"
        " and datname = current_database()"
    )
    assert len(await log.read(0, 0, 1)) == 1
    while True:
        try:
            await log.append([Batch(0, 0, 1, [b"x"])])
            break
        except UnclearAppend:
            # Nothing was sent on the dead connection, but that is not known here.
            continue
    assert await log.ends() == [2, 0, 0, 0]


async def test_another_log_under_the_same_address_is_refused(
    database: str, log: PostgresLog, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await log.claim(0, b"claim")
    await admin.execute("drop schema headrace_log cascade")
    created = await create_log(database, 4, application_name="tests")
    await admin.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where pid <> pg_backend_pid()"
        " and datname = current_database()"
    )
    with pytest.raises(WrongLog, match=f"now holds log {created.log_id.hex()} instead of"):
        await log.ends()
    other = await opened(database)
    assert await other.describe() == created
    await other.close()


async def test_old_records_are_deleted_in_slices(
    log: PostgresLog, admin: "asyncpg.Connection[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_runtime.eventlog.postgres.DELETE_RECORDS", 7)
    await log.claim(0, b"claim")
    await log.append([Batch(0, 0, 1, [b"x"] * 99)])
    await log.delete_below(0, 90)
    assert await admin.fetchval("select array_agg(off order by off) from headrace_log.record") == [
        *range(90, 100)
    ]
