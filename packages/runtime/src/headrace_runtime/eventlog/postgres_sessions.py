"""The log's own connections, and what their failures mean.

A statement that ended in an ERROR of the server was rolled back. After anything else (a broken
connection, a timeout, a cancelled task) nobody knows, and the connection is thrown away: nothing
can be queued behind it.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from headrace_core.errors import HeadraceError, SetupError, Unavailable, UnclearAppend, WrongLog
from headrace_runtime.eventlog.port import LogDescription, StoreFull
from headrace_runtime.postgres.pool import RETRY_S, Session, open_connection, server_of
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_name("postgres.sql"))
Row = asyncpg.Record

# What a statement may end with when nobody knows what became of it.
BROKEN = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_SET_UP_WRONGLY = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
)


class LogSessions:
    """At most `size` connections, opened when needed. Each is checked to lead to `log`."""

    def __init__(
        self,
        dsn: str,
        *,
        application_name: str,
        statement_timeout_ms: int,
        wait_s: float,
        size: int,
        log: LogDescription,
    ) -> None:
        self.server = server_of(dsn)
        self._dsn = dsn
        self._application_name = application_name
        self._statement_timeout_ms = statement_timeout_ms
        self._wait_s = wait_s
        self._log = log
        self._room = asyncio.Semaphore(size)
        self._idle: list[Session] = []
        self._closed = False

    async def call(self, statement: str, *arguments: object) -> list[Row]:
        """One statement in its own transaction, one round trip once it is prepared.

        Raises what asyncpg raises; Unavailable, SetupError or WrongLog when no connection came
        about, in which case nothing was sent.
        """
        async with self._room:
            session = await self._take()
            try:
                rows = await session.fetch(STATEMENTS[statement], *arguments)
            except BaseException as fault:
                if is_rolled_back(fault):
                    self._give_back(session)
                else:
                    session.terminate()
                raise
            self._give_back(session)
            return rows

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            session = self._idle.pop()
            try:
                await session.close(timeout=1.0)
            except (*BROKEN, asyncpg.PostgresError):
                session.terminate()

    async def _take(self) -> Session:
        while self._idle:
            session = self._idle.pop()
            if not session.is_closed():
                return session
        session = await open_connection(
            self._dsn,
            application_name=self._application_name,
            statement_timeout_ms=self._statement_timeout_ms,
            wait_s=self._wait_s,
        )
        try:
            await session.execute(STATEMENTS["prepare_session"])
            check_log(await session.fetchrow(STATEMENTS["describe"]), self._log, self.server)
        except BaseException as fault:
            session.terminate()
            if isinstance(fault, (*BROKEN, asyncpg.PostgresError)):
                raise clear_fault(fault, "opening a connection", self.server) from fault
            raise
        return session

    def _give_back(self, session: Session) -> None:
        if self._closed:
            session.terminate()
        else:
            self._idle.append(session)


def is_rolled_back(fault: BaseException) -> bool:
    """An ERROR ends the statement's transaction; FATAL and PANIC end the session at any point."""
    return isinstance(fault, asyncpg.PostgresError) and severity_of(fault) == "ERROR"


def severity_of(fault: asyncpg.PostgresError) -> str:
    """Never translated, unlike the severity that people see."""
    return str(getattr(fault, "severity_en", "") or "")


def check_log(found: Row | None, wanted: LogDescription, server: str) -> None:
    if found is None or (found["log_id"], found["partitions"]) != (
        wanted.log_id,
        wanted.partitions,
    ):
        what = "no log" if found is None else f"log {found['log_id'].hex()}"
        raise WrongLog(
            f"the database at {server} now holds {what} instead of {wanted.log_id.hex()} with "
            f"{wanted.partitions} partitions: was it replaced? Restart against the right one."
        )


def unclear_append(fault: BaseException, server: str) -> UnclearAppend | SetupError:
    """What a failed append or claim is to its caller: in any case it forgets and claims again."""
    if not is_rolled_back(fault):
        return UnclearAppend(
            f"the connection to {server} broke during an append ({describe(fault)}): "
            "nobody knows whether its records were stored. The partition is claimed again."
        )
    clear = clear_fault(fault, "an append", server)
    if isinstance(fault, asyncpg.DiskFullError):
        return StoreFull(clear.message)
    return clear if isinstance(clear, SetupError) else UnclearAppend(clear.message)


def clear_fault(fault: BaseException, doing: str, server: str) -> Unavailable | SetupError:
    """A failure that left nothing behind, said so that an operator knows what to do."""
    where = f"{doing} at {server} failed and nothing was stored"
    if isinstance(fault, asyncpg.DiskFullError):
        return Unavailable(f"{where}: the database's disk is full ({fault}). Free space there.")
    if isinstance(fault, asyncpg.ReadOnlySQLTransactionError):
        return Unavailable(
            f"{where}: the database is read-only. Is the DSN that of a standby, or is "
            "default_transaction_read_only set?"
        )
    if isinstance(fault, _SET_UP_WRONGLY):
        return SetupError(
            f"{where}: {fault}. Is this the login of a service that may do this, and has the "
            "scheduler created schema headrace_log?"
        )
    return Unavailable(f"{where}: {describe(fault)}")


def describe(fault: BaseException) -> str:
    return str(fault) or type(fault).__name__


async def read_rows(sessions: LogSessions, statement: str, *arguments: object) -> Sequence[Row]:
    """A read is asked again once on a new connection: the server may have been restarted.

    Raises Unavailable, or SetupError.
    """
    for is_last in (False, True):
        try:
            return await sessions.call(statement, *arguments)
        except HeadraceError:
            raise
        except (*BROKEN, asyncpg.PostgresError) as fault:
            if is_last or is_rolled_back(fault):
                raise clear_fault(fault, "reading the log", sessions.server) from fault
    raise AssertionError("the last attempt answers or raises")


async def find_log(dsn: str, *, application_name: str, wait_s: float) -> LogDescription:
    """Which log this database holds; waits for a scheduler that is about to create it."""
    give_up_at = asyncio.get_running_loop().time() + wait_s
    while True:
        session = await open_connection(dsn, application_name=application_name, wait_s=wait_s)
        try:
            return description(await session.fetch(STATEMENTS["describe"]), server_of(dsn))
        except (Unavailable, asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            if asyncio.get_running_loop().time() >= give_up_at:
                raise description_missing(server_of(dsn)) from None
        except (*BROKEN, asyncpg.PostgresError) as fault:
            raise clear_fault(fault, "looking for the log", server_of(dsn)) from fault
        finally:
            session.terminate()
        await asyncio.sleep(RETRY_S)


def description(rows: Sequence[Row], server: str) -> LogDescription:
    if not rows:
        raise description_missing(server)
    return LogDescription(log_id=rows[0]["log_id"], partitions=rows[0]["partitions"])


def description_missing(server: str) -> Unavailable:
    return Unavailable(f"the database at {server} holds no log yet: start the scheduler first")
