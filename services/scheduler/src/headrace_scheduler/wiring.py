"""Builds the scheduler by hand; the only place that names concrete adapters."""

import random
import secrets
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import grpc.aio

from headrace_core.errors import HeadraceError
from headrace_core.ids import UNIQUE_BYTES
from headrace_runtime.address import Address
from headrace_runtime.blobs import open_blobs
from headrace_runtime.clock import SystemClock
from headrace_runtime.definitions import Definitions
from headrace_runtime.delivery.effects import PostgresEffects
from headrace_runtime.eventlog.port import LogDescription
from headrace_runtime.eventlog.postgres import PostgresLog, create_log
from headrace_runtime.internal_token import internal_token
from headrace_runtime.keys import DataKeys, load_root_key
from headrace_runtime.leases import SCHEMA, Leases, Owners, migrations
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import open_connection, open_pool
from headrace_runtime.rpc.internal_calls import InternalCallsOnly
from headrace_runtime.rpc.server import start_server
from headrace_runtime.sealing import Keyring
from headrace_runtime.service import Life
from headrace_runtime.telemetry import Logger
from headrace_scheduler import metrics
from headrace_scheduler.adapters.catalogue import StoredCatalogue
from headrace_scheduler.adapters.effect_rows import StoredRows
from headrace_scheduler.adapters.owners import OtherOwners
from headrace_scheduler.adapters.peer_streams import PeerStreams
from headrace_scheduler.adapters.snapshot_store import PostgresSnapshots
from headrace_scheduler.adapters.worker_keys import StoredWorkerKeys
from headrace_scheduler.api.command import CommandStreams
from headrace_scheduler.api.deliver import DeliverStreams
from headrace_scheduler.api.dispatch import DispatchServicer
from headrace_scheduler.api.servicer import SchedulerServicer, add_services
from headrace_scheduler.api.watch_offsets import OffsetHints
from headrace_scheduler.app.admission import Admission
from headrace_scheduler.assembly import Engine, EnginePorts, assemble
from headrace_scheduler.settings import SchedulerSettings

DISPATCH = "headrace.dispatch.v1.DispatchService"
"""Open to workers: it proves each stream by its own credential."""
NAME = "headrace scheduler"
TOKEN_BITS = 63
NONCE_BYTES = 16


@asynccontextmanager
async def build(settings: SchedulerSettings, life: Life) -> AsyncGenerator[Address]:
    dsn = settings.postgres_dsn.get_secret_value()
    description = await create_log(dsn, settings.partitions, application_name=NAME)
    await _migrate(dsn)
    pool = await open_pool(dsn, application_name=NAME, connections_max=6)
    log = await PostgresLog.open(
        dsn, application_name=NAME, deadline_ms=settings.append_deadline_ms
    )
    clock = SystemClock()
    root_key = load_root_key(settings.root_key_file)
    keys = DataKeys(pool, root_key)
    keyring = Keyring(keys, await open_blobs(settings.blobs, settings.home), clock)
    catalogue = StoredCatalogue(Definitions(pool), keyring)
    owner = f"{socket.gethostname()}/{secrets.token_hex(6)}"
    chance = random.Random(secrets.randbits(128))
    engine = assemble(
        EnginePorts(
            log=log,
            description=description,
            catalogue=catalogue,
            snapshots=PostgresSnapshots(pool),
            rows=StoredRows(PostgresEffects(pool)),
            clock=clock,
            tokens=lambda: chance.getrandbits(TOKEN_BITS),
            unique=lambda: secrets.token_bytes(UNIQUE_BYTES),
            nonce=lambda: secrets.token_bytes(NONCE_BYTES),
            logger=life.log,
            owner=owner,
            snapshot_interval_ms=settings.snapshot_interval_ms,
        )
    )
    token = internal_token(root_key)
    admission = Admission(token, StoredWorkerKeys(pool))
    owners = OtherOwners(Owners(pool))
    peers = PeerStreams(owners, engine.delivery, description.log_id, life.log, token)
    engine.delivery.peers = peers
    servicers = _servicers(engine, description, catalogue, admission, owner, owners, life.log)
    server = await start_server(
        settings.listen, servicers, interceptors=[InternalCallsOnly(token, DISPATCH)]
    )
    address = Address.parse(settings.advertise) if settings.advertise else server.address
    owners.own = address
    leases = Leases(dsn, owner, address, description.partitions)
    _publish_metrics(engine)
    life.keep("keyring", keyring.keep_fresh())
    life.keep("loop", engine.loop.run())
    ownership = life.spawn("ownership", engine.ownership.run(leases))
    try:
        yield server.address
    finally:
        ownership.cancel()
        engine.loop.stop()
        await _release(engine, leases, life)
        engine.dispatch.close_all()
        await engine.close()
        await peers.close()
        await server.stop()
        await log.close()
        await pool.close()


def _servicers(
    engine: Engine,
    description: LogDescription,
    catalogue: StoredCatalogue,
    admission: Admission,
    owner: str,
    owners: OtherOwners,
    log: Logger,
) -> Sequence[Callable[[grpc.aio.Server], None]]:
    hints = OffsetHints()
    engine.loop.on_committed = hints.committed
    why_not_owned = engine.ownership.why_not_owned
    commands = CommandStreams(
        engine.loop, catalogue, description.partitions, why_not_owned, owners.named
    )
    deliveries = DeliverStreams(engine.delivery, description.log_id, owners.named, log)
    scheduler = SchedulerServicer(commands, deliveries, hints)
    dispatch = DispatchServicer(owner, description.log_id, engine, catalogue, admission)
    return (lambda server: add_services(server, scheduler, dispatch),)


def _publish_metrics(engine: Engine) -> None:
    owned = engine.loop.partitions
    metrics.PARTITIONS_OWNED.of().set_function(lambda: len(owned))
    metrics.OPEN_RUNS.of().set_function(lambda: sum(len(one.runs) for one in owned.values()))
    metrics.EXECUTORS.of().set_function(engine.dispatch.executors)
    metrics.FREE_CREDITS.of().set_function(lambda: engine.assigning.credits.free)


async def _release(engine: Engine, leases: Leases, life: Life) -> None:
    """Others take over at once; without a database they do so when the leases have run out."""
    try:
        await engine.ownership.release(leases)
    except (OSError, HeadraceError) as error:
        life.log.warning("leases not released", cause=repr(error))
    await leases.close()


async def _migrate(dsn: str) -> None:
    session = await open_connection(dsn, application_name=NAME)
    try:
        await migrate(session, SCHEMA, migrations())
    finally:
        session.terminate()
