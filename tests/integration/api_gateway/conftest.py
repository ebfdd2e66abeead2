"""The gateway as it is wired, on a real database, between a scheduler and a history of the test."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from headrace_api_gateway.api.application import Application
from headrace_api_gateway.api.http_server import serve_http
from headrace_api_gateway.settings import GatewaySettings
from headrace_api_gateway.wiring import assemble
from headrace_connectors.api import vault_servicer
from headrace_core.ids import RunId, TenantId
from headrace_core.payload import Stored
from headrace_runtime import definitions, keys, leases, tenant_secrets
from headrace_runtime.address import Address
from headrace_runtime.allowed_egress import AllowedEgress
from headrace_runtime.blobs import LocalBlobs
from headrace_runtime.clock import SystemClock
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Session, open_connection, open_pool
from headrace_runtime.rpc.server import start_server
from headrace_runtime.sealing import Keyring
from headrace_runtime.service import Life
from headrace_runtime.telemetry import Logger
from headrace_runtime.tenant_secrets import TenantSecrets
from tests.integration.api_gateway.peers import ScriptedHistory, ScriptedScheduler
from tests.support.postgres import PostgresForTests

PARTITIONS = 4
GREET = """\
flow: v1
name: greet
inputs:
  name: {type: string}
  times: {type: integer, default: 1, minimum: 1}
steps:
  hello: {uses: data.echo@1, with: {value: "Hello ${{ inputs.name }}"}}
"""
YAML = {"content-type": "application/yaml"}


async def _prepare(session: Session) -> None:
    await migrate(session, definitions.SCHEMA, definitions.migrations())
    await migrate(session, keys.SCHEMA, keys.migrations())
    await migrate(session, leases.SCHEMA, leases.migrations())
    await migrate(session, tenant_secrets.SCHEMA, tenant_secrets.migrations())


@dataclass
class Gateway:
    """Clients are made by `client` and closed with the gateway."""

    application: Application
    address: Address
    dsn: str
    home: Path
    scheduler: ScriptedScheduler
    history: ScriptedHistory
    logged: list[bytes]
    _clients: list[httpx.AsyncClient] = field(default_factory=list[httpx.AsyncClient])

    @property
    def admin_key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    @property
    def admin(self) -> httpx.AsyncClient:
        return self.client(self.admin_key)

    def client(self, key: str = "") -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        base_url = f"http://{self.address}"
        client = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=20)
        self._clients.append(client)
        return client

    async def key(self, tenant: str, role: str = "editor") -> str:
        """Of a tenant, which is added if need be."""
        admin = self.admin
        (await admin.post("/v1/tenants", json={"id": tenant})).raise_for_status()
        body = {"name": f"{role}-of-{tenant}", "role": role}
        made = await admin.post(f"/v1/tenants/{tenant}/keys", json=body)
        made.raise_for_status()
        return made.json()["key"]

    async def tenant(self, tenant: str = "acme", role: str = "editor") -> httpx.AsyncClient:
        return self.client(await self.key(tenant, role))

    async def publish(self, client: httpx.AsyncClient, text: str = GREET) -> dict[str, Any]:
        answer = await client.post("/v1/workflows", content=text, headers=YAML)
        assert answer.is_success, answer.text
        return answer.json()

    async def open_payload(self, tenant: str, run: str, stored: bytes) -> bytes:
        """As another service opens it: with the root key, the database and the blob store."""
        pool = await open_pool(self.dsn, application_name="tests")
        root_key = keys.load_root_key(self.home / "root.key")
        blobs = LocalBlobs(self.home / "blobs")
        keyring = Keyring(keys.DataKeys(pool, root_key), blobs, SystemClock())
        try:
            vault = await keyring.ready(TenantId(tenant))
            return await vault.fetch(RunId(run), Stored(stored))
        finally:
            await pool.close()

    async def close(self) -> None:
        await asyncio.gather(*(client.aclose() for client in self._clients))


@pytest.fixture
def gateway_database(postgres: PostgresForTests) -> Generator[str]:
    dsn = postgres.fresh_database(postgres.template("gateway", _prepare))
    yield dsn
    postgres.drop(dsn)


@pytest.fixture
async def scheduler() -> AsyncGenerator[ScriptedScheduler]:
    scheduler = ScriptedScheduler()
    await scheduler.serve()
    yield scheduler
    await scheduler.stop()


@pytest.fixture
async def history() -> AsyncGenerator[ScriptedHistory]:
    history = ScriptedHistory()
    await history.serve()
    yield history
    await history.stop()


@pytest.fixture
async def gateway(
    gateway_database: str, tmp_path: Path, scheduler: ScriptedScheduler, history: ScriptedHistory
) -> AsyncGenerator[Gateway]:
    await lease_all(gateway_database, scheduler.address)
    async with running(gateway_database, tmp_path, scheduler, history) as gateway:
        yield gateway


@asynccontextmanager
async def running(
    dsn: str, home: Path, scheduler: ScriptedScheduler, history: ScriptedHistory
) -> AsyncGenerator[Gateway]:
    keys.load_root_key(home / "root.key", create=True)
    logged: list[bytes] = []
    async with vault_service(dsn, home) as connectors, asyncio.TaskGroup() as tasks:
        settings = GatewaySettings(
            home=home,
            postgres_dsn=SecretStr(dsn),
            root_key_file=home / "root.key",
            history=history.address,
            connectors=connectors,
            admin_key_file=home / "admin.key",
            body_bytes_max=300_000,
        )
        life = Life(tasks, Logger("api-gateway", write=logged.append))
        async with assemble(settings, life) as application:
            server = await serve_http(application, settings.listen)
            gateway = Gateway(application, server.address, dsn, home, scheduler, history, logged)
            yield gateway
            await gateway.close()
            life.stop()
            await server.stop()


@asynccontextmanager
async def vault_service(dsn: str, home: Path) -> AsyncGenerator[Address]:
    """The real one, in the gateway's database."""
    pool = await open_pool(dsn, application_name="tests")
    secrets = TenantSecrets(pool, keys.load_root_key(home / "root.key"))
    register = vault_servicer.register(secrets, AllowedEgress(pool))
    server = await start_server(Address("127.0.0.1", 0), [register])
    try:
        yield server.address
    finally:
        await server.stop(0)
        await pool.close()


async def lease_all(dsn: str, address: Address | None) -> None:
    """What a scheduler writes when it takes every partition."""
    session = await open_connection(dsn, application_name="tests")
    await session.execute(
        "insert into headrace_scheduler.lease (part, session, owner, address, taken)"
        " select part, $1, $2, $3, now() from generate_series(0, $4 - 1) as part"
        " on conflict (part) do update set"
        " session = excluded.session, owner = excluded.owner, address = excluded.address",
        None if address is None else 1,
        None if address is None else "test",
        None if address is None else str(address),
        PARTITIONS,
    )
    await session.close()
