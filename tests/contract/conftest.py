"""The engines that the suites of the event log run on."""

from collections.abc import AsyncIterator

import pytest

from headrace_runtime.eventlog.memory import StaleAppend
from headrace_runtime.eventlog.port import EventLog
from tests.contract.log_owner import Notes, Owner
from tests.contract.log_stores import LogStore, MemoryStore, PostgresStore

STORES = [
    "memory-refuses",
    "memory-voids",
    pytest.param("postgres", marks=pytest.mark.postgres),
]


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LogStore]:
    if request.param == "postgres":
        postgres = PostgresStore(request.getfixturevalue("database"))
        await postgres.create()
        opened: LogStore = postgres
    elif request.param == "memory-refuses":
        opened = MemoryStore(StaleAppend.REFUSES)
    else:
        opened = MemoryStore(StaleAppend.VOIDS)
    yield opened
    await opened.close()


@pytest.fixture
async def log(store: LogStore) -> EventLog:
    return await store.connect()


@pytest.fixture
async def log_id(log: EventLog) -> bytes:
    return (await log.describe()).log_id


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def owner(log: EventLog, log_id: bytes, notes: Notes) -> Owner:
    return Owner("first", log, log_id, notes)


@pytest.fixture
async def rival(store: LogStore, log_id: bytes, notes: Notes) -> Owner:
    """Another process."""
    return Owner("second", await store.connect(), log_id, notes)
