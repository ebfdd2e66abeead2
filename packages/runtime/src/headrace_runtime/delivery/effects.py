"""Effect rows in PostgreSQL, schema `headrace_effects`: each change one conditional statement.

Owned by the executor; the scheduler closes rows in it. A commit whose answer was lost is read
again: a row under one's own (attempt, claimant) says that it succeeded, and a statement that
arrives late finds its condition gone.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import asyncpg

from headrace_core.errors import Unavailable
from headrace_core.ids import RunId, StepKey, TenantId, compensated_by, day_of
from headrace_core.payload import NOTHING, Stored
from headrace_runtime.delivery import effect_rules as rules
from headrace_runtime.delivery.effect_rules import Claim, Close, GiveUp, Guard, Row, Written
from headrace_runtime.postgres.migrate import Migration, load_migrations
from headrace_runtime.postgres.pool import CONNECTION_LOST, Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))
SCHEMA = "headrace_effects"
RETRY_FIRST_S, RETRY_MAX_S = 0.02, 0.5
SCHEDULER = "scheduler"
"""The claimant of rows that a scheduler closed."""
_TRY_AGAIN = (
    *CONNECTION_LOST,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    # The executor migrates the schema as it starts, perhaps after a scheduler's first question.
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
)

Answer = TypeVar("Answer")
Decide = Callable[[Row | None], tuple[Row | None, Answer]]


def migrations() -> tuple[Migration, ...]:
    """Of schema `headrace_effects`; applied by the executor."""
    return load_migrations(Path(__file__).parent.parent / "migrations" / SCHEMA)


class EffectKey(NamedTuple):
    """Identity of one step execution, the same over attempts, lost executors and failovers.
    A custom idempotency key only goes outside; it is never the row's."""

    day: int
    tenant: TenantId
    run: RunId
    key: str

    @classmethod
    def of(cls, tenant: TenantId, run: RunId, step: StepKey, fallback: int = 0) -> "EffectKey":
        undone = compensated_by(step)
        key = f"{step}/{fallback}/do" if undone is None else f"{undone}/{fallback}/compensate"
        return cls(day_of(run), tenant, run, key)

    def outside(self) -> str:
        """The default idempotency key that the outside sees."""
        return f"{self.run}/{self.key}"


@dataclass(frozen=True, slots=True)
class ClaimAnswer:
    """`result` is the stored one of an effect that is done."""

    claim: Claim
    result: Stored = NOTHING


@dataclass(frozen=True, slots=True)
class GiveUpAnswer:
    word: GiveUp
    result: Stored = NOTHING


@dataclass(frozen=True, slots=True)
class CloseAnswer:
    word: Close
    result: Stored = NOTHING


