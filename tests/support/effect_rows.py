"""Effect rows in memory by the very rules of the real ones, and secrets: for tests of attempts."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from headrace_core.errors import NotFound, Unavailable
from headrace_core.ids import TenantId
from headrace_core.payload import NOTHING, Stored
from headrace_runtime.delivery import effect_rules as rules
from headrace_runtime.delivery.effect_rules import Guard, Row, Written
from headrace_runtime.delivery.effects import ClaimAnswer, EffectKey, GiveUpAnswer
from headrace_runtime.secret_text import SecretText

Answer = TypeVar("Answer")


@dataclass(slots=True)
class RowsInMemory:
    """Implements app.ports.EffectRows. A lease lapses when a test says so, or is given up;
    `away` counts the statements that are not answered; `said` are those that came, in order."""

    rows: dict[EffectKey, Row] = field(default_factory=dict[EffectKey, Row])
    said: list[str] = field(default_factory=list[str])
    away: int = 0
    fault: Exception | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def claim(
        self, at: EffectKey, attempt: int, claimant: str, lease_ms: int, guard: Guard
    ) -> ClaimAnswer:
        def decide(row: Row | None) -> tuple[Row | None, rules.Claim]:
            return rules.claim(row, attempt, claimant, guard)

        before = self.rows.get(at)
        answer = self._change("claim", at, decide)
        return ClaimAnswer(answer, before.result if before is not None else NOTHING)

    async def mark_done(
        self, at: EffectKey, attempt: int, claimant: str, result: Stored
    ) -> Written:
        return self._change("done", at, lambda row: rules.mark_done(row, attempt, claimant, result))

    async def mark_failed(self, at: EffectKey, attempt: int, claimant: str) -> Written:
        return self._change("failed", at, lambda row: rules.mark_failed(row, attempt, claimant))

    async def renew(self, at: EffectKey, attempt: int, claimant: str, lease_ms: int) -> Written:
        written = self._change("renew", at, lambda row: rules.renew(row, attempt, claimant))
        if written is Written.WRITTEN and not lease_ms:
            self.lapse(at)
        return written

    async def give_up(self, at: EffectKey, attempt: int, claimant: str) -> GiveUpAnswer:
        answer = self._change("give up", at, lambda row: rules.give_up(row, attempt, claimant))
        row = self.rows.get(at)
        return GiveUpAnswer(answer, row.result if row is not None else NOTHING)

    async def read(self, at: EffectKey) -> Row | None:
        self._say("read")
        return self.rows.get(at)

    def lapse(self, at: EffectKey) -> None:
        self.rows[at] = replace(self.rows[at], live=False)

    @property
    def only(self) -> Row:
        (row,) = self.rows.values()
        return row

    async def until(self, statement: str, count: int = 1) -> None:
        """Until it has come so often in all, answered or not."""
        while self.said.count(statement) < count:
            self.news.clear()
            await self.news.wait()

    def _change(
        self,
        statement: str,
        at: EffectKey,
        decide: Callable[[Row | None], tuple[Row | None, Answer]],
    ) -> Answer:
        self._say(statement)
        after, answer = decide(self.rows.get(at))
        if after is not None:
            self.rows[at] = after
        return answer

    def _say(self, statement: str) -> None:
        self.said.append(statement)
        self.news.set()
        if self.fault is not None:
            raise self.fault
        if self.away:
            self.away -= 1
            raise Unavailable("the effect rows are away")


@dataclass(slots=True)
class SecretsAtHand:
    """Implements app.ports.Secrets."""

    values: dict[str, str] = field(default_factory=dict[str, str])
    opened: list[str] = field(default_factory=list[str])

    async def open_all(self, tenant: TenantId, names: Collection[str]) -> Mapping[str, SecretText]:
        missing = [name for name in names if name not in self.values]
        if missing:
            raise NotFound(f"Tenant {tenant!r} has no secret {missing[0]!r}.")
        self.opened += names
        return {name: SecretText(name, self.values[name]) for name in names}
