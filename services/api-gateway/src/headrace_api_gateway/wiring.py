"""Builds the gateway: the only place that names concrete adapters."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from headrace_api_gateway.adapters.admin_key_file import KeyFile
from headrace_api_gateway.adapters.connectors import ConnectorsClient
from headrace_api_gateway.adapters.control import (
    PostgresHooks,
    PostgresScheduleNames,
    PostgresTopics,
    ping,
)
from headrace_api_gateway.adapters.flows import PublishedFlows
from headrace_api_gateway.adapters.history import HistoryClient
from headrace_api_gateway.adapters.scheduler import Schedulers
from headrace_api_gateway.api.application import Application, build_application
from headrace_api_gateway.api.diff_route import DiffRoute
from headrace_api_gateway.api.event_routes import EventRoutes
from headrace_api_gateway.api.fork_route import ForkRoute
from headrace_api_gateway.api.guard import Gate
from headrace_api_gateway.api.hook_routes import HookRoutes
from headrace_api_gateway.api.http_server import serve_http
from headrace_api_gateway.api.letter_routes import LetterRoutes
from headrace_api_gateway.api.live import LiveRoute
from headrace_api_gateway.api.probes import Probes
from headrace_api_gateway.api.problem import Problems
from headrace_api_gateway.api.run_routes import RunRoutes
from headrace_api_gateway.api.start_run import StartRunRoute
from headrace_api_gateway.api.subject_routes import SubjectRoutes
from headrace_api_gateway.api.tenant_routes import TenantRoutes
from headrace_api_gateway.api.vault_routes import VaultRoutes
from headrace_api_gateway.api.workflow_routes import WorkflowRoutes
from headrace_api_gateway.app.authentication import Authenticator
from headrace_api_gateway.app.controlling import Controlling
from headrace_api_gateway.app.events import Events
from headrace_api_gateway.app.forking import Forking
from headrace_api_gateway.app.letters import Letters
from headrace_api_gateway.app.onboarding import Onboarding
from headrace_api_gateway.app.publishing import Publishing
from headrace_api_gateway.app.receiving import Receiving
from headrace_api_gateway.app.starting import Starting
from headrace_api_gateway.app.subjects import Subjects
from headrace_api_gateway.app.vault import NamedTenants
from headrace_api_gateway.settings import GatewaySettings
from headrace_runtime import definitions, keys
from headrace_runtime.address import Address
from headrace_runtime.api_keys import ApiKeys, parse_key
from headrace_runtime.blobs import BlobStore, open_blobs
from headrace_runtime.clock import SystemClock
from headrace_runtime.internal_token import internal_token
from headrace_runtime.leases import Owners
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import CONNECTION_LOST, Pool, open_pool
from headrace_runtime.sealing import Keyring
from headrace_runtime.service import Life
from headrace_runtime.telemetry import Logger
from headrace_runtime.tenants import Tenants

APPLICATION_NAME = "headrace-api-gateway"
LABELS_KEPT_MS = 1_000
DATA_KEYS_EVERY_S = 3_600.0


@asynccontextmanager
async def build(settings: GatewaySettings, life: Life) -> AsyncGenerator[Address]:
    async with assemble(settings, life) as application:
        server = await serve_http(application, settings.listen)
        try:
            yield server.address
        finally:
            await server.stop()


@asynccontextmanager
async def assemble(settings: GatewaySettings, life: Life) -> AsyncGenerator[Application]:
    """Everything but the socket."""
    dsn = settings.postgres_dsn.get_secret_value()
    async with AsyncExitStack() as closing:
        pool = await open_pool(dsn, application_name=APPLICATION_NAME, connections_max=8)
        closing.push_async_callback(pool.close)
        await _migrate(pool)
        root_key = keys.load_root_key(settings.root_key_file)
        token = internal_token(root_key)
        data_keys = keys.DataKeys(pool, root_key)
        onboarding = Onboarding(Tenants(pool), ApiKeys(pool), data_keys, SystemClock(), os.urandom)
        if settings.admin_key_file is not None:
            file = KeyFile(settings.admin_key_file)
            await onboarding.ensure_first_administrator(file, parse_key)
        blobs = await open_blobs(settings.blobs, settings.home)
        keyring = Keyring(data_keys, blobs, SystemClock())
        history = HistoryClient(settings.history, token)
        closing.push_async_callback(history.close)
        connectors = ConnectorsClient(settings.connectors, token)
        closing.push_async_callback(connectors.close)
        schedulers = Schedulers(Owners(pool), life.log, token=token)
        closing.push_async_callback(schedulers.close)
        loops = (
            life.keep("owners of partitions", schedulers.watch()),
            life.keep("payload keys", keyring.keep_fresh()),
            life.keep("data keys", _renew_data_keys(onboarding, life.log)),
        )
        closing.push_async_callback(_end, loops)
        subjects = Subjects(data_keys, keyring, life.log)
        yield _application(
            settings,
            pool,
            keyring,
            blobs,
            onboarding,
            subjects,
            history,
            schedulers,
            connectors,
            life.log,
        )


async def _end(loops: Sequence[asyncio.Task[None]]) -> None:
    for loop in loops:
        loop.cancel()
    await asyncio.wait(loops)


def _application(
    settings: GatewaySettings,
    pool: Pool,
    keyring: Keyring,
    blobs: BlobStore,
    onboarding: Onboarding,
    subjects: Subjects,
    history: HistoryClient,
    schedulers: Schedulers,
    connectors: ConnectorsClient,
    log: Logger,
) -> Application:
    clock = SystemClock()
    versions = definitions.Definitions(pool, labels_kept_ms=LABELS_KEPT_MS)
    flows = PublishedFlows(versions, keyring, blobs)
    hooks = PostgresHooks(pool)
    publishing = Publishing(
        versions, definitions.Publishing(pool), PostgresScheduleNames(pool), hooks, schedulers
    )
    authenticator = Authenticator(ApiKeys(pool), time.monotonic)
    gate = Gate(authenticator, settings.body_bytes_max)
    problems = Problems(log)
    starting = Starting(schedulers, flows, clock, os.urandom)
    controlling = Controlling(schedulers, history, flows, clock)
    forking = Forking(schedulers, history, flows, clock, os.urandom)
    topics = PostgresTopics(pool)
    events = Events(schedulers, history, flows, topics, clock, os.urandom, log)
    receiving = Receiving(hooks, connectors, schedulers, flows, os.urandom, log)

    async def history_is_ready() -> bool:
        return history.is_ready()

    return build_application(
        gate,
        problems,
        StartRunRoute(gate, starting, history, problems),
        LiveRoute(gate, history, problems),
        RunRoutes(history, controlling),
        ForkRoute(forking),
        DiffRoute(history),
        LetterRoutes(history, Letters(schedulers, history, flows, forking, controlling)),
        EventRoutes(events),
        WorkflowRoutes(publishing, versions),
        TenantRoutes(onboarding, authenticator),
        VaultRoutes(connectors, NamedTenants(Tenants(pool))),
        SubjectRoutes(subjects),
        HookRoutes(receiving, history, clock),
        Probes(
            {
                "database": lambda: ping(pool),
                "schedulers": schedulers.is_ready,
                "history": history_is_ready,
            }
        ),
    )


async def _migrate(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await migrate(connection, definitions.SCHEMA, definitions.migrations())
        await migrate(connection, keys.SCHEMA, keys.migrations())


async def _renew_data_keys(onboarding: Onboarding, log: Logger) -> None:
    """So that everybody has a month's key when the month begins."""
    while True:
        try:
            await onboarding.renew_data_keys()
        except CONNECTION_LOST as fault:
            log.warning("data keys not renewed", error=fault)
        await asyncio.sleep(DATA_KEYS_EVERY_S)
