"""The event log in PostgreSQL: schema `headrace_log`, created by the scheduler.

A stale owner is refused: each partition has a head (epoch, next offset) that only an append which
names both moves, in the transaction that stores the records. So an append whose outcome is unclear
and that lands after the next claim is refused too. Everything is asyncpg on own connections,
`synchronous_commit` on.
"""

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import asyncpg

from headrace_core.errors import BrokenChain, Fenced, SetupError, Unavailable
from headrace_core.ids import SLOTS
from headrace_runtime.eventlog.port import Appended, Batch, Entry, LogDescription
from headrace_runtime.eventlog.postgres_sessions import (
    BROKEN,
    STATEMENTS,
    LogSessions,
    Row,
    clear_fault,
    description,
    find_log,
    read_rows,
    unclear_append,
)
from headrace_runtime.eventlog.refusals import (
    check_batches,
    check_size,
    range_deleted,
    rewound,
)
from headrace_runtime.postgres.migrate import load_migrations, migrate
from headrace_runtime.postgres.pool import open_connection, server_of

SCHEMA = "headrace_log"
MIGRATIONS = load_migrations(Path(__file__).with_name("migrations"))
LOG_ID_BYTES = 16
STALE_OWNER = "HR001"
READ_BYTES_MAX = 8 << 20
"""Where one answer ends for one partition, whatever the limit: records may be large."""
DELETE_RECORDS = 10_000
"""Per transaction, so that a long deletion holds back nothing."""


async def create_log(dsn: str, partitions: int, *, application_name: str) -> LogDescription:
    """Migrate the schema and create the log unless there is one, whose description is answered:
    `partitions`, a power of two, counts only at creation. Safe to call from many at once."""
    if not 0 < partitions <= SLOTS or partitions & (partitions - 1):
        raise SetupError(
            f"a log cannot have {partitions} partitions: a power of two from 1 to {SLOTS}"
        )
    session = await open_connection(dsn, application_name=application_name)
    try:
        await migrate(session, SCHEMA, MIGRATIONS)
        await session.execute(
            STATEMENTS["create_log"], secrets.token_bytes(LOG_ID_BYTES), partitions
        )
        rows = await session.fetch(STATEMENTS["describe"])
    except (*BROKEN, asyncpg.PostgresError) as fault:
        raise clear_fault(fault, "creating the log", server_of(dsn)) from fault
    finally:
        session.terminate()
    return description(rows, server_of(dsn))


