"""What the projector writes, and that nothing on the way changes it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast

import asyncpg
import pytest

from headrace_core.errors import (
    Fenced,
    InvalidInput,
    LogRewound,
    NotFound,
    Unavailable,
    WrongLog,
)
from headrace_core.ids import (
    LetterId,
    RunId,
    StepKey,
    TenantId,
    letter_id,
    partition_of,
    slot_of,
)
from headrace_core.partition import events as pev
from headrace_core.payload import Stored
from headrace_core.run import events as ev
from headrace_core.run.state import RunState
from headrace_core.run.status import RunStatus
from headrace_history.adapters.postgres.rows import run_row
from headrace_history.adapters.postgres.tenants import TenantSchemas, opaque_name
from headrace_history.domain.projections.journal import check_chain
from headrace_history.rebuild import project_to_end
from headrace_runtime.eventlog.memory import MemoryLog, StaleAppend
from headrace_runtime.postgres.pool import Pool
from tests.integration.history.conftest import (
    LAZY,
    WAIT_S,
    History,
    running_history,
)
from tests.unit.history.recorded_runs import (
    LOG_ID,
    TENANT,
    LogWriter,
    assigned,
    ready,
    run_of,
    sequential_run,
    started,
    succeeded,
    wandering_run,
)

pytestmark = pytest.mark.postgres
TABLES = ("run", "journal", "usage", "approval", "dead_letter")


def first_fault(done: asyncio.Task[None]) -> BaseException | None:
    fault = done.exception()
    while isinstance(fault, BaseExceptionGroup):
        fault = cast("BaseExceptionGroup[BaseException]", fault).exceptions[0]
    return fault


async def rows_of(pool: Pool, schema: str, table: str) -> list[tuple[object, ...]]:
    """In an order of their own: values may be null."""
    rows = await pool.fetch(f"select * from {schema}.{table}")
    return sorted((tuple(row) for row in rows), key=repr)


async def assert_row_is_the_fold(history: History, tenant: TenantId, run: RunId) -> RunState:
    schema = await history.flushed(tenant)
    stored = await history.pool.fetchrow(f"select * from {schema}.run where run = $1", run)
    assert stored is not None
    row = run_row(tenant, stored)
    state = (await history.replayer.fold(tenant, run)).state
    assert (row.status, row.sequence, row.chain) == (state.status, state.sequence, state.chain)
    assert (row.started_ms, row.ended_ms or 0) == (state.started_ms, state.ended_ms)
    assert (row.flow, row.version, row.plan) == (state.flow, state.version, state.plan)
    assert row.error_type == (state.error.type if state.error else "")
    return state


async def write_wandering_runs(
    writer: LogWriter, numbers: Sequence[int], tenants: Sequence[TenantId]
) -> list[tuple[TenantId, RunId]]:
    """Turns of all runs mixed, as a scheduler would write them."""
    lives = [(tenants[n % len(tenants)], run_of(n), wandering_run(n)) for n in numbers]
    while any(turns for _, _, turns in lives):
        for tenant, run, turns in lives:
            if turns:
                await writer.turn(run, *turns.pop(0), tenant=tenant)
    return [(tenant, run) for tenant, run, _ in lives]


async def test_rows_and_chunks_of_many_tenants_equal_the_folds(
    history: History, writer: LogWriter
) -> None:
    tenants = [TenantId(name) for name in ("acme", "bolt", "crane")]
    for tenant, run in await write_wandering_runs(writer, range(60), tenants):
        await assert_row_is_the_fold(history, tenant, run)
        turns = await history.replayer.turns(tenant, run)
        assert check_chain(run, tenant, turns) == (writer.runs[run])
    assert len({await history.schemas.find(tenant) for tenant in tenants}) == 3


async def test_a_wide_flush_by_copy_writes_the_same_as_a_narrow_one_by_script(
    database: str, writer: LogWriter
) -> None:
    wide, narrow = TenantId("wide"), TenantId("narrow")
    async with running_history(database, writer, LAZY) as history:
        for number in range(40):
            await writer.run(run_of(number), sequential_run(3, b"\x00'\\"), wide)
        await writer.run(run_of(0, 5), sequential_run(3, b"\x00'\\"), narrow)
        wide_rows = await rows_of(history.pool, await history.flushed(wide), "run")
        [narrow_row] = await rows_of(history.pool, await history.flushed(narrow), "run")
        varying = {"run", "off", "chain", "time_ms", "started_ms", "ended_ms"}
        names = await history.pool.fetch(
            "select column_name from information_schema.columns where table_schema = $1 "
            "and table_name = 'run' order by ordinal_position",
            opaque_name(wide),
        )
        kept = [place for place, [name] in enumerate(names) if name not in varying]
        assert {tuple(row[place] for place in kept) for row in wide_rows} == {
            tuple(narrow_row[place] for place in kept)
        }
        assert len(wide_rows) == 40


async def test_a_run_longer_than_a_chunk_is_read_whole_and_in_order(
    history: History, writer: LogWriter
) -> None:
    run = run_of(1)
    await writer.run(run, sequential_run(100, b"payload"))
    state = await assert_row_is_the_fold(history, TENANT, run)
    assert (state.status, len(state.steps)) == (RunStatus.SUCCEEDED, 100)
    schema = await history.flushed(TENANT)
    chunks = await history.pool.fetch(f"select first, last from {schema}.journal order by off")
    assert chunks[0]["first"] == 1
    assert all(one["last"] + 1 == two["first"] for one, two in pairwise(chunks))


async def test_an_open_run_is_written_once_it_has_waited(
    history: History, writer: LogWriter
) -> None:
    run = run_of(1)
    await writer.turn(run, started(), ready("a"), assigned("a"))
    await history.projector.passed_ends(WAIT_S)
    open_run = history.projector.open_run(TENANT, run)
    assert open_run is not None
    await history.until(lambda: not open_run.turns)
    schema = await history.schemas.find(TENANT)
    assert await history.pool.fetchval(f"select status from {schema}.run") == RunStatus.RUNNING
    await writer.turn(run, succeeded("a"), ev.RunSucceeded(output=Stored(b"")))
    state = await assert_row_is_the_fold(history, TENANT, run)
    assert state.sequence == 5


async def test_after_a_crash_the_projection_goes_on_where_the_database_stands(
    database: str, writer: LogWriter
) -> None:
    tenants = [TENANT, TenantId("bolt")]
    lives = [(tenants[n % 2], run_of(n), wandering_run(n, 8)) for n in range(40)]
    written = 0
    while any(turns for _, _, turns in lives):
        async with running_history(database, writer, LAZY) as history:
            for tenant, run, turns in lives:
                for _ in range(min(3, len(turns))):
                    await writer.turn(run, *turns.pop(0), tenant=tenant)
                    written += 1
            await history.projector.passed_ends(WAIT_S)
            # Only one tenant's turns are written: the other's come from the log again.
            await history.projector.flush(tenants[written % 2])
    async with running_history(database, writer, LAZY) as history:
        for tenant, run, _ in lives:
            await assert_row_is_the_fold(history, tenant, run)


async def test_a_lost_database_session_interrupts_and_nothing_is_lost_or_doubled(
    history: History, writer: LogWriter
) -> None:
    for number in range(30):
        await writer.run(run_of(number), sequential_run(4))
        if number % 5 == 0:
            await history.pool.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'headrace-history-projector'"
            )
    for run in map(run_of, range(30)):
        state = await assert_row_is_the_fold(history, TENANT, run)
        assert state.sequence == writer.runs[run][0]
    usage = await history.pool.fetchrow(f"select runs, attempts from {opaque_name(TENANT)}.usage")
    assert usage is not None and tuple(usage) == (30, 120)


async def test_runs_that_wait_leave_memory_and_come_back_with_their_next_turn(
    database: str, writer: LogWriter
) -> None:
    settings = replace(LAZY, quiet_runs_max=2)
    async with running_history(database, writer, settings) as history:
        asked = ev.ApprovalRequested(step=StepKey("a"), request=Stored(b"who"))
        for number in range(10):
            await writer.turn(run_of(number), started(), ready("a"), asked, ev.RunWaiting())
        await history.flushed(TENANT)

        def in_memory() -> int:
            runs = map(run_of, range(10))
            return sum(history.projector.open_run(TENANT, run) is not None for run in runs)

        await history.until(lambda: in_memory() == 2)
        decided = ev.ApprovalDecided(step=StepKey("a"), decision="yes", answer=Stored(b"ok"))
        for number in range(10):
            await writer.turn(run_of(number), decided, ev.RunResumed(), succeeded("a", b"", 0))
            await writer.turn(run_of(number), ev.RunSucceeded(output=Stored(b"")))
        for number in range(10):
            await assert_row_is_the_fold(history, TENANT, run_of(number))
        schema = await history.flushed(TENANT)
        approvals = await history.pool.fetch(f"select decision, answer from {schema}.approval")
        assert {tuple(row) for row in approvals} == {("yes", b"ok")}


async def test_a_run_is_loaded_while_a_flush_is_held_up(database: str, writer: LogWriter) -> None:
    async with running_history(database, writer, replace(LAZY, quiet_runs_max=0)) as history:
        await writer.turn(run_of(1), started(), ready("a"), assigned("a"))
        schema = await history.flushed(TENANT)
        await history.until(lambda: history.projector.open_run(TENANT, run_of(1)) is None)
        await writer.turn(run_of(2), started())
        await history.projector.passed_ends(WAIT_S)
        async with history.pool.acquire() as connection, connection.transaction():
            await connection.execute(f"lock table {schema}.journal in exclusive mode")
            flushing = asyncio.ensure_future(history.projector.flush(TENANT))
            await writer.turn(run_of(1), succeeded("a"), ev.RunSucceeded(output=Stored(b"")))
            await history.projector.passed_ends(WAIT_S)
            assert not flushing.done()
        await flushing
        await assert_row_is_the_fold(history, TENANT, run_of(1))
        assert history.logged == []


async def test_an_unknown_event_stops_its_partition_and_the_others_go_on(
    history: History, writer: LogWriter
) -> None:
    stopped, running = run_of(0, 0), run_of(0, 1023)
    await writer.run(stopped, sequential_run(1))
    # Field 99 of RunEvent: a kind that a later version may write.
    unknown_body = b"\x0a\x03\x9a\x06\x00"
    await writer.append({0: [writer.record(0, TENANT, run_of(9, 0), 1, b"x", unknown_body)]})
    await writer.run(run_of(2, 0), sequential_run(1))
    await writer.run(running, sequential_run(1))
    await assert_row_is_the_fold(history, TENANT, running)
    assert (await history.replayer.row(TENANT, stopped)).ended
    with pytest.raises(Unavailable, match=r"HR-3006.*partition 0 .*offset 3.*does not know"):
        await history.replayer.fold(TENANT, run_of(2, 0))
    assert b"partition stopped" in history.logged[-1]


async def test_a_changed_record_stops_its_partition(history: History, writer: LogWriter) -> None:
    run = run_of(0, 0)
    await writer.turn(run, started(), ready("a"))
    sequence, chain = writer.runs[run]
    writer.runs[run] = sequence, bytes(32)
    await writer.turn(run, assigned("a"))
    with pytest.raises(Unavailable, match=r"HR-3005.*does not continue the chain"):
        await history.replayer.fold(TENANT, run_of(5, 0))
    assert chain == (await history.replayer.row(TENANT, run)).chain


async def test_a_second_history_takes_over_and_the_first_stops(
    history: History, database: str, writer: LogWriter
) -> None:
    await writer.run(run_of(1), sequential_run(1))
    await history.flushed(TENANT)
    async with running_history(database, writer) as second:
        await second.projector.passed_ends(WAIT_S)
        await writer.run(run_of(2), sequential_run(1))
        await assert_row_is_the_fold(second, TENANT, run_of(2))
        [done], _ = await asyncio.wait([history.running])
        assert isinstance(first_fault(done), Fenced)


async def test_projections_of_another_log_are_refused(history: History, writer: LogWriter) -> None:
    await history.projector.passed_ends(WAIT_S)
    with pytest.raises(WrongLog, match="rebuild"):
        await history.store.claim(b"another-log-id--", 4)


async def test_a_log_that_was_rewound_is_noticed_at_the_start(
    database: str, writer: LogWriter
) -> None:
    async with running_history(database, writer) as history:
        await writer.run(run_of(0, 0), sequential_run(2))
        await history.flushed(TENANT)
    restored = LogWriter(MemoryLog(LOG_ID, 4, StaleAppend.REFUSES), LOG_ID, 4)
    await restored.claim_all()
    await restored.run(run_of(7, 0), sequential_run(2))
    async with running_history(database, restored) as history:
        [done], _ = await asyncio.wait([history.running])
        fault = first_fault(done)
        assert isinstance(fault, LogRewound)
        assert "rebuild" in fault.message


async def test_a_rebuild_gives_the_same_rows(database: str, writer: LogWriter) -> None:
    tenants = [TENANT, TenantId("bolt")]
    async with running_history(database, writer) as history:
        await write_wandering_runs(writer, range(50), tenants)
        await writer.turn(run_of(99), started(), ready("a"), assigned("a"))
        before: dict[str, dict[str, list[tuple[object, ...]]]] = {}
        for tenant in tenants:
            schema = await history.flushed(tenant)
            before[schema] = {table: await rows_of(history.pool, schema, table) for table in TABLES}
    async with running_history(database, writer) as idle:
        idle.running.cancel()
        await idle.store.empty()
        assert await rows_of(idle.pool, opaque_name(TENANT), "journal") == []
        assert await project_to_end(writer.log, idle.store) == []
        for schema, tables in before.items():
            for table in ("run", "usage", "approval"):
                assert await rows_of(idle.pool, schema, table) == tables[table]
        # Chunks may be cut elsewhere; the turns in them are the same.
        for tenant, number in ((TENANT, 0), (TenantId("bolt"), 1)):
            turns = await idle.replayer.turns_now(tenant, run_of(number), 0)
            assert check_chain(run_of(number), tenant, turns) == writer.runs[run_of(number)]


async def test_the_schema_is_the_one_that_onboarding_chose(
    history: History, writer: LogWriter
) -> None:
    await history.pool.execute("create schema headrace_control")
    await history.pool.execute(
        "create table headrace_control.tenant (id text primary key, schema_name text)"
    )
    await history.pool.execute("insert into headrace_control.tenant values ('acme', 't_chosen')")
    await writer.run(run_of(1), sequential_run(1))
    assert await history.flushed(TENANT) == "t_chosen"
    assert await rows_of(history.pool, "t_chosen", "run") != []


async def test_a_name_with_a_zero_character_is_stored_with_a_mark(
    history: History, writer: LogWriter
) -> None:
    error = ev.StepError(type="http.\x00503")
    await writer.turn(run_of(1), started(), ev.RunFailed(error=error))
    schema = await history.flushed(TENANT)
    assert await history.pool.fetchval(f"select error_type from {schema}.run") == "http.\ufffd503"


async def test_no_row_is_written_when_any_part_of_the_flush_fails(
    history: History, writer: LogWriter
) -> None:
    await writer.run(run_of(1), sequential_run(1))
    schema = await history.flushed(TENANT)
    await history.pool.execute(
        f"alter table {schema}.journal add constraint none check (false) not valid"
    )
    await writer.run(run_of(2), sequential_run(1))
    [done], _ = await asyncio.wait([history.running])
    assert isinstance(first_fault(done), asyncpg.CheckViolationError)
    assert await history.pool.fetchval(f"select count(*) from {schema}.run") == 1


def failed_call(run: RunId) -> tuple[list[tuple[ev.RunEvent, ...]], LetterId]:
    """The turns of a run whose call has failed for good, and its dead letter."""
    error, letter = ev.StepError(type="http.500"), letter_id(run, StepKey("pay"), 1)
    added = ev.DeadLetterAdded(
        step=StepKey("pay"), attempt=1, letter=letter, operation="http.post@1", error=error
    )
    failed = ev.StepFailed(step=StepKey("pay"), attempt=1, error=error)
    ended = ev.RunFailed(error=error, step=StepKey("pay"))
    return [(started(), ready("pay"), assigned("pay")), (failed, added, ended)], letter


@pytest.mark.parametrize("first", ["the letter", "its decision"])
async def test_a_letter_and_its_decision_make_one_row_whichever_is_read_first(
    history: History, writer: LogWriter, first: str
) -> None:
    run = run_of(3)
    turns, letter = failed_call(run)
    decision = pev.DeadLetterDiscarded(
        letter=letter, tenant=TENANT, run=run, step=StepKey("pay"), discarded_by="ann"
    )
    other = (partition_of(slot_of(run), writer.partitions) + 1) % writer.partitions
    if first == "the letter":
        await writer.run(run, turns)
        await history.flushed(TENANT)
    await writer.partition_turn(other, decision)
    await history.flushed(TENANT)
    if first != "the letter":
        assert (await history.letters.page(TENANT, "", "", "", 10, ""))[0] == []
        await writer.run(run, turns)
    [document], cursor = await history.letters.page(TENANT, "", "", "", 10, "")
    assert (document["id"], document["status"], cursor) == (letter, "discarded", "")
    assert (document["step"], document["operation"]) == ("pay", "http.post@1")
    assert (document["error_type"], document["decided_by"]) == ("http.500", "ann")


async def test_letters_are_listed_by_pages_and_by_what_is_asked_for(
    history: History, writer: LogWriter
) -> None:
    letters: list[str] = []
    for number in range(5):
        turns, letter = failed_call(run_of(number))
        await writer.run(run_of(number), turns)
        letters.append(letter)
    cursor, seen = "", list[str]()
    while True:
        page, cursor = await history.letters.page(TENANT, "orders", "open", "", 2, cursor)
        seen += [str(document["id"]) for document in page]
        if not cursor:
            break
    assert seen == letters[::-1]
    [one], _ = await history.letters.page(TENANT, "", "", run_of(2), 10, "")
    assert one["id"] == letters[2]
    assert await history.letters.page(TENANT, "other", "", "", 10, "") == ([], "")
    assert await history.letters.page(TenantId("bolt"), "", "", "", 10, "") == ([], "")
    with pytest.raises(InvalidInput, match="is no status of a dead letter"):
        await history.letters.page(TENANT, "", "lost", "", 10, "")
    with pytest.raises(NotFound):
        await history.letters.one(TenantId("bolt"), letters[0])
    with pytest.raises(NotFound):
        await history.letters.one(TENANT, "ltr_none")


async def test_a_schema_of_an_older_version_is_brought_up_to_date_on_first_sight(
    history: History, writer: LogWriter
) -> None:
    await writer.run(run_of(0), sequential_run(1))
    schema = await history.flushed(TENANT)
    await history.pool.execute(f"drop table {schema}.dead_letter")
    await history.pool.execute(f"delete from {schema}.schema_version where number = 2")
    newer = TenantSchemas(history.pool)
    assert await newer.find(TENANT) == schema
    assert await history.pool.fetchval(f"select count(*) from {schema}.dead_letter") == 0