class PostgresEffects:
    """Every method may be repeated, and raises Unavailable after `patience_s` without an answer
    from the database; then it may or may not have taken effect.

    A lease counts from before the call of `claim` or `renew` on the holder's own clock: the
    database's is never shorter.
    """

    def __init__(self, pool: Pool, patience_s: float = 10.0) -> None:
        self._pool = pool
        self._patience_s = patience_s

    async def claim(
        self, at: EffectKey, attempt: int, claimant: str, lease_ms: int, guard: Guard
    ) -> ClaimAnswer:
        """`claimant` is drawn for this acceptance of the attempt and used for it alone."""
        row, answer = await self._change(
            at,
            "claim",
            (attempt, claimant, lease_ms, guard is not Guard.NONE),
            partial(rules.claim, attempt=attempt, claimant=claimant, guard=guard),
            lambda tainted: rules.after_take_over(guard) if tainted else Claim.CALL,
        )
        return ClaimAnswer(answer, row.result if row is not None else NOTHING)

    async def mark_done(
        self, at: EffectKey, attempt: int, claimant: str, result: Stored
    ) -> Written:
        decide = partial(rules.mark_done, attempt=attempt, claimant=claimant, result=result)
        return await self._write(at, "done", (attempt, claimant, result), decide)

    async def mark_failed(self, at: EffectKey, attempt: int, claimant: str) -> Written:
        """`failed_before_effect` over one's own untainted claim."""
        decide = partial(rules.mark_failed, attempt=attempt, claimant=claimant)
        return await self._write(at, "fail", (attempt, claimant), decide)

    async def untaint(self, at: EffectKey, attempt: int, claimant: str) -> Written:
        """After a probe under the own claim has found nothing."""
        decide = partial(rules.untaint, attempt=attempt, claimant=claimant)
        return await self._write(at, "untaint", (attempt, claimant), decide)

    async def renew(self, at: EffectKey, attempt: int, claimant: str, lease_ms: int) -> Written:
        decide = partial(rules.renew, attempt=attempt, claimant=claimant)
        return await self._write(at, "renew", (attempt, claimant, lease_ms), decide)

    async def give_up(self, at: EffectKey, attempt: int, claimant: str) -> GiveUpAnswer:
        """An attempt ends before it claimed: what may be said of it."""
        decide = partial(rules.give_up, attempt=attempt, claimant=claimant)
        row, word = await self._change(
            at, "close", (attempt, claimant), decide, lambda _: GiveUp.NO_EFFECT
        )
        return GiveUpAnswer(word, row.result if row is not None else NOTHING)

    async def close(self, at: EffectKey, attempt: int) -> CloseAnswer:
        """The scheduler ends the step without its executor's word on its last attempt."""
        decide = partial(rules.close, attempt=attempt, closer=SCHEDULER)
        row, word = await self._change(
            at, "close", (attempt, SCHEDULER), decide, lambda _: Close.NO_EFFECT
        )
        return CloseAnswer(word, row.result if row is not None else NOTHING)

    async def read(self, at: EffectKey) -> Row | None:
        async with self._patience():
            async for _ in _tries():
                with suppress(*_TRY_AGAIN):
                    return await self._read(at)
        raise AssertionError("tries end by their time limit alone")

    async def _write(
        self, at: EffectKey, statement: str, values: Sequence[object], decide: Decide[Written]
    ) -> Written:
        return (await self._change(at, statement, values, decide, lambda _: Written.WRITTEN))[1]

    async def _change(
        self,
        at: EffectKey,
        statement: str,
        values: Sequence[object],
        decide: Decide[Answer],
        made: Callable[[bool], Answer],
    ) -> tuple[Row | None, Answer]:
        """The row that refused the change (None when it was made), and the answer.

        A refusal that the row read afterwards does not explain was overtaken by another change,
        or by time: then the statement is tried again.
        """
        async with self._patience():
            async for _ in _tries():
                with suppress(*_TRY_AGAIN):
                    found = await self._execute(at, statement, values)
                    if found is not None:
                        return None, made(found["tainted"])
                    row = await self._read(at)
                    after, answer = decide(row)
                    if after is None:
                        return row, answer
        raise AssertionError("tries end by their time limit alone")

    async def _execute(
        self, at: EffectKey, statement: str, values: Sequence[object]
    ) -> "asyncpg.Record | None":
        try:
            return await self._pool.fetchrow(STATEMENTS[statement], *at, *values)
        except asyncpg.CheckViolationError as fault:
            if fault.constraint_name:
                raise
            # The day's first row: there is no partition for it yet.
            await self._pool.execute(STATEMENTS["ensure_day"], at.day)
            return await self._pool.fetchrow(STATEMENTS[statement], *at, *values)

    @asynccontextmanager
    async def _patience(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(self._patience_s):
                yield
        except TimeoutError:
            raise Unavailable(
                f"the effect rows could not be reached within {self._patience_s} s"
            ) from None

    async def _read(self, at: EffectKey) -> Row | None:
        found = await self._pool.fetchrow(STATEMENTS["read"], *at)
        if found is None:
            return None
        return Row(
            status=rules.RowStatus(found["status"]),
            attempt=found["attempt"],
            claimant=found["claimant"],
            live=found["live"],
            tainted=found["tainted"],
            result=Stored(found["result"] or b""),
        )


async def _tries() -> AsyncGenerator[None]:
    """At once, then ever more slowly, without end."""
    delay_s = RETRY_FIRST_S
    while True:
        yield
        await asyncio.sleep(delay_s)
        delay_s = min(RETRY_MAX_S, 2 * delay_s)
