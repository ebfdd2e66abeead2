"""The safety rules of one world, each of them replaceable: a broken one must be noticed."""

from collections.abc import Callable
from dataclasses import dataclass

from headrace_core.payload import NOTHING, Stored
from headrace_runtime.delivery import effect_rules
from headrace_runtime.delivery.effect_rules import Claim, Close, Guard, Row
from headrace_scheduler.assembly import WHOLE, EngineParts
from tests.simulation.world.parts import SimSnapshots


class RowRules:
    """How effect rows are claimed and closed: the rules of the real statements."""

    def claim(
        self, row: Row | None, attempt: int, claimant: str, guard: Guard
    ) -> tuple[Row | None, Claim]:
        return effect_rules.claim(row, attempt, claimant, guard)

    def close(self, row: Row | None, attempt: int, closer: str) -> tuple[Row | None, Close, Stored]:
        """The row afterwards, or None when it stays; the word; the stored result."""
        after, word = effect_rules.close(row, attempt, closer)
        return after, word, row.result if row is not None else NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyRules:
    """What the world is made of that holds a rule of safety. As it stands: all of them."""

    engine: EngineParts = WHOLE
    snapshots: Callable[[], SimSnapshots] = SimSnapshots
    rows: RowRules = RowRules()


ALL_RULES = SafetyRules()
