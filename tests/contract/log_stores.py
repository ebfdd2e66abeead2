"""The engines under test, each with what a suite needs beyond the port: faults at will.

Another engine joins by one more LogStore and its name in conftest.STORES.
"""

import hashlib
from typing import Protocol

import asyncpg

from headrace_runtime.eventlog.memory import Fate, Faults, MemoryLog, StaleAppend
from headrace_runtime.eventlog.port import EventLog
from headrace_runtime.eventlog.postgres import PostgresLog, create_log
from tests.contract.cutting_proxy import CuttingProxy

PARTITIONS = 4


class LogStore(Protocol):
    """A new, empty log of PARTITIONS partitions."""

    @property
    def refuses(self) -> bool:
        """Whether a stale append is refused; otherwise it lands as a void record."""
        ...

    async def connect(self) -> EventLog:
        """What one process would open."""
        ...

    async def connect_faulty(self) -> EventLog:
        """The client that `doom_next_append` is about."""
        ...

    async def doom_next_append(self, fate: Fate) -> None:
        """Of the faulty client, which has appended before. Also dooms a claim."""
        ...

    async def land_delayed(self) -> None:
        """Let what was DELAYED reach the store; returns when the store has answered."""
        ...

    async def rewind(self, partition: int, end: int) -> None:
        """As if restored from a backup that ended there."""
        ...

    async def close(self) -> None: ...


class MemoryStore:
    def __init__(self, stale_append: StaleAppend) -> None:
        self.refuses = stale_append is StaleAppend.REFUSES
        self._fate = Fate.LANDS
        faults = Faults(of_append=lambda _: self._next_fate(), of_claim=lambda _: self._next_fate())
        log_id = hashlib.sha256(stale_append.name.encode()).digest()[:16]
        self._log = MemoryLog(log_id, PARTITIONS, stale_append, faults)

    def _next_fate(self) -> Fate:
        fate, self._fate = self._fate, Fate.LANDS
        return fate

    async def connect(self) -> EventLog:
        return self._log

    async def connect_faulty(self) -> EventLog:
        return self._log

    async def doom_next_append(self, fate: Fate) -> None:
        self._fate = fate

    async def land_delayed(self) -> None:
        self._log.land_delayed()

    async def rewind(self, partition: int, end: int) -> None:
        self._log.rewind(partition, end)

    async def close(self) -> None:
        await self._log.close()


class PostgresStore:
    """The faulty client comes through a proxy that cuts its connections."""

    refuses = True

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._proxy = CuttingProxy(dsn)
        self._opened: list[EventLog] = []

    async def create(self) -> None:
        await create_log(self._dsn, PARTITIONS, application_name="tests")

    async def connect(self) -> EventLog:
        return await self._open(self._dsn)

    async def connect_faulty(self) -> EventLog:
        return await self._open(await self._proxy.start())

    async def _open(self, dsn: str) -> EventLog:
        log = await PostgresLog.open(dsn, application_name="tests", writers=1)
        self._opened.append(log)
        return log

    async def doom_next_append(self, fate: Fate) -> None:
        self._proxy.doom(fate)

    async def land_delayed(self) -> None:
        await self._proxy.land_delayed()

    async def rewind(self, partition: int, end: int) -> None:
        session = await asyncpg.connect(self._dsn)
        try:
            async with session.transaction():
                await session.execute(
                    "delete from headrace_log.record where part = $1 and off >= $2", partition, end
                )
                await session.execute(
                    "update headrace_log.head set next_off = $2 where part = $1", partition, end
                )
        finally:
            await session.close()

    async def close(self) -> None:
        for log in self._opened:
            await log.close()
        await self._proxy.close()
