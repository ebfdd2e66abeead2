"""Leases on a real PostgreSQL: taken, shared, renewed, lost with a process, looked up."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import asyncpg
import pytest

from headrace_core.errors import Unavailable
from headrace_runtime.address import Address
from headrace_runtime.leases import LEASE, PATIENCE, RENEW_S, SCHEMA, Leases, Owners, migrations
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Pool, Session, open_pool
from tests.support.postgres import PostgresForTests

pytestmark = pytest.mark.postgres
HOLDER = Path(__file__).with_name("lease_holder.py")
PARTITIONS = 8
ALL = list(range(PARTITIONS))
FIRST, SECOND = Address("127.0.0.1", 7001), Address("127.0.0.1", 7002)


async def prepare(session: Session) -> None:
    await migrate(session, SCHEMA, migrations())


@pytest.fixture
def dsn(postgres: PostgresForTests) -> str:
    return postgres.fresh_database(postgres.template("scheduler", prepare))


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    pool = await open_pool(dsn, application_name="tests")
    yield pool
    await pool.close()


Open = Callable[..., Leases]


@pytest.fixture
async def scheduler(dsn: str) -> AsyncIterator[Open]:
    opened: list[Leases] = []

    def open_leases(name: str = "first", address: Address = FIRST) -> Leases:
        opened.append(Leases(dsn, name, address, PARTITIONS))
        return opened[-1]

    yield open_leases
    for leases in opened:
        await leases.close()


async def until_held(leases: Leases, count: int) -> Sequence[int]:
    async with asyncio.timeout(30):
        while True:
            held = await leases.acquire()
            if len(held) == count:
                return held
            await asyncio.sleep(0.05)


async def acquire_after_a_cut(leases: Leases) -> Sequence[int]:
    """The first call may be the one that finds the connection broken."""
    try:
        return await leases.acquire()
    except Unavailable:
        return await leases.acquire()


async def cut_connection(pool: Pool, leases: Leases) -> None:
    """As a network does: the server's side of the session ends, the process lives."""
    await pool.execute(
        """
        select pg_terminate_backend(pid, 5000) from pg_locks
        where locktype = 'advisory' and ((classid::bigint << 32) | objid::bigint) = $1
            and database = (select oid from pg_database where datname = current_database())
        """,
        leases.session,
    )


async def test_one_scheduler_holds_every_partition(scheduler: Open) -> None:
    leases = scheduler()
    assert leases.taken == frozenset()
    assert await leases.acquire() == ALL
    assert leases.taken == frozenset(ALL)
    assert await leases.acquire() == ALL
    assert leases.taken == frozenset(), "renewed, never away"


async def test_two_schedulers_share_and_never_hold_the_same(scheduler: Open) -> None:
    first, second = scheduler("first"), scheduler("second", SECOND)
    assert await first.acquire() == ALL
    assert await second.acquire() == []
    kept = await first.acquire()
    taken = await second.acquire()
    assert sorted([*kept, *taken]) == ALL
    assert len(kept) == len(taken) == PARTITIONS // 2


async def test_schedulers_that_take_at_once_do_not_both_get_a_lease(scheduler: Open) -> None:
    racers = [scheduler(f"racer {number}") for number in range(4)]
    parts: list[int] = []
    # What one gives up in a round, another takes in the next: shares settle within a few.
    for _ in range(20):
        held = await asyncio.gather(*(leases.acquire() for leases in racers))
        parts = [part for each in held for part in each]
        assert len(parts) == len(set(parts))
        if len(parts) == PARTITIONS and max(map(len, held)) == PARTITIONS // len(racers):
            break
    assert sorted(parts) == ALL


async def test_released_leases_are_free_for_the_next(scheduler: Open, pool: Pool) -> None:
    first = scheduler("first")
    await first.acquire()
    await first.release([0, 1])
    free = await pool.fetch("select part from headrace_scheduler.lease where owner is null")
    assert [row["part"] for row in free] == [0, 1]
    assert await first.acquire() == ALL
    assert first.taken == {0, 1}


async def test_a_scheduler_that_leaves_frees_its_leases_at_once(scheduler: Open) -> None:
    first, second = scheduler("first"), scheduler("second", SECOND)
    await first.acquire()
    await first.close()
    assert await second.acquire() == ALL


async def test_the_leases_of_a_killed_process_are_taken_over(dsn: str, scheduler: Open) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, str(HOLDER), dsn, str(PARTITIONS), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"8\n"
    second = scheduler("second", SECOND)
    assert await second.acquire() == []
    holder.kill()
    await holder.wait()
    assert await until_held(second, PARTITIONS) == ALL


