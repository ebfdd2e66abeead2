"""Effect rows on a real PostgreSQL: the statements do what the rules say, also under races,
lost answers and cut connections."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg
import pytest

from headrace_core.errors import Unavailable
from headrace_core.ids import StepKey, TenantId, run_id
from headrace_core.payload import Stored
from headrace_runtime.delivery import effect_rules as rules
from headrace_runtime.delivery.effect_rules import (
    Claim,
    Close,
    GiveUp,
    Guard,
    Row,
    RowStatus,
    Written,
)
from headrace_runtime.delivery.effects import (
    SCHEDULER,
    SCHEMA,
    EffectKey,
    PostgresEffects,
    migrations,
)
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Pool, Session, open_connection, open_pool
from tests.support.cutting_proxy import CuttingProxy, cutting_proxy
from tests.support.postgres import PostgresForTests

pytestmark = pytest.mark.postgres
DAY = 20_000
RUN = run_id(3, DAY, bytes(10))
AT = EffectKey.of(TenantId("acme"), RUN, StepKey("pay"))
ME, OTHER = "exec-1/1", "exec-2/1"
LEASE_MS = 60_000
RESULT = Stored(b"sealed result")
KILL_WAITING = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where application_name = 'tests' and wait_event_type = 'Lock' limit 1"
)
C, D, F = RowStatus.CLAIMED, RowStatus.DONE, RowStatus.FAILED_BEFORE_EFFECT


async def _prepare(session: Session) -> None:
    await migrate(session, SCHEMA, migrations())


@pytest.fixture
def dsn(postgres: PostgresForTests) -> str:
    return postgres.fresh_database(postgres.template("effects", _prepare))


@asynccontextmanager
async def opened(dsn: str, connections_max: int = 4) -> AsyncGenerator[Pool]:
    pool = await open_pool(dsn, application_name="tests", connections_max=connections_max)
    try:
        yield pool
    finally:
        pool.terminate()


async def put(pool: Pool, row: Row | None) -> None:
    """Make the stored row this one, whatever it was."""
    await pool.execute("delete from headrace_effects.effect")
    if row is None:
        return
    await pool.execute(
        "insert into headrace_effects.effect values ($1, $2, $3, $4, $5, $6, $7, "
        "now() + $8 * interval '1 hour', $9, $10)",
        *AT,
        *(row.attempt, row.claimant, row.status, 1 if row.live else -1, row.tainted),
        row.result or None,
    )


def all_rows() -> list[Row | None]:
    found: list[Row | None] = [None]
    for attempt in (1, 2, 3):
        for claimant in (ME, OTHER):
            found.append(Row(status=D, attempt=attempt, claimant=claimant, result=RESULT))
            found.append(Row(status=F, attempt=attempt, claimant=claimant))
            found += [
                Row(status=C, attempt=attempt, claimant=claimant, live=live, tainted=tainted)
                for live in (True, False)
                for tainted in (True, False)
            ]
    return found


@dataclass(frozen=True)
class Change:
    name: str
    ask: Callable[[PostgresEffects], Awaitable[object]]
    decide: Callable[[Row | None], tuple[Row | None, object]]


CHANGES = [
    *(
        Change(
            f"claim with {guard.name}",
            lambda effects, guard=guard: effects.claim(AT, 2, ME, LEASE_MS, guard),
            lambda row, guard=guard: rules.claim(row, 2, ME, guard),
        )
        for guard in Guard
    ),
    Change(
        "mark_done",
        lambda effects: effects.mark_done(AT, 2, ME, RESULT),
        lambda row: rules.mark_done(row, 2, ME, RESULT),
    ),
    Change(
        "mark_failed",
        lambda effects: effects.mark_failed(AT, 2, ME),
        lambda row: rules.mark_failed(row, 2, ME),
    ),
    Change(
        "untaint",
        lambda effects: effects.untaint(AT, 2, ME),
        lambda row: rules.untaint(row, 2, ME),
    ),
    Change(
        "renew",
        lambda effects: effects.renew(AT, 2, ME, LEASE_MS),
        lambda row: rules.renew(row, 2, ME),
    ),
    Change(
        "give_up",
        lambda effects: effects.give_up(AT, 2, ME),
        lambda row: rules.give_up(row, 2, ME),
    ),
    Change(
        "close",
        lambda effects: effects.close(AT, 2),
        lambda row: rules.close(row, 2, SCHEDULER),
    ),
]


def word(answer: object) -> object:
    return getattr(answer, "claim", getattr(answer, "word", answer))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
async def test_every_statement_does_to_every_row_what_the_rules_say(
    dsn: str, change: Change
) -> None:
    async with opened(dsn) as pool:
        effects = PostgresEffects(pool)
        await effects.close(AT, 1)
        for row in all_rows():
            await put(pool, row)
            after, expected = change.decide(row)
            assert word(await change.ask(effects)) is expected, row
            stored = await effects.read(AT)
            if stored is not None and stored.status is not C:
                stored = replace(stored, live=False)
            assert stored == (after or row), row


async def test_a_done_row_gives_its_result_to_whoever_asks(dsn: str) -> None:
    async with opened(dsn) as pool:
        effects = PostgresEffects(pool)
        assert (await effects.claim(AT, 1, ME, LEASE_MS, Guard.NONE)).claim is Claim.CALL
        assert await effects.mark_done(AT, 1, ME, RESULT) is Written.WRITTEN
        claimed = await effects.claim(AT, 2, OTHER, LEASE_MS, Guard.NONE)
        assert (claimed.claim, claimed.result) == (Claim.DONE, RESULT)
        assert (await effects.give_up(AT, 2, OTHER)).result == RESULT
        closed = await effects.close(AT, 2)
        assert (closed.word, closed.result) == (Close.DONE, RESULT)


async def test_a_lease_lapses_by_the_clock_of_the_database(dsn: str) -> None:
    async with opened(dsn) as pool:
        effects = PostgresEffects(pool)
        await effects.claim(AT, 1, ME, LEASE_MS, Guard.KEY)
        assert (await effects.claim(AT, 2, OTHER, LEASE_MS, Guard.KEY)).claim is Claim.WAIT
        await pool.execute("update headrace_effects.effect set lease_until = now()")
        assert (await effects.claim(AT, 2, OTHER, LEASE_MS, Guard.KEY)).claim is Claim.CALL_AGAIN
        assert await effects.mark_done(AT, 1, ME, RESULT) is Written.REFUSED


async def test_of_two_executors_that_race_exactly_one_calls(dsn: str) -> None:
    async with opened(dsn) as first, opened(dsn) as second:
        sides = [(PostgresEffects(first), ME), (PostgresEffects(second), OTHER)]
        for number in range(40):
            at = AT._replace(key=f"step-{number}/0/do")
            answers = await asyncio.gather(
                *(effects.claim(at, 1, who, LEASE_MS, Guard.NONE) for effects, who in sides)
            )
            assert sorted(answer.claim.name for answer in answers) == ["CALL", "WAIT"]
            words = await asyncio.gather(
                *(effects.mark_failed(at, 1, who) for effects, who in sides)
            )
            assert sorted(written.name for written in words) == ["REFUSED", "WRITTEN"]


async def test_of_two_executors_that_race_for_a_lapsed_claim_one_takes_it_over(
    dsn: str,
) -> None:
    async with opened(dsn) as first, opened(dsn) as second:
        sides = [(PostgresEffects(first), ME), (PostgresEffects(second), OTHER)]
        for number in range(20):
            at = AT._replace(key=f"step-{number}/0/do")
            await sides[0][0].claim(at, 1, "gone/1", 0, Guard.PROBE)
            answers = await asyncio.gather(
                *(effects.claim(at, 2, who, LEASE_MS, Guard.PROBE) for effects, who in sides)
            )
            assert sorted(answer.claim.name for answer in answers) == ["PROBE", "WAIT"]


async def test_a_claim_and_the_schedulers_close_race_to_one_truth(dsn: str) -> None:
    async with opened(dsn) as first, opened(dsn) as second:
        executor, scheduler = PostgresEffects(first), PostgresEffects(second)
        for number in range(40):
            at = AT._replace(key=f"step-{number}/0/do")
            claimed, closed = await asyncio.gather(
                executor.claim(at, 1, ME, LEASE_MS, Guard.NONE), scheduler.close(at, 1)
            )
            pair = (claimed.claim, closed.word)
            assert pair in ((Claim.CALL, Close.UNKNOWN), (Claim.NO_EFFECT, Close.NO_EFFECT))


@asynccontextmanager
async def through_proxy(dsn: str) -> AsyncGenerator[tuple[PostgresEffects, CuttingProxy]]:
    async with (
        cutting_proxy(dsn) as (through, proxy),
        opened(through, connections_max=1) as pool,
    ):
        yield PostgresEffects(pool), proxy


@pytest.mark.parametrize("guard", Guard)
async def test_a_claim_whose_answer_is_lost_is_known_to_be_ours(dsn: str, guard: Guard) -> None:
    async with through_proxy(dsn) as (effects, proxy):
        await effects.claim(AT._replace(key="warm"), 1, ME, LEASE_MS, guard)
        proxy.lose_next_answer()
        assert (await effects.claim(AT, 1, ME, LEASE_MS, guard)).claim is Claim.CALL
        assert proxy.cuts == 1
        stored = await effects.read(AT)
        assert stored == Row(status=C, attempt=1, claimant=ME, live=True)


async def test_an_end_whose_answer_is_lost_is_known_to_be_written(dsn: str) -> None:
    async with through_proxy(dsn) as (effects, proxy):
        for succeeds in (True, False):
            for warm in (True, False):
                at = AT._replace(key=f"{succeeds}-{warm}")
                await effects.claim(at, 1, ME, LEASE_MS, Guard.NONE)
                if not warm:
                    proxy.lose_next_answer()
                if succeeds:
                    written = await effects.mark_done(at, 1, ME, RESULT)
                else:
                    written = await effects.mark_failed(at, 1, ME)
                assert written is Written.WRITTEN
        assert proxy.cuts == 2


async def test_a_session_killed_while_it_waits_for_the_row_tries_again(dsn: str) -> None:
    blocker = await open_connection(dsn, application_name="blocker")
    async with opened(dsn) as pool:
        effects = PostgresEffects(pool)
        await effects.close(AT, 1)
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("select from headrace_effects.effect for update")
        asked = asyncio.create_task(effects.claim(AT, 2, ME, LEASE_MS, Guard.NONE))
        killed = False
        while not killed:
            killed = bool(await blocker.fetchval(KILL_WAITING))
        await transaction.commit()
        assert (await asked).claim is Claim.CALL
    await blocker.close()


async def test_a_database_that_stays_away_is_unavailable(dsn: str) -> None:
    async with opened(dsn) as pool:
        await pool.execute("alter table headrace_effects.effect rename to away")
        with pytest.raises(Unavailable, match="effect rows"):
            await PostgresEffects(pool, patience_s=0.05).close(AT, 1)


async def test_each_day_of_runs_has_a_partition_made_by_its_first_row(dsn: str) -> None:
    async with opened(dsn) as pool:
        effects = PostgresEffects(pool)
        days = [DAY, DAY + 1, DAY + 2]
        keys = [AT._replace(day=day, key=str(number)) for day in days for number in range(8)]
        assert await effects.read(keys[0]) is None, "reading makes no partition"
        await asyncio.gather(*(effects.give_up(key, 1, ME) for key in keys))
        partitions = await pool.fetch(
            "select inhrelid::regclass::text as name from pg_inherits "
            "where inhparent = 'headrace_effects.effect'::regclass order by 1"
        )
        names = [row["name"] for row in partitions]
        assert names == [f"headrace_effects.effect_{day}" for day in days]


async def test_a_role_that_may_only_write_rows_can_be_the_first_of_a_day(
    dsn: str, postgres: PostgresForTests
) -> None:
    async with opened(dsn) as pool:
        await pool.execute("create role effects_writer; set role effects_writer; reset role")
        await pool.execute("grant usage on schema headrace_effects to effects_writer")
        await pool.execute(
            "grant select, insert, update, delete on all tables in schema headrace_effects "
            "to effects_writer"
        )
    writer = await asyncpg.connect(dsn)
    try:
        await writer.execute("set role effects_writer")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await writer.execute("create table headrace_effects.other ()")
        await writer.execute("select headrace_effects.ensure_day(7)")
        await writer.execute(
            "insert into headrace_effects.effect values (7, 't', 'r', 'k', 1, 'c', 1, now(), false)"
        )
    finally:
        await writer.close()
        await asyncio.to_thread(_drop_role, dsn)


def _drop_role(dsn: str) -> None:
    async def drop() -> None:
        session = await asyncpg.connect(dsn)
        try:
            await session.execute("drop owned by effects_writer; drop role effects_writer")
        finally:
            await session.close()

    asyncio.run(drop())


async def test_what_an_attempt_that_never_claimed_may_say(dsn: str) -> None:
    async with opened(dsn) as pool:
        effects = PostgresEffects(pool)
        assert (await effects.give_up(AT, 1, ME)).word is GiveUp.NO_EFFECT
        await effects.claim(AT, 2, OTHER, LEASE_MS, Guard.KEY)
        assert (await effects.give_up(AT, 3, ME)).word is GiveUp.UNSURE
        assert (await effects.give_up(AT, 1, ME)).word is GiveUp.SUPERSEDED
