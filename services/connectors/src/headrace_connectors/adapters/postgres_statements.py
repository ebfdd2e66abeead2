"""Statements on a tenant's database: one each, in a transaction of its own.

The key of an effect stands in the customer's own database and is committed with the effect, so
either both hold or neither, and whoever asks again gets the first one's answer.
"""

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from headrace_connector_sdk.schema import BadInput
from headrace_connectors.adapters.postgres_pools import PostgresPools
from headrace_connectors.app.ports import (
    AnswerTooLarge,
    CommitLost,
    Database,
    DatabaseFailed,
    EffectKey,
    KeyOfAnotherRequest,
    Rows,
    Statement,
)
from headrace_connectors.domain.sql_statements import affected_rows
from headrace_connectors.domain.sql_values import BadParameter, parameter, shown
from headrace_runtime.postgres.pool import CONNECTION_LOST, Connection
from headrace_runtime.postgres.sql import load_statements

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

    Prepared = PreparedStatement[asyncpg.Record]

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))
ROWS_MAX = 10_000
PREFETCH = 100
# The server's own limit comes first, so that its session is free again when we leave.
_EARLIER_MS = 200
_TABLE_IS_THERE = (
    asyncpg.DuplicateTableError,
    asyncpg.UniqueViolationError,
    asyncpg.DuplicateObjectError,
)


class PostgresStatements:
    def __init__(self, pools: PostgresPools, answer_bytes_max: int) -> None:
        self._pools = pools
        self._bytes_max = answer_bytes_max

    async def query(self, database: Database, statement: Statement) -> Rows:
        async with self._pools.connection(database) as connection, _failures():
            transaction = connection.transaction(readonly=True)
            async with transaction:
                await _limit(connection, statement.timeout_s)
                rows, _ = await self._run(connection, statement, keep_all=False)
        return Rows(rows, len(rows))

    async def execute(
        self,
        database: Database,
        statement: Statement,
        key: EffectKey | None,
        committing: Callable[[], None],
    ) -> Rows:
        async with self._pools.connection(database) as connection, _failures():
            if key is not None:
                await _ensure_table(connection)
            transaction = connection.transaction(isolation="read_committed", readonly=False)
            await transaction.start()
            try:
                await _limit(connection, statement.timeout_s)
                earlier = None if key is None else await _claim(connection, database, key)
                done = earlier or await self._effect(connection, database, statement, key)
            except BaseException:
                await _rolled_back(connection, transaction)
                raise
            committing()
            try:
                await transaction.commit()
            except CONNECTION_LOST as fault:
                raise CommitLost(str(fault)) from fault
            return done

    async def _effect(
        self,
        connection: Connection,
        database: Database,
        statement: Statement,
        key: EffectKey | None,
    ) -> Rows:
        done = Rows(*await self._run(connection, statement, keep_all=True))
        if key is not None:
            answer = orjson.dumps({"rows": done.rows, "count": done.count}).decode()
            await connection.execute(STATEMENTS["keep"], database.tenant, key.key, answer)
        return done

    async def _run(
        self, connection: Connection, statement: Statement, *, keep_all: bool
    ) -> tuple[list[dict[str, Any]], int]:
        """The rows, and how many there are, which is more than were kept above `rows_max`."""
        prepared = await connection.prepare(statement.sql)
        arguments = _arguments(prepared, statement.parameters)
        columns = _columns(prepared)
        if not columns:
            await prepared.fetch(*arguments)
            return [], affected_rows(prepared.get_statusmsg() or "")
        rows: list[dict[str, Any]] = []
        size = count = 0
        wanted = statement.rows_max or ROWS_MAX + 1
        prefetch = min(PREFETCH, wanted)
        async for record in prepared.cursor(*arguments, prefetch=prefetch):
            if len(rows) >= wanted:
                if not keep_all:
                    break
                count += 1
                continue
            row = {name: shown(record[name], kind) for name, kind in columns}
            size += len(orjson.dumps(row))
            rows.append(row)
            count += 1
            if size > self._bytes_max:
                raise AnswerTooLarge(f"The rows have more than {self._bytes_max} bytes.")
        if not statement.rows_max and count > ROWS_MAX:
            raise AnswerTooLarge(
                f"There are more than {ROWS_MAX} rows: say how many with max_rows or LIMIT."
            )
        return rows, count


@asynccontextmanager
async def _failures() -> AsyncGenerator[None]:
    """A connection that breaks before the commit takes the transaction with it."""
    try:
        yield
    except BadParameter as fault:
        raise BadInput(f"params: {fault}") from None
    except asyncpg.PostgresError as fault:
        if isinstance(fault, asyncpg.DataError) and fault.severity is None:
            # Not the server's: the client cannot put a value into its type, and shows the value.
            raise BadInput(f"params: {_which(fault)} does not fit the type it has") from None
        raise DatabaseFailed(str(fault), fault.sqlstate or "") from fault
    except CONNECTION_LOST as fault:
        raise DatabaseFailed(f"the connection broke: {fault}") from fault


async def _rolled_back(connection: Connection, transaction: Any) -> None:
    if not connection.is_closed():
        try:
            await transaction.rollback()
        except (*CONNECTION_LOST, asyncpg.PostgresError):
            connection.terminate()


async def _limit(connection: Connection, timeout_s: float) -> None:
    limit_ms = max(1, int(timeout_s * 1000) - _EARLIER_MS)
    await connection.execute(f"set local statement_timeout = {limit_ms}")


async def _ensure_table(connection: Connection) -> None:
    if await connection.fetchval(STATEMENTS["has_table"]):
        return
    try:
        await connection.execute(STATEMENTS["create_table"])
    except _TABLE_IS_THERE:
        # Somebody else made it in the same moment.
        return
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as fault:
        raise DatabaseFailed(
            f"{fault}: the login must be allowed to create table headrace_idempotency in its first "
            "schema, or to use one that is there; it makes sure that the statement runs once",
            fault.sqlstate or "",
        ) from fault


async def _claim(connection: Connection, database: Database, key: EffectKey) -> Rows | None:
    """None if the key is new; else what came of its first use, once that is committed."""
    tenant = database.tenant
    status = await connection.execute(STATEMENTS["claim"], tenant, key.key, key.request)
    if affected_rows(status):
        return None
    row = await connection.fetchrow(STATEMENTS["earlier"], tenant, key.key)
    assert row is not None, "rows of this table are not deleted while their keys are in use"
    if row["request"] != key.request:
        raise KeyOfAnotherRequest
    answer = orjson.loads(row["answer"])
    return Rows(answer["rows"], answer["count"])


def _arguments(prepared: "Prepared", given: Sequence[Any]) -> list[Any]:
    """Raises BadInput."""
    types = prepared.get_parameters()
    if len(types) != len(given):
        raise BadInput(f"params: the statement takes {len(types)} and {len(given)} are given")
    return [
        parameter(value, kind.name, number)
        for number, (value, kind) in enumerate(zip(given, types, strict=True), 1)
    ]


def _which(fault: Exception) -> str:
    found = re.search(r"argument (\$[0-9]+)", str(fault))
    return found[1] if found else "a value"


def _columns(prepared: "Prepared") -> list[tuple[str, str]]:
    """Names and types. Raises BadInput for two of one name: a row is an object."""
    attributes = prepared.get_attributes()
    names = [attribute.name for attribute in attributes]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise BadInput(f"sql: two columns are named {min(twice)!r}; give one another name with AS")
    return [(attribute.name, attribute.type.name) for attribute in attributes]
