"""The scheduler's side of the effect rows."""

from headrace_core.ids import RunId, StepKey, TenantId
from headrace_core.payload import Stored
from headrace_runtime.delivery.effect_rules import Close
from headrace_runtime.delivery.effects import EffectKey, PostgresEffects
from headrace_scheduler.domain.commands import RowVerdict

_VERDICTS = {
    Close.NO_EFFECT: RowVerdict.NO_EFFECT,
    Close.UNKNOWN: RowVerdict.UNKNOWN,
    Close.DONE: RowVerdict.DONE,
}


class StoredRows:
    def __init__(self, effects: PostgresEffects) -> None:
        self._effects = effects

    async def close(
        self, tenant: TenantId, run: RunId, step: StepKey, fallback: int, attempt: int
    ) -> tuple[RowVerdict, Stored]:
        answer = await self._effects.close(EffectKey.of(tenant, run, step, fallback), attempt)
        return _VERDICTS[answer.word], answer.result