async def test_a_process_that_only_hangs_keeps_its_leases_until_they_expire(
    dsn: str, scheduler: Open, pool: Pool
) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, str(HOLDER), dsn, str(PARTITIONS), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    await holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    try:
        second = scheduler("second", SECOND)
        # As if it had hung for longer than the patience, then for longer than the lease.
        await pool.execute(
            "update headrace_scheduler.lease_session set renewed = now() - $1::interval", LEASE
        )
        assert await second.acquire() == []
        await pool.execute(
            "update headrace_scheduler.lease_session set expires = now() where owner = 'holder'"
        )
        assert await second.acquire() == ALL
    finally:
        holder.kill()
        await holder.wait()


async def test_a_lost_connection_costs_no_lease_when_its_owner_comes_back(
    scheduler: Open, pool: Pool
) -> None:
    first, second = scheduler("first"), scheduler("second", SECOND)
    await first.acquire()
    await second.acquire()
    kept = await first.acquire()
    taken = await second.acquire()
    await cut_connection(pool, first)
    assert await second.acquire() == taken
    assert await acquire_after_a_cut(first) == kept
    assert await second.acquire() == taken


async def test_who_lost_his_own_connection_gives_the_others_time_to_come_back(
    scheduler: Open, pool: Pool
) -> None:
    first, second = scheduler("first"), scheduler("second", SECOND)
    await first.acquire()
    await second.acquire()
    await first.acquire()
    taken = await second.acquire()
    for leases in (first, second):
        await cut_connection(pool, leases)
    await pool.execute(
        "update headrace_scheduler.lease_session set renewed = now() - $1::interval", PATIENCE
    )
    assert await acquire_after_a_cut(second) == taken
    assert len(await until_held(second, PARTITIONS)) == PARTITIONS


async def test_an_owner_whose_session_expired_learns_what_it_lost(
    scheduler: Open, pool: Pool
) -> None:
    first, second = scheduler("first"), scheduler("second", SECOND)
    await first.acquire()
    await pool.execute("update headrace_scheduler.lease_session set expires = now()")
    assert await second.acquire() == ALL
    assert await first.acquire() == []


async def test_all_leases_of_an_owner_are_renewed_in_one_row(scheduler: Open, pool: Pool) -> None:
    leases = scheduler()
    await leases.acquire()
    before = await pool.fetch("select xmin, ctid, * from headrace_scheduler.lease order by part")
    expires = await pool.fetchval("select expires from headrace_scheduler.lease_session")
    await leases.acquire()
    assert before == await pool.fetch(
        "select xmin, ctid, * from headrace_scheduler.lease order by part"
    )
    assert await pool.fetchval("select expires from headrace_scheduler.lease_session") > expires


async def test_a_database_that_is_away_is_unavailable() -> None:
    leases = Leases("postgresql://nobody@127.0.0.1:1/nothing", "first", FIRST, PARTITIONS)
    with pytest.raises(Unavailable):
        await leases.acquire()
    await leases.close()


async def test_a_session_that_was_cut_off_between_two_statements_is_replaced(
    scheduler: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = scheduler()
    assert await leases.acquire() == ALL

    async def cut_off(*_: object) -> None:
        raise asyncpg.InternalClientError("got result for unknown protocol state 3")

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "fetch", cut_off)
        with pytest.raises(Unavailable, match="cannot be renewed"):
            await leases.acquire()
    assert await until_held(leases, PARTITIONS) == ALL


def test_a_dead_process_is_noticed_within_two_seconds_and_a_lease_outlasts_a_failover() -> None:
    assert PATIENCE.total_seconds() + RENEW_S < 2
    assert LEASE.total_seconds() > 9


async def test_owners_are_found_by_partition(scheduler: Open, pool: Pool) -> None:
    owners = Owners(pool, kept_ms=0)
    assert await owners.partitions() == 0
    assert await owners.address_of(0) is None
    leases = scheduler("first", SECOND)
    await leases.acquire()
    assert await owners.partitions() == PARTITIONS
    assert await owners.address_of(7) == SECOND
    await leases.release([7])
    assert await owners.address_of(7) is None


async def test_an_owner_is_kept_until_an_answer_says_otherwise(scheduler: Open, pool: Pool) -> None:
    leases = scheduler("first", FIRST)
    await leases.acquire()
    owners = Owners(pool, kept_ms=3_600_000)
    assert await owners.address_of(3) == FIRST
    await leases.release([3])
    assert await owners.address_of(3) == FIRST
    owners.learn(3, SECOND)
    assert await owners.address_of(3) == SECOND
    owners.learn(3, None)
    assert await owners.address_of(3) is None


async def test_before_the_first_scheduler_there_are_no_owners(database: str) -> None:
    pool = await open_pool(database, application_name="tests")
    assert await Owners(pool).address_of(0) is None
    await pool.close()
