"""Builds the executor: the only place that names concrete adapters."""

import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from headrace_executor import metrics
from headrace_executor.adapters.catalogue import PayloadVaults, PublishedPlans, VaultSecrets
from headrace_executor.adapters.connectors import ConnectorClient
from headrace_executor.adapters.scheduler_stream import draw_executor_id, scheduler_streams
from headrace_executor.app.effects import Effects
from headrace_executor.app.models import Models
from headrace_executor.app.prepared import Kinds
from headrace_executor.app.session import Session
from headrace_executor.app.steps.ai_extract import AiExtract
from headrace_executor.app.steps.connector import ConnectorOperation
from headrace_executor.app.steps.transform import DataTransform
from headrace_executor.app.worker import Worker
from headrace_executor.settings import ExecutorSettings
from headrace_runtime.address import Address
from headrace_runtime.blobs import open_blobs
from headrace_runtime.clock import SystemClock
from headrace_runtime.definitions import Definitions
from headrace_runtime.delivery.effects import SCHEMA, PostgresEffects, migrations
from headrace_runtime.internal_token import internal_token
from headrace_runtime.keys import DataKeys, load_root_key
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import open_connection, open_pool
from headrace_runtime.rpc.channel import open_channel
from headrace_runtime.rpc.server import start_server
from headrace_runtime.sealing import Keyring
from headrace_runtime.secret_text import SecretText
from headrace_runtime.service import Life
from headrace_runtime.tenant_secrets import TenantSecrets

NAME = "headrace executor"
LANES = ("shared",)
DRAIN_S = 3.0
"""Of the 4.5 s that a stopping service has, what running attempts get."""


@asynccontextmanager
async def build(settings: ExecutorSettings, life: Life) -> AsyncGenerator[Address]:
    executor = draw_executor_id()
    life.log = life.log.bind(executor=executor)
    dsn = settings.postgres_dsn.get_secret_value()
    await _migrate(dsn)
    models = _models(settings)
    pool = await open_pool(dsn, application_name=NAME)
    try:
        root_key = load_root_key(settings.root_key_file)
        keys = DataKeys(pool, root_key)
        keyring = Keyring(keys, await open_blobs(settings.blobs, settings.home), SystemClock())
        channel = open_channel(settings.connectors, internal_token(root_key))
        connector = ConnectorOperation(ConnectorClient(channel))
        kinds = Kinds(
            transforms={"data": DataTransform()},
            operations={
                "ai": AiExtract(models, time.monotonic),
                "http": connector,
                "postgres": connector,
            },
        )
        acceptances = itertools.count(1)
        worker = Worker(
            PublishedPlans(Definitions(pool)),
            PayloadVaults(keyring),
            VaultSecrets(TenantSecrets(pool, root_key)),
            Effects(PostgresEffects(pool), lambda: f"{executor}/{next(acceptances)}"),
            kinds,
        )
        client = scheduler_streams(
            executor, LANES, settings.schedulers, settings.window, internal_token(root_key)
        )
        session = Session(worker, client, settings.slots, settings.window, life.log)
        metrics.CONNECTED.set_function(lambda: client.connected)
        metrics.UNACKNOWLEDGED.set_function(lambda: client.protocol.unacknowledged)
        metrics.GRANTED.set_function(lambda: client.protocol.granted)
        life.keep("payload keys", keyring.keep_fresh())
        life.keep("dispatch", client.run(session))
        server = await start_server(settings.listen, [])
        yield server.address
        await server.set_serving(serving=False)
        if not await client.drain(DRAIN_S):
            life.log.warning(
                "drain cut short",
                open=client.protocol.open,
                unacknowledged=client.protocol.unacknowledged,
            )
        await session.stop()
        await client.close()
        await channel.close()
        await server.stop()
    finally:
        pool.terminate()
        if models is not None:
            await models.close()


def _models(settings: ExecutorSettings) -> Models | None:
    if settings.ai_base_url is None:
        return None
    # A second of work at the start, for executors that call models alone.
    from headrace_executor.adapters.openai_client import OpenAiModels

    key = SecretText("HEADRACE_AI_API_KEY", settings.ai_api_key.get_secret_value())
    return OpenAiModels(settings.ai_base_url, key, settings.ai_model, SystemClock())


async def _migrate(dsn: str) -> None:
    session = await open_connection(dsn, application_name=NAME)
    try:
        await migrate(session, SCHEMA, migrations())
    finally:
        session.terminate()
