"""postgres.query and postgres.execute."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import Field

from headrace_connector_sdk import (
    ActionCall,
    ActionInput,
    BadInput,
    Connector,
    Effect,
    Outcome,
    read_input,
)
from headrace_connectors.app.ports import (
    AnswerTooLarge,
    CommitLost,
    Database,
    DatabaseFailed,
    EffectKey,
    KeyOfAnotherRequest,
    Rows,
    Statement,
    Statements,
)
from headrace_connectors.domain.dsn import parse_dsn
from headrace_connectors.domain.sql_statements import outcome_of_error, refusal_of
from headrace_core.ids import TenantId
from headrace_core.workflow.builtin_actions import POSTGRES_ACTIONS


class Input(ActionInput):
    connection: str = Field(min_length=1)
    sql: str = Field(min_length=1, max_length=1_000_000)
    params: Sequence[Any] = ()
    max_rows: int = Field(default=0, ge=1)


@dataclass(frozen=True, slots=True)
class PostgresActions:
    statements: Statements

    async def run(self, call: ActionCall) -> Outcome:
        given = read_input(Input, call.input)
        refusal = refusal_of(given.sql)
        if refusal is not None:
            raise BadInput(f"sql: {refusal}")
        secret = await call.context.open_secret(given.connection)
        try:
            dsn = parse_dsn(secret.reveal())
        except ValueError as fault:
            message = f"Secret {given.connection!r} does not hold a usable DSN: {fault}."
            return Outcome.auth_expired("auth", message)
        call.context.hide(dsn.password)
        database = Database(tenant=TenantId(call.tenant), connection=given.connection, dsn=dsn)
        try:
            rows = await self._rows(call, given, database)
        except AnswerTooLarge as fault:
            return Outcome.permanent("output.invalid", str(fault))
        except DatabaseFailed as fault:
            if not fault.sqlstate:
                return Outcome.retry("network", f"PostgreSQL: {fault.message}")
            return outcome_of_error(fault.sqlstate, fault.message)
        except KeyOfAnotherRequest:
            return Outcome.permanent(
                "input.invalid",
                "The idempotency key was used for another statement or other params before.",
            )
        except CommitLost as fault:
            return call.lost(
                "network", f"PostgreSQL: the connection broke during the commit: {fault}"
            )
        return Outcome.success({"rows": rows.rows, "row_count": rows.count})

    async def _rows(self, call: ActionCall, given: Input, database: Database) -> Rows:
        statement = Statement(
            sql=given.sql,
            parameters=given.params,
            rows_max=given.max_rows,
            timeout_s=call.timeout_s,
        )
        if call.action.effect is Effect.READ:
            return await self.statements.query(database, statement)
        key = None
        if call.idempotency_key:
            key = EffectKey(key=call.idempotency_key, request=_fingerprint(given))
        return await self.statements.execute(database, statement, key, call.context.acting)


def postgres_connector(statements: Statements) -> Connector:
    run = PostgresActions(statements).run
    actions = {action.name: (action, run) for action in POSTGRES_ACTIONS}
    return Connector(id="postgres", title="PostgreSQL", actions=actions)


def _fingerprint(given: Input) -> bytes:
    asked = {"sql": given.sql, "params": list(given.params), "max_rows": given.max_rows}
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