class PostgresLog:
    """EventLog. Several appends may be under way at once, for different partitions."""

    def __init__(self, writers: LogSessions, readers: LogSessions, log: LogDescription) -> None:
        self._writers = writers
        self._readers = readers
        self._log = log

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        application_name: str,
        deadline_ms: int = 10_000,
        wait_s: float = 10.0,
        writers: int = 2,
        readers: int = 2,
    ) -> Self:
        """Of an existing log.

        `deadline_ms` bounds each statement and should be above the time of a database failover.
        `wait_s` is how long this waits for the scheduler to create the log, and how long each
        call waits for a server that is being restarted, before they raise Unavailable.
        """
        log = await find_log(dsn, application_name=application_name, wait_s=wait_s)

        def sessions(size: int) -> LogSessions:
            return LogSessions(
                dsn,
                application_name=application_name,
                statement_timeout_ms=deadline_ms,
                wait_s=wait_s,
                size=size,
                log=log,
            )

        return cls(sessions(writers), sessions(readers), log)

    async def describe(self) -> LogDescription:
        rows = await read_rows(self._readers, "describe")
        return description(rows, self._readers.server)

    async def claim(self, partition: int, record: bytes) -> int:
        self._check_partitions([partition])
        check_size(partition, record)
        try:
            rows = await self._writers.call("claim", partition, record)
        except (*BROKEN, asyncpg.PostgresError) as fault:
            raise unclear_append(fault, self._writers.server) from fault
        return rows[0][0]

    async def append(self, batches: Sequence[Batch]) -> Sequence[Appended]:
        check_batches(batches, self._log.partitions)
        ordered = sorted(batches, key=lambda batch: batch.partition)
        records: list[bytes] = []
        for batch in ordered:
            records.extend(batch.records)
        try:
            await self._writers.call(
                "append",
                [batch.partition for batch in ordered],
                [batch.epoch for batch in ordered],
                [batch.next_offset for batch in ordered],
                [len(batch.records) for batch in ordered],
                records,
            )
        except (*BROKEN, asyncpg.PostgresError) as fault:
            if isinstance(fault, asyncpg.PostgresError) and fault.sqlstate == STALE_OWNER:
                raise _fenced(ordered, str(fault.detail)) from fault
            raise unclear_append(fault, self._writers.server) from fault
        except Unavailable as fault:
            raise unclear_append(fault, self._writers.server) from fault
        return [Appended(batch.partition, batch.next_offset) for batch in batches]

    async def read(self, partition: int, offset: int, limit: int) -> Sequence[Entry]:
        return (await self.read_many([(partition, offset)], limit))[0][1]

    async def read_many(
        self, offsets: Sequence[tuple[int, int]], limit: int
    ) -> Sequence[tuple[int, Sequence[Entry]]]:
        self._check_partitions([partition for partition, _ in offsets])
        rows = await read_rows(
            self._readers,
            "read_many",
            [partition for partition, _ in offsets],
            [offset for _, offset in offsets],
            limit,
            READ_BYTES_MAX,
        )
        return _entries(offsets, rows)

    async def ends(self) -> Sequence[int]:
        return [row[0] for row in await read_rows(self._readers, "ends")]

    async def delete_below(self, partition: int, offset: int) -> None:
        """In slices; after an interruption the next call takes up the rest."""
        self._check_partitions([partition])
        try:
            end = (await self._readers.call("give_up", partition, offset))[0][0]
            if offset > end:
                raise rewound(partition, offset, end)
            first = (await self._readers.call("first_record", partition))[0][0]
            while first is not None and first < offset:
                first = min(first + DELETE_RECORDS, offset)
                await self._readers.call("delete_slice", partition, first)
        except (*BROKEN, asyncpg.PostgresError) as fault:
            raise clear_fault(fault, "deleting old records", self._readers.server) from fault

    async def close(self) -> None:
        await self._writers.close()
        await self._readers.close()

    def _check_partitions(self, partitions: Iterable[int]) -> None:
        before = -1
        for partition in sorted(partitions):
            assert partition != before, f"partition {partition} is named twice in one call"
            assert 0 <= partition < self._log.partitions, (
                f"partition {partition} of a log of {self._log.partitions}"
            )
            before = partition


def _fenced(batches: Sequence[Batch], detail: str) -> Fenced:
    """`detail` lists part:epoch:next_off of each head that is not where its owner believes."""
    wanted = {batch.partition: batch for batch in batches}
    stale: list[int] = []
    reasons: list[str] = []
    for head in detail.split():
        partition, epoch, end = (int(number) for number in head.split(":"))
        batch = wanted[partition]
        stale.append(partition)
        if end < batch.next_offset:
            why = f"was rewound to offset {end}, below {batch.next_offset}"
        elif epoch != batch.epoch:
            why = f"was claimed at offset {epoch} since this owner's claim at {batch.epoch}"
        else:
            why = f"ends at offset {end}, not at {batch.next_offset} as its owner believes"
        reasons.append(f"partition {partition} {why}")
    return Fenced(f"{'; '.join(reasons)}: nothing was stored", stale)


def _entries(
    offsets: Sequence[tuple[int, int]], rows: Sequence[Row]
) -> list[tuple[int, list[Entry]]]:
    found: dict[int, list[Entry]] = {partition: [] for partition, _ in offsets}
    expected = dict(offsets)
    for partition, first, end, offset, record in rows:
        wanted = expected[partition]
        if first > wanted:
            raise range_deleted(partition, wanted, first)
        if wanted > end:
            raise rewound(partition, wanted, end)
        if offset != (wanted if wanted < end else None):
            raise BrokenChain(
                f"partition {partition} has no record at offset {wanted} though it ends at {end}: "
                "the table was changed by somebody else. Restore the log."
            )
        if offset is not None:
            found[partition].append(Entry(offset, record))
            expected[partition] = offset + 1
    return list(found.items())
