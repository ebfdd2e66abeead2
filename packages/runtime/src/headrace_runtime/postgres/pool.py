"""asyncpg connections with the settings that every service shares.

The rule on pooled connections: `SET LOCAL` inside a transaction, never `SET`, and no session
advisory lock, temporary table or LISTEN. A connection goes back without a reset (that would cost
a round trip each time), so what a session-level statement leaves behind would reach the next
user. What needs a session of its own (log writer, projector, listener) takes `open_connection`.

`search_path` is empty but for pg_catalog: SQL names its schemas.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import asyncpg

from headrace_core.errors import SetupError, Unavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Session = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
    # What the functions of an adapter take: from a pool or of its own.
    Connection = Session | PoolConnectionProxy[asyncpg.Record]
else:
    Session = Connection = asyncpg.Connection
    Pool = asyncpg.Pool

CONNECT_TIMEOUT_S = 10.0
RETRY_S = 0.1
LOCK_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION_MS = 30_000

# What a statement raises when the server goes away: whether it took effect is then unknown.
# InternalClientError is asyncpg's answer on a session that was cut off between two statements.
CONNECTION_LOST: tuple[type[Exception], ...] = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

Opened = TypeVar("Opened")


async def open_pool(
    dsn: str,
    *,
    application_name: str,
    connections_min: int = 1,
    connections_max: int = 4,
    statement_timeout_ms: int = 30_000,
    wait_s: float = 10.0,
) -> Pool:
    """A pool with at least one live connection.

    Waits up to `wait_s` for a server that is starting or restarting, then raises Unavailable;
    a wrong password, role or database is a SetupError at once.
    """

    async def attempt() -> Pool:
        return await asyncpg.create_pool(
            dsn,
            min_size=max(1, connections_min),
            max_size=connections_max,
            reset=_keep_session,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=_command_timeout_s(statement_timeout_ms),
            server_settings=_session_settings(application_name, statement_timeout_ms),
        )

    return await _patiently(attempt, dsn, wait_s)


async def open_connection(
    dsn: str,
    *,
    application_name: str,
    statement_timeout_ms: int = 30_000,
    wait_s: float = 10.0,
) -> Session:
    """One connection outside any pool, with the same settings and errors as `open_pool`."""

    async def attempt() -> Session:
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=_command_timeout_s(statement_timeout_ms),
            server_settings=_session_settings(application_name, statement_timeout_ms),
        )

    return await _patiently(attempt, dsn, wait_s)


def server_of(dsn: str) -> str:
    """host:port/database of a DSN, without user and password: for messages."""
    parts = urlsplit(dsn)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"


def _session_settings(application_name: str, statement_timeout_ms: int) -> dict[str, str]:
    return {
        "application_name": application_name,
        "search_path": "pg_catalog",
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
        # Short statements only: compiling them costs more than it saves.
        "jit": "off",
        "timezone": "UTC",
    }


def _command_timeout_s(statement_timeout_ms: int) -> float | None:
    """Above the server's own limit, so that its clear answer comes first. 0 is no limit."""
    return statement_timeout_ms / 1000 + 5 if statement_timeout_ms else None


async def _keep_session(_: Session) -> None:
    """Instead of asyncpg's RESET ALL; open transactions are rolled back before this."""


async def _patiently(attempt: Callable[[], Awaitable[Opened]], dsn: str, wait_s: float) -> Opened:
    give_up_at = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            return await attempt()
        except asyncpg.ClientConfigurationError as fault:
            raise SetupError(f"The DSN for {server_of(dsn)} is not well formed: {fault}") from fault
        except (
            asyncpg.InvalidAuthorizationSpecificationError,
            asyncpg.InvalidCatalogNameError,
            asyncpg.InsufficientPrivilegeError,
        ) as fault:
            raise SetupError(
                f"PostgreSQL at {server_of(dsn)} refuses the login: {fault}. "
                "Check user, password and database of the DSN."
            ) from fault
        except (*CONNECTION_LOST, asyncpg.TooManyConnectionsError) as fault:
            if asyncio.get_running_loop().time() >= give_up_at:
                raise Unavailable(
                    f"PostgreSQL at {server_of(dsn)} does not answer after {wait_s:.0f} s: "
                    f"{fault or type(fault).__name__}. Is it running, and is the address right?"
                ) from fault
        await asyncio.sleep(RETRY_S)
