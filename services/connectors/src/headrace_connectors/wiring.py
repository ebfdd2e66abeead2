"""Builds connectors: the only place that names concrete adapters."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from headrace_connectors.adapters.http_exchange import HttpClients
from headrace_connectors.adapters.postgres_pools import PostgresPools
from headrace_connectors.adapters.postgres_statements import PostgresStatements
from headrace_connectors.api import connector_servicer, vault_servicer
from headrace_connectors.app.attempts import Attempts, Bounds
from headrace_connectors.builtin.http import http_connector
from headrace_connectors.builtin.postgres import postgres_connector
from headrace_connectors.domain.catalogue import Catalogue
from headrace_connectors.settings import ConnectorsSettings
from headrace_runtime.address import Address
from headrace_runtime.allowed_egress import AllowedEgress
from headrace_runtime.clock import SystemClock
from headrace_runtime.egress import EgressGuard
from headrace_runtime.internal_token import internal_token
from headrace_runtime.keys import load_root_key
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Pool, open_pool
from headrace_runtime.rpc.internal_calls import InternalCallsOnly
from headrace_runtime.rpc.server import start_server
from headrace_runtime.service import Life
from headrace_runtime.tenant_secrets import SCHEMA, TenantSecrets, migrations

APPLICATION_NAME = "headrace-connectors"
OUTPUT_BYTES_MAX = 12 * 1024 * 1024
"""As JSON, in which an answer may be longer than it was; below gRPC's bound on a message."""
DRAIN_S = 2.5
"""Of the 4.5 s that a stopping service has, what open attempts get."""


@asynccontextmanager
async def build(settings: ConnectorsSettings, life: Life) -> AsyncGenerator[Address]:
    async with AsyncExitStack() as closing:
        dsn = settings.postgres_dsn.get_secret_value()
        pool = await open_pool(dsn, application_name=APPLICATION_NAME, connections_max=8)
        closing.callback(pool.terminate)
        await _migrate(pool)
        root_key = load_root_key(settings.root_key_file)
        secrets = TenantSecrets(pool, root_key)
        egress = AllowedEgress(pool)
        guard = EgressGuard(egress)
        clients = HttpClients(guard, settings.answer_bytes_max)
        closing.push_async_callback(clients.close)
        pools = PostgresPools(guard)
        closing.push_async_callback(pools.close)
        catalogue = Catalogue(
            (
                http_connector(clients, SystemClock()),
                postgres_connector(PostgresStatements(pools, settings.answer_bytes_max)),
            )
        )
        bounds = Bounds(
            attempts=settings.attempts_max,
            timeout_s=settings.attempt_timeout_s,
            output_bytes=OUTPUT_BYTES_MAX,
        )
        attempts = Attempts(catalogue, secrets, bounds, life.log)
        server = await start_server(
            settings.listen,
            [connector_servicer.register(attempts), vault_servicer.register(secrets, egress)],
            interceptors=[InternalCallsOnly(internal_token(root_key))],
        )
        yield server.address
        await server.set_serving(serving=False)
        await attempts.drain(DRAIN_S)
        await server.stop()


async def _migrate(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await migrate(connection, SCHEMA, migrations())
