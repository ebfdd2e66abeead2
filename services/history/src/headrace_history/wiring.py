"""Builds history: the only place that names concrete adapters."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from headrace_history.adapters.offset_hints import watch_offsets
from headrace_history.adapters.plans import PublishedPlans
from headrace_history.adapters.postgres.journal import PostgresJournal
from headrace_history.adapters.postgres.letters import PostgresLetters
from headrace_history.adapters.postgres.projection import PostgresProjection
from headrace_history.adapters.postgres.runs import PostgresRuns
from headrace_history.adapters.postgres.tenants import TenantSchemas, migrate_shared
from headrace_history.adapters.postgres.usage import PostgresUsage
from headrace_history.adapters.record_reader import ProtobufRecords
from headrace_history.adapters.vaults import KeyringVaults
from headrace_history.api.servicer import UseCases, register
from headrace_history.app.end_wait import EndWait
from headrace_history.app.event_list import EventList
from headrace_history.app.exporter import Exporter
from headrace_history.app.follower import Follower
from headrace_history.app.letter_list import LetterList
from headrace_history.app.live import Live
from headrace_history.app.presenter import Presenter
from headrace_history.app.projection import ProjectorSettings
from headrace_history.app.projector import Projector
from headrace_history.app.replayer import Replayer
from headrace_history.app.run_list import RunList
from headrace_history.settings import HistorySettings
from headrace_runtime.address import Address
from headrace_runtime.blobs import BlobStore, open_blobs
from headrace_runtime.clock import SystemClock
from headrace_runtime.definitions import Definitions
from headrace_runtime.eventlog.postgres import PostgresLog
from headrace_runtime.internal_token import internal_token
from headrace_runtime.keys import DataKeys, load_root_key
from headrace_runtime.postgres.pool import Pool, open_pool
from headrace_runtime.rpc.internal_calls import InternalCallsOnly
from headrace_runtime.rpc.server import start_server
from headrace_runtime.sealing import Keyring
from headrace_runtime.service import Life

APPLICATION_NAME = "headrace-history"
LOG_WAIT_S = 60.0
"""The scheduler creates the log; on a first start it may come later than history."""


@asynccontextmanager
async def build(settings: HistorySettings, life: Life) -> AsyncGenerator[Address]:
    dsn = settings.postgres_dsn.get_secret_value()
    pool = await open_pool(dsn, application_name=APPLICATION_NAME, connections_max=6)
    await migrate_shared(pool)
    event_log = await PostgresLog.open(
        dsn, application_name=APPLICATION_NAME, wait_s=LOG_WAIT_S, writers=1
    )
    schemas = TenantSchemas(pool)
    store = PostgresProjection(dsn, pool, schemas)
    live = Live()
    records = ProtobufRecords()
    projector = Projector(
        event_log, store, live, records, projector_settings(settings), SystemClock(), life.log
    )
    blobs = await open_blobs(settings.blobs, settings.home)
    root_key = load_root_key(settings.root_key_file)
    token = internal_token(root_key)
    keys = DataKeys(pool, root_key)
    keyring = Keyring(keys, blobs, SystemClock())
    use_cases = _use_cases(settings, pool, schemas, projector, live, records, keyring, blobs)
    projecting = life.keep("projector", projector.run())
    life.keep("payload keys", keyring.keep_fresh())
    for scheduler in settings.schedulers:
        life.keep(
            f"hints of {scheduler}", watch_offsets(scheduler, projector.hint, life.log, token)
        )
    server = await start_server(
        settings.listen, [register(use_cases)], interceptors=[InternalCallsOnly(token)]
    )
    try:
        yield server.address
    finally:
        live.close()
        await server.stop()
        await projector.drain()
        projecting.cancel()
        await asyncio.wait([projecting])
        await store.close()
        await event_log.close()
        await pool.close()


def projector_settings(settings: HistorySettings) -> ProjectorSettings:
    return ProjectorSettings(flush_interval_s=settings.history_flush_ms / 1000)


def _use_cases(
    settings: HistorySettings,
    pool: Pool,
    schemas: TenantSchemas,
    projector: Projector,
    live: Live,
    records: ProtobufRecords,
    keyring: Keyring,
    blobs: BlobStore,
) -> UseCases:
    wait_s = settings.history_read_wait_s
    runs = PostgresRuns(pool, schemas)
    vaults = KeyringVaults(keyring, blobs)
    plans = PublishedPlans(Definitions(pool))
    replayer = Replayer(projector, runs, PostgresJournal(pool, schemas), records, wait_s)
    presenter = Presenter(vaults, plans)
    return UseCases(
        replayer=replayer,
        presenter=presenter,
        runs=RunList(projector, runs, PostgresUsage(pool, schemas), wait_s),
        letters=LetterList(projector, PostgresLetters(pool, schemas), presenter, wait_s),
        events=EventList(replayer, presenter),
        ends=EndWait(replayer, live),
        follower=Follower(replayer, presenter, live),
        exporter=Exporter(replayer, plans, vaults),
    )
