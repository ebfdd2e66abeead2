"""Effect rows by the rules of the real ones, with leases in virtual time, and the far side."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from headrace_core.errors import Unavailable
from headrace_core.ids import RunId, StepKey, TenantId
from headrace_core.payload import NOTHING, Stored
from headrace_runtime.delivery import effect_rules
from headrace_runtime.delivery.effect_rules import Close, Guard, Row, RowStatus, Written
from headrace_runtime.delivery.effects import SCHEDULER, ClaimAnswer, EffectKey, GiveUpAnswer
from headrace_scheduler.domain.commands import RowVerdict
from tests.invariants.witnesses import Request
from tests.simulation.world.rules import RowRules

Answer = TypeVar("Answer")
VERDICTS = {
    Close.NO_EFFECT: RowVerdict.NO_EFFECT,
    Close.UNKNOWN: RowVerdict.UNKNOWN,
    Close.DONE: RowVerdict.DONE,
}


@dataclass(slots=True)
class RowStore:
    """The table. A claim is live until its lease ends by the store's own clock."""

    rules: RowRules
    rows: dict[EffectKey, Row] = field(default_factory=dict[EffectKey, Row])
    lapses_s: dict[EffectKey, float] = field(default_factory=dict[EffectKey, float])
    away: bool = False
    lapsed_claims: int = 0
    closed_in_time: int = 0

    def read(self, at: EffectKey) -> Row | None:
        if self.away:
            raise Unavailable("the effect rows are away")
        row = self.rows.get(at)
        if row is None or row.status is not RowStatus.CLAIMED:
            return row
        return replace(row, live=_now_s() < self.lapses_s[at])

    def write(self, at: EffectKey, row: Row | None, lease_ms: int = 0) -> None:
        if row is None:
            return
        self.rows[at] = row
        if row.status is RowStatus.CLAIMED:
            self.lapses_s[at] = _now_s() + lease_ms / 1_000

    def claim(
        self, at: EffectKey, attempt: int, claimant: str, lease_ms: int, guard: Guard
    ) -> ClaimAnswer:
        before = self.read(at)
        after, answer = self.rules.claim(before, attempt, claimant, guard)
        if before is not None and before.status is RowStatus.CLAIMED and not before.live:
            self.lapsed_claims += 1
        self.write(at, after, lease_ms)
        return ClaimAnswer(answer, before.result if before is not None else NOTHING)

    def close(self, at: EffectKey, attempt: int) -> tuple[RowVerdict, Stored]:
        after, word, result = self.rules.close(self.read(at), attempt, SCHEDULER)
        self.closed_in_time += after is not None
        self.write(at, after)
        return VERDICTS[word], result


@dataclass(slots=True)
class ExecutorRows:
    """One executor's way to the table, and back. Implements its app.ports.EffectRows; `gate`
    lets nothing pass while the process stands still, in neither direction."""

    store: RowStore
    gate: Callable[[], Awaitable[None]]

    async def claim(
        self, at: EffectKey, attempt: int, claimant: str, lease_ms: int, guard: Guard
    ) -> ClaimAnswer:
        return await self._do(lambda: self.store.claim(at, attempt, claimant, lease_ms, guard))

    async def mark_done(
        self, at: EffectKey, attempt: int, claimant: str, result: Stored
    ) -> Written:
        return await self._change(
            at, lambda row: effect_rules.mark_done(row, attempt, claimant, result)
        )

    async def mark_failed(self, at: EffectKey, attempt: int, claimant: str) -> Written:
        return await self._change(at, lambda row: effect_rules.mark_failed(row, attempt, claimant))

    async def renew(self, at: EffectKey, attempt: int, claimant: str, lease_ms: int) -> Written:
        return await self._change(
            at, lambda row: effect_rules.renew(row, attempt, claimant), lease_ms
        )

    async def give_up(self, at: EffectKey, attempt: int, claimant: str) -> GiveUpAnswer:
        word = await self._change(at, lambda row: effect_rules.give_up(row, attempt, claimant))
        row = self.store.rows.get(at)
        return GiveUpAnswer(word, row.result if row is not None else NOTHING)

    async def read(self, at: EffectKey) -> Row | None:
        return await self._do(lambda: self.store.read(at))

    async def _change(
        self,
        at: EffectKey,
        decide: Callable[[Row | None], tuple[Row | None, Answer]],
        lease_ms: int = 0,
    ) -> Answer:
        def change() -> Answer:
            after, answer = decide(self.store.read(at))
            self.store.write(at, after, lease_ms)
            return answer

        return await self._do(change)

    async def _do(self, act: Callable[[], Answer]) -> Answer:
        await self.gate()
        await asyncio.sleep(0.001)
        answer = act()
        await self.gate()
        return answer


@dataclass(slots=True)
class OwnerRows:
    """A scheduler's way to the table. Implements its app.ports.EffectRows."""

    store: RowStore
    gate: Callable[[], Awaitable[None]]
    reached: Callable[[str], Awaitable[None]]

    async def close(
        self, tenant: TenantId, run: RunId, step: StepKey, fallback: int, attempt: int
    ) -> tuple[RowVerdict, Stored]:
        await self.gate()
        await asyncio.sleep(0.001)
        verdict, result = self.store.close(EffectKey.of(tenant, run, step, fallback), attempt)
        await self.reached("row closed")
        await self.gate()
        return verdict, result


@dataclass(slots=True)
class FarSide:
    """The outside world: it acts once per key, and every time without one."""

    requests: list[Request] = field(default_factory=list[Request])
    receipts: dict[str, int] = field(default_factory=dict[str, int])

    def take(self, run: str, step: str, key: str) -> None:
        number = len(self.requests) + 1
        performed = not key or key not in self.receipts
        receipt = self.receipts.setdefault(key, number) if key else number
        self.requests.append(Request(number, run, step, key, performed, receipt))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
