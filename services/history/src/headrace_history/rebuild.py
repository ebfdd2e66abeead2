"""Rebuild: empties every projection and derives all of them from the log again.

Stop history first. If it runs all the same it is fenced by the rebuild's claim and stops.
"""

import asyncio

from headrace_core.errors import HeadraceError
from headrace_history.adapters.postgres.projection import PostgresProjection
from headrace_history.adapters.postgres.tenants import TenantSchemas, migrate_shared
from headrace_history.adapters.record_reader import ProtobufRecords
from headrace_history.app.live import Live
from headrace_history.app.projection import ProjectorSettings, open_projection
from headrace_history.settings import HistorySettings
from headrace_runtime.clock import SystemClock
from headrace_runtime.eventlog.port import EventLog
from headrace_runtime.eventlog.postgres import PostgresLog
from headrace_runtime.postgres.pool import open_pool
from headrace_runtime.telemetry import Logger

APPLICATION_NAME = "headrace-history-rebuild"


async def rebuild(settings: HistorySettings, log: Logger) -> int:
    """The exit code: 1 if a partition could not be read to its end, with the reason in the log."""
    dsn = settings.postgres_dsn.get_secret_value()
    async with await open_pool(dsn, application_name=APPLICATION_NAME) as pool:
        await migrate_shared(pool)
        event_log = await PostgresLog.open(dsn, application_name=APPLICATION_NAME)
        schemas = TenantSchemas(pool)
        store = PostgresProjection(dsn, pool, schemas)
        try:
            await store.empty()
            faults = await project_to_end(event_log, store)
        finally:
            await store.close()
            await event_log.close()
    for fault in faults:
        log.error("partition not rebuilt", code=fault.code, message=fault.message)
    log.info("projections rebuilt", stopped_partitions=len(faults))
    return 1 if faults else 0


async def project_to_end(event_log: EventLog, store: PostgresProjection) -> list[HeadraceError]:
    """Up to the ends as they are now; what stopped partitions, if any did."""
    projection = await open_projection(
        event_log, store, Live(), ProtobufRecords(), ProjectorSettings(), SystemClock()
    )
    ends = list(await event_log.ends())
    while await projection.read_once(ends):
        if projection.memory.bytes > projection.settings.unflushed_bytes_max:
            await projection.flusher.flush_once()
        await asyncio.sleep(0)
    projection.flusher.ask()
    await projection.flusher.flush_once()
    return [tail.stopped for tail in projection.tails if tail.stopped is not None]
