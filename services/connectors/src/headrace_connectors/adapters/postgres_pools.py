"""Pools of tenants' databases, one per connection; every connection goes through the guard.

asyncpg fills gaps from variables and files of this machine, so every parameter is given.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from headrace_connectors import metrics
from headrace_connectors.app.ports import Database, DatabaseFailed
from headrace_connectors.domain.dsn import Dsn, TlsMode
from headrace_core.errors import EgressRefused
from headrace_core.ids import TenantId
from headrace_runtime.egress import POSTGRES_PORTS, EgressGuard, HostPort
from headrace_runtime.postgres.pool import CONNECTION_LOST, Connection, Pool, Session

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

POOLS_MAX = 256
CONNECTIONS_MAX = 8
CONNECT_S = 10.0
IDLE_S = 60.0
# Whatever a statement left in its session (settings, role, temporary tables, locks) ends with it.
_RESET = "discard all"

_Key = tuple[TenantId, str]


class _NamedContext(ssl.SSLContext):
    """Names the host of the DSN to the server and verifies it, although the connection goes to a
    checked address."""

    host: str

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 the interface of the base
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.host, session)


class PostgresPools:
    def __init__(self, guard: EgressGuard) -> None:
        self._guard = guard
        self._pools: OrderedDict[_Key, tuple[Dsn, Pool]] = OrderedDict()
        self._making = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def connection(self, database: Database) -> AsyncGenerator[Connection]:
        """Raises DatabaseFailed, EgressRefused, Unavailable for a name that does not resolve."""
        key, dsn = (database.tenant, database.connection), database.dsn
        try:
            # Also where a connection is at hand: what the admin took back holds at once.
            await self._guard.check(database.tenant, dsn.host, dsn.port, POSTGRES_PORTS)
        except EgressRefused:
            self._drop(key)
            raise
        pool = await self._pool(key, dsn)
        connection = await _acquired(pool, dsn)
        try:
            yield connection
        finally:
            await pool.release(connection)

    async def close(self) -> None:
        for task in self._closing:
            task.cancel()
        for _, pool in self._pools.values():
            pool.terminate()
        self._pools.clear()

    async def _pool(self, key: _Key, dsn: Dsn) -> Pool:
        async with self._making:
            known = self._pools.get(key)
            if known is not None and known[0] != dsn:
                # The secret was set anew.
                self._drop(key)
                known = None
            if known is None:
                known = dsn, await self._make(key[0], dsn)
                self._pools[key] = known
            self._pools.move_to_end(key)
            if len(self._pools) > POOLS_MAX:
                self._drop(next(iter(self._pools)))
            metrics.POSTGRES_POOLS.set(len(self._pools))
            return known[1]

    async def _make(self, tenant: TenantId, dsn: Dsn) -> Pool:
        async def connect(*_: object, **given: Any) -> Session:
            return await self._connect(tenant, dsn, given)

        return await asyncpg.create_pool(
            connect=cast("Any", connect),
            reset=_reset,
            min_size=0,
            max_size=CONNECTIONS_MAX,
            max_inactive_connection_lifetime=IDLE_S,
        )

    async def _connect(self, tenant: TenantId, dsn: Dsn, given: dict[str, Any]) -> Session:
        target = await self._guard.check(tenant, dsn.host, dsn.port, POSTGRES_PORTS)
        *others, last = target.addresses
        for address in others:
            try:
                return await _open(address, dsn, given)
            except OSError:
                continue
        return await _open(last, dsn, given)

    def _drop(self, key: _Key) -> None:
        """Statements that run on it may end."""
        found = self._pools.pop(key, None)
        if found is not None:
            task = asyncio.create_task(found[1].close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _acquired(pool: Pool, dsn: Dsn) -> "PoolConnectionProxy[asyncpg.Record]":
    place = HostPort.normal(dsn.host, dsn.port)
    try:
        return await pool.acquire()
    except asyncpg.PostgresError as fault:
        raise DatabaseFailed(f"{place}: {fault}", fault.sqlstate or "") from fault
    except ssl.SSLCertVerificationError as fault:
        raise DatabaseFailed(f"{place}: {fault.verify_message}") from fault
    except CONNECTION_LOST as fault:
        raise DatabaseFailed(f"{place} does not answer: {_why(fault)}") from fault


async def _open(address: str, dsn: Dsn, given: dict[str, Any]) -> Session:
    connect: Callable[..., Any] = partial(
        asyncpg.connect,
        host=address,
        port=dsn.port,
        user=dsn.user,
        password=dsn.password,
        database=dsn.database,
        timeout=CONNECT_S,
        # Poolers in front of a database give each transaction another session.
        statement_cache_size=0,
        server_settings={"application_name": "headrace"},
        target_session_attrs="any",
        direct_tls=False,
        **given,
    )
    if dsn.tls is TlsMode.DISABLE:
        return await connect(ssl=False)
    try:
        return await connect(ssl=_tls(dsn))
    except ConnectionError as fault:
        # This very class says that the server offers no TLS; others, that it is not there.
        if dsn.tls is not TlsMode.PREFER or type(fault) is not ConnectionError:
            raise
        return await connect(ssl=False)


def _tls(dsn: Dsn) -> ssl.SSLContext:
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.host = dsn.host
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if dsn.tls is TlsMode.VERIFY_FULL:
        context.load_default_certs()
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _reset(session: Session) -> None:
    await session.execute(_RESET)


def _why(fault: BaseException) -> str:
    return getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
