"""An executor as its own process, with a real database, keys and a published plan."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_core.ids import RunId, TenantId, run_id
from headrace_core.payload import Stored
from headrace_core.workflow.plan import Plan
from headrace_runtime import definitions, keys
from headrace_runtime.blobs import LocalBlobs
from headrace_runtime.clock import SystemClock
from headrace_runtime.definitions import Publishing
from headrace_runtime.keys import DataKeys, load_root_key
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Session, open_pool
from headrace_runtime.sealing import Keyring, TenantVault
from headrace_runtime.tenants import Tenants

TENANT = TenantId("acme")
RUN = run_id(1, 20_000, bytes(10))


async def prepare_database(session: Session) -> None:
    """For `PostgresForTests.template`: the schemas that an executor reads."""
    await migrate(session, definitions.SCHEMA, definitions.migrations())
    await migrate(session, keys.SCHEMA, keys.migrations())


@dataclass(slots=True)
class Site:
    """Home and database of one installation with one tenant; seals what tests send."""

    home: Path
    dsn: str
    vault: TenantVault

    def seal(self, value: Any, run: RunId = RUN) -> Stored:
        return self.vault.seal(run, json.dumps(value).encode())

    async def opened(self, stored: bytes, run: RunId = RUN) -> Any:
        return json.loads(await self.vault.fetch(run, Stored(stored)))


@asynccontextmanager
async def executor_site(home: Path, dsn: str, plan: Plan) -> AsyncGenerator[Site]:
    pool = await open_pool(dsn, application_name="tests")
    try:
        data_keys = DataKeys(pool, load_root_key(home / "root.key", create=True))
        await Tenants(pool).add(TENANT)
        await data_keys.ensure(TENANT, SystemClock().now_ms())
        await Publishing(pool).publish(TENANT, plan, "flow: v1")
        keyring = Keyring(data_keys, LocalBlobs(home / "blobs"), SystemClock())
        yield Site(home, dsn, await keyring.ready(TENANT))
    finally:
        pool.terminate()


class ExecutorProcess:
    """`terminate` is a SIGTERM, `exit_code` waits for the end."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def terminate(self) -> None:
        self.process.terminate()

    async def exit_code(self) -> int:
        return await self.process.wait()

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self._log.read_text().splitlines()]


@asynccontextmanager
async def executor_process(
    site: Site, schedulers: str, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[ExecutorProcess]:
    """Started at once; that it is there is seen at the scheduler."""
    log = site.home / "executor.log"
    given = {
        "PATH": os.environ["PATH"],
        "HEADRACE_HOME": str(site.home),
        "HEADRACE_POSTGRES_DSN": site.dsn,
        "HEADRACE_ROOT_KEY_FILE": str(site.home / "root.key"),
        "HEADRACE_SCHEDULERS": schedulers,
        "HEADRACE_CONNECTORS": "127.0.0.1:9",
        "HEADRACE_READY_FILE": str(site.home / "ready.json"),
        **(environment or {}),
    }
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace_executor", env=given, stderr=stderr
        )
    try:
        yield ExecutorProcess(process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
