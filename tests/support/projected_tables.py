"""History's tables as they stand in a suite's database, and as a rebuild makes them once more."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from headrace_runtime.postgres.embedded import EmbeddedPostgres, running_dsn
from tests.invariants.witnesses import Projected, TenantTables

DATABASE = "headrace"
_TABLES = "select table_name from information_schema.tables where table_schema = $1"


async def read_projected(home: Path) -> Projected:
    """By plain SQL, all at one moment."""
    connection = await asyncpg.connect(running_dsn(home, DATABASE))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            marks = await connection.fetch("select part, off from headrace_history.watermark")
            known = await connection.fetch(
                "select tenant, schema_name from headrace_history.tenant"
            )
            tenants = [
                TenantTables(tenant, await _tables(connection, schema)) for tenant, schema in known
            ]
    finally:
        await connection.close()
    return Projected({row["part"]: row["off"] for row in marks}, tenants)


async def _tables(connection: Any, schema: str) -> Mapping[str, list[Mapping[str, Any]]]:
    names = [row["table_name"] for row in await connection.fetch(_TABLES, schema)]
    return {
        name: [dict(row) for row in await connection.fetch(f"select * from {schema}.{name}")]
        for name in names
    }


def environment_of(pid: int) -> Mapping[str, str]:
    """What a service was started with."""
    given = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(one.split("=", 1) for one in given if "=" in one)


def rebuilt(home: Path, environment: Mapping[str, str]) -> tuple[Projected, Projected]:
    """Before and after a rebuild, of a suite that has been stopped; `environment` is that of its
    history. To be called in the main thread, with which the database ends."""
    with EmbeddedPostgres(home):
        before = asyncio.run(read_projected(home))
        command = [sys.executable, "-m", "headrace_history", "rebuild"]
        subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
        return before, asyncio.run(read_projected(home))
