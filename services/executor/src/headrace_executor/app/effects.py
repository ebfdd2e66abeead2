"""The effect row around one attempt of an operation that changes something outside.

claim → call under a lease that is renewed → done or failed_before_effect. What follows what is
decided by `domain.effect_flow`; here are the statements, the waits and the renewals.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from headrace_core.errors import Unavailable
from headrace_core.payload import NOTHING, Stored
from headrace_executor.app.limits import Interrupted, Limits
from headrace_executor.app.patience import when_available
from headrace_executor.app.ports import EffectRows
from headrace_executor.domain import effect_flow as flow
from headrace_executor.domain.effect_flow import Next, Say, Settle
from headrace_runtime.delivery.effect_rules import Guard, Written
from headrace_runtime.delivery.effects import EffectKey
from headrace_worker.messages import Outcome, Task


@dataclass(frozen=True, slots=True)
class Timing:
    """`lease_ms` is what another attempt waits after this process was killed; it is renewed every
    `renew_s`. A live claim of another is looked at again after `look_first_s`, doubling. A call
    that is under way may go on for `cancel_grace_s` after a cancellation, since its own word is
    worth more than "unknown"; that is well within the scheduler's own grace."""

    lease_ms: int = 6_000
    renew_s: float = 2.0
    cancel_grace_s: float = 2.0
    look_first_s: float = 0.05
    look_max_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Ruled:
    """What the row lets an attempt say; `result` is the row's where the word is `stored`."""

    say: Say
    result: Stored = NOTHING


class Effects:
    """`draw_claimant` answers another name at every call: one per acceptance of an attempt."""

    def __init__(
        self, rows: EffectRows, draw_claimant: Callable[[], str], timing: Timing | None = None
    ) -> None:
        self._rows = rows
        self._draw_claimant = draw_claimant
        self._timing = timing or Timing()

    def of(self, task: Task, guard: Guard) -> "Effect":
        return Effect(self._rows, task, guard, self._draw_claimant(), self._timing)


class Effect:
    """One acceptance of one attempt and its row. Nothing here is cut off by the attempt's limits
    but waiting for another's claim and the call itself."""

    def __init__(
        self, rows: EffectRows, task: Task, guard: Guard, claimant: str, timing: Timing
    ) -> None:
        attempt = task.attempt
        self._rows = rows
        self._at = EffectKey.of(attempt.tenant, attempt.run, attempt.step, task.fallback)
        self._number = attempt.number
        self._claimant = claimant
        self._guard = guard
        self._timing = timing
        self.cancel_grace_s = timing.cancel_grace_s
        self._may_be_claimed = False

    async def claim(self, limits: Limits) -> Ruled | None:
        """None once the row is ours and the call may begin. Raises Interrupted."""
        look_s = self._timing.look_first_s
        while True:
            if limits.over:
                raise Interrupted
            self._may_be_claimed = True
            try:
                answer = await self._rows.claim(*self._me, self._timing.lease_ms, self._guard)
            except Unavailable:
                # It may have taken effect; asked again it says so.
                step: Next | Say = Next.WAIT
            else:
                step = flow.after_claim(answer.claim, self._guard)
                if isinstance(step, Say):
                    return Ruled(step, answer.result)
            if step is Next.CALL:
                return None
            async with limits.section():
                await asyncio.sleep(look_s)
            look_s = min(self._timing.look_max_s, 2 * look_s)

    @asynccontextmanager
    async def lease_kept(self) -> AsyncGenerator[None]:
        """Renews the claim while the call runs."""
        renewing = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewing.cancel()

    async def settle(self, outcome: Outcome, result: Stored) -> Ruled:
        """After the call; `result` is what was sealed of a success."""
        settle = flow.after_call(outcome)
        if settle is Settle.DONE:
            # The effect is known to have happened: without its row it is worth saying too.
            with suppress(Unavailable):
                await self._rows.mark_done(*self._me, result)
        elif settle is Settle.FAILED:
            return await self._failed(outcome)
        elif settle is Settle.RELEASE:
            with suppress(Unavailable):
                await self._rows.renew(*self._me, 0)
        return Ruled(Say(outcome))

    async def end_without_call(self, wanted: Outcome) -> Ruled:
        """The attempt has called nothing and would say `wanted`."""
        if self._may_be_claimed:
            written = await when_available(lambda: self._rows.mark_failed(*self._me))
            if written is Written.WRITTEN:
                return Ruled(Say(wanted))
        answer = await when_available(lambda: self._rows.give_up(*self._me))
        return Ruled(flow.after_give_up(answer.word, wanted, self._guard), answer.result)

    @property
    def _me(self) -> tuple[EffectKey, int, str]:
        return self._at, self._number, self._claimant

    async def _failed(self, outcome: Outcome) -> Ruled:
        written = await when_available(lambda: self._rows.mark_failed(*self._me))
        if written is Written.WRITTEN:
            return Ruled(Say(outcome))
        row = await when_available(lambda: self._rows.read(self._at))
        return Ruled(flow.after_refusal(row, self._guard), row.result if row else NOTHING)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._timing.renew_s)
            with suppress(Unavailable):
                if await self._rows.renew(*self._me, self._timing.lease_ms) is Written.REFUSED:
                    # Taken over: by an attempt with the same key, so this call may go on.
                    return
