"""Connectors as they are wired, on a real database, called over gRPC."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import orjson
import pytest
from pydantic import SecretStr

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace.connector.v1 import vault_service_pb2 as vpb
from headrace.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from headrace.connector.v1.vault_service_pb2_grpc import VaultServiceStub
from headrace_connectors.settings import ConnectorsSettings
from headrace_connectors.wiring import build
from headrace_runtime import keys, tenant_secrets
from headrace_runtime.internal_token import internal_token
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Session
from headrace_runtime.rpc.channel import open_channel
from headrace_runtime.service import Life
from headrace_runtime.telemetry import Level, Logger
from tests.support.far_server import FarServer, far_server
from tests.support.postgres import PostgresForTests

TENANT = "acme"
ANSWER_BYTES_MAX = 200_000
ATTEMPTS_MAX = 5


@dataclass
class Connectors:
    channel: grpc.aio.Channel
    life: Life
    logged: list[bytes]

    def __post_init__(self) -> None:
        self.stub = ConnectorServiceStub(self.channel)
        self.vault = VaultServiceStub(self.channel)

    async def invoke(self, action: str, given: object, **fields: Any) -> pb.Outcome:
        return (await self.messages(action, given, **fields))[-1].outcome

    async def messages(
        self, action: str, given: object, *, tenant: str = TENANT, **fields: Any
    ) -> list[pb.InvokeResponse]:
        request = pb.InvokeRequest(
            tenant=tenant, action=action, input=orjson.dumps(given), **fields
        )
        return [message async for message in self.stub.Invoke(request, timeout=30)]

    async def allow(self, host: str, port: int, tenant: str = TENANT) -> None:
        pair = vpb.HostPort(host=host, port=port)
        await self.vault.AllowEgress(vpb.AllowEgressRequest(tenant=tenant, pair=pair))

    async def deny(self, host: str, port: int, tenant: str = TENANT) -> None:
        pair = vpb.HostPort(host=host, port=port)
        await self.vault.DenyEgress(vpb.DenyEgressRequest(tenant=tenant, pair=pair))

    async def set_secret(self, name: str, value: str, tenant: str = TENANT) -> int:
        request = vpb.SetSecretRequest(tenant=tenant, name=name, value=value.encode())
        return (await self.vault.SetSecret(request)).version


def output_of(outcome: pb.Outcome) -> Any:
    assert outcome.word == pb.WORD_SUCCESS, outcome
    return orjson.loads(outcome.output)


async def _prepare(session: Session) -> None:
    await migrate(session, tenant_secrets.SCHEMA, tenant_secrets.migrations())


@pytest.fixture
def vault_dsn(postgres: PostgresForTests) -> Generator[str]:
    dsn = postgres.fresh_database(postgres.template("vault", _prepare))
    yield dsn
    postgres.drop(dsn)


@asynccontextmanager
async def running(dsn: str, home: Path) -> AsyncGenerator[Connectors]:
    """Stops as a signal stops it when the block ends."""
    root_key = keys.load_root_key(home / "root.key", create=True)
    settings = ConnectorsSettings(
        home=home,
        postgres_dsn=SecretStr(dsn),
        root_key_file=home / "root.key",
        answer_bytes_max=ANSWER_BYTES_MAX,
        attempts_max=ATTEMPTS_MAX,
        attempt_timeout_s=20,
    )
    logged: list[bytes] = []
    async with asyncio.TaskGroup() as tasks:
        life = Life(tasks, Logger("connectors", Level.DEBUG, write=logged.append))
        async with build(settings, life) as address:
            channel = open_channel(address, internal_token(root_key))
            await asyncio.wait_for(channel.channel_ready(), 30)
            connectors = Connectors(channel, life, logged)
            yield connectors
            life.stop()
    # What the service said last may not have been read yet.
    await channel.close(grace=10)


@pytest.fixture
async def connectors(vault_dsn: str, tmp_path: Path) -> AsyncGenerator[Connectors]:
    async with running(vault_dsn, tmp_path) as found:
        yield found


@pytest.fixture
async def far() -> AsyncGenerator[FarServer]:
    async with far_server() as found:
        yield found


@pytest.fixture
async def reachable(connectors: Connectors, far: FarServer) -> FarServer:
    """The far side, which the tenant's admin has allowed."""
    await connectors.allow("127.0.0.1", far.port)
    return far
