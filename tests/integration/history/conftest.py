"""A history on a real database, reading a log in memory that the test writes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.payload import Stored
from headrace_history.adapters.postgres.journal import PostgresJournal
from headrace_history.adapters.postgres.letters import PostgresLetters
from headrace_history.adapters.postgres.projection import PostgresProjection
from headrace_history.adapters.postgres.runs import PostgresRuns
from headrace_history.adapters.postgres.tenants import TenantSchemas, migrate_shared
from headrace_history.adapters.postgres.usage import PostgresUsage
from headrace_history.adapters.record_reader import ProtobufRecords
from headrace_history.app.end_wait import EndWait
from headrace_history.app.event_list import EventList
from headrace_history.app.follower import Follower
from headrace_history.app.letter_list import LetterList
from headrace_history.app.live import Live
from headrace_history.app.presenter import Presenter
from headrace_history.app.projection import ProjectorSettings
from headrace_history.app.projector import Projector
from headrace_history.app.replayer import Replayer
from headrace_history.app.run_list import RunList
from headrace_runtime.clock import SystemClock
from headrace_runtime.postgres.pool import Pool, open_pool
from headrace_runtime.telemetry import Logger
from tests.support.plain_vault import PlainVault
from tests.unit.history.recorded_runs import LogWriter, memory_log

WAIT_S = 5.0
FAST = ProjectorSettings(poll_s=0.01, flush_interval_s=0.02, flush_age_s=0.05, retry_s=0.01)
LAZY = ProjectorSettings(poll_s=0.01, flush_interval_s=30, flush_age_s=30, retry_s=0.01)
"""Writes only what a reader asks for."""


class PlainTenantVault(PlainVault):
    async def fetch(self, run: RunId, stored: Stored) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride] the port is asynchronous
        self.at_hand.add(stored)
        return self.open(run, stored)


@dataclass(slots=True)
class PlainVaults:
    of_all: PlainTenantVault = field(default_factory=PlainTenantVault)

    async def vault(self, tenant: TenantId) -> PlainTenantVault:
        return self.of_all


@dataclass(slots=True)
class NothingSensitive:
    async def sensitive_steps(self, tenant: TenantId, plan: PlanHash) -> frozenset[str]:
        return frozenset()

    async def worker_tasks(self, tenant: TenantId, plan: PlanHash) -> Mapping[str, Sequence[str]]:
        return {}

    async def document(self, tenant: TenantId, plan: PlanHash) -> None:
        return None


@dataclass(slots=True)
class History:
    """The parts of one running history, as the wiring puts them together."""

    pool: Pool
    schemas: TenantSchemas
    store: PostgresProjection
    projector: Projector
    running: asyncio.Task[None]
    live: Live
    replayer: Replayer
    runs: RunList
    letters: LetterList
    events: EventList
    follower: Follower
    ends: EndWait
    logged: list[bytes]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Looked at after each of the projector's steps; bounded by the test's own timeout."""
        while not condition():
            await self.projector.moved()

    async def flushed(self, tenant: TenantId) -> str:
        """The tenant's schema, with everything that the log holds now."""
        await self.projector.passed_ends(WAIT_S)
        await self.projector.flush(tenant)
        schema = await self.schemas.find(tenant)
        assert schema is not None
        return schema


@asynccontextmanager
async def running_history(
    database: str, writer: LogWriter, settings: ProjectorSettings = FAST, queue_turns_max: int = 64
) -> AsyncGenerator[History]:
    pool = await open_pool(database, application_name="history-under-test")
    await migrate_shared(pool)
    schemas = TenantSchemas(pool)
    store = PostgresProjection(database, pool, schemas)
    live = Live(queue_turns_max)
    records = ProtobufRecords()
    logged: list[bytes] = []
    logger = Logger("history", write=logged.append)
    projector = Projector(writer.log, store, live, records, settings, SystemClock(), logger)
    runs = PostgresRuns(pool, schemas)
    replayer = Replayer(projector, runs, PostgresJournal(pool, schemas), records, WAIT_S)
    presenter = Presenter(PlainVaults(), NothingSensitive())
    running = asyncio.create_task(projector.run())
    try:
        yield History(
            pool=pool,
            schemas=schemas,
            store=store,
            projector=projector,
            running=running,
            live=live,
            replayer=replayer,
            runs=RunList(projector, runs, PostgresUsage(pool, schemas), WAIT_S),
            letters=LetterList(projector, PostgresLetters(pool, schemas), presenter, WAIT_S),
            events=EventList(replayer, presenter),
            follower=Follower(replayer, presenter, live),
            ends=EndWait(replayer, live),
            logged=logged,
        )
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await running
        await store.close()
        await pool.close()


@pytest.fixture
async def writer() -> LogWriter:
    return await memory_log()


@pytest.fixture
async def history(database: str, writer: LogWriter) -> AsyncGenerator[History]:
    async with running_history(database, writer) as running:
        yield running
