"""What the demonstration left behind, and where: read from the database and the disk."""

from dataclasses import dataclass
from pathlib import Path

import asyncpg

_SCHEMA = "select schema_name from headrace_control.tenant where id = $1"
_RECORDS = """
select count(*) as count, coalesce(sum(octet_length(rec)), 0) as bytes from headrace_log.record
"""
_EFFECTS = "select status, count(*) as count from headrace_effects.effect group by status"


@dataclass(frozen=True, slots=True)
class Store:
    what: str
    where: str
    count: int
    size: str


async def look(superuser_dsn: str, home: Path, tenant: str) -> list[Store]:
    connection = await asyncpg.connect(superuser_dsn)
    try:
        schema = await connection.fetchval(_SCHEMA, tenant)
        records = await connection.fetchrow(_RECORDS)
        assert records is not None
        journal = await _table(connection, f'"{schema}".journal')
        runs = await _table(connection, f'"{schema}".run')
        effects = sum(row["count"] for row in await connection.fetch(_EFFECTS))
        snapshots = await _table(connection, "headrace_scheduler.checkpoint")
    finally:
        await connection.close()
    blobs = [file for file in (home / "blobs").rglob("*") if file.is_file()]
    return [
        Store("records of the event log, sealed", "headrace_log.record", *_of(records)),
        Store("runs as history shows them", f"{schema}.run", runs[0], _size(runs[1])),
        Store("chunks of the journal", f"{schema}.journal", journal[0], _size(journal[1])),
        Store("effect rows: calls that may change something", "headrace_effects", effects, ""),
        Store("checkpoints of partitions", "headrace_scheduler", snapshots[0], ""),
        Store(
            "payloads above 64 KiB, sealed",
            "blobs/",
            len(blobs),
            _size(sum(file.stat().st_size for file in blobs)),
        ),
    ]


async def _table(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> tuple[int, int]:
    """Rows and bytes. `name` comes from the platform's own catalogue."""
    count = await connection.fetchval(f"select count(*) from {name}")  # noqa: S608 see above
    size = await connection.fetchval("select pg_total_relation_size($1::regclass)", name)
    return count, size


def _of(row: "asyncpg.Record") -> tuple[int, str]:
    return row["count"], _size(row["bytes"])


def _size(count: int) -> str:
    return f"{count / 1024:,.0f} KiB"
