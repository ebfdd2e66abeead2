"""Usage per day, flow and model: runs, attempts, tokens, cost.

The day is that of the turn, so a rebuild from the log gives the same rows. A row without a model
counts runs and attempts; the others count calls and tokens of one model.
"""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import NamedTuple

from headrace_core.ids import DAY_MS
from headrace_core.run import events as ev
from headrace_history.domain.turns import Digest, JournalTurn


class UsageKey(NamedTuple):
    """`day` counts from 1970-01-01."""

    day: int
    flow: str
    model: str


@dataclass(slots=True)
class UsageDelta:
    """What is added to a usage row; cost in millionths of the account's currency."""

    runs: int = 0
    attempts: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0

    def add(self, consumed: ev.Usage) -> None:
        """One more call."""
        self.calls += 1
        self.input_tokens += consumed.input_tokens
        self.output_tokens += consumed.output_tokens
        self.cost_micros += consumed.cost_micros


UsageDeltas = MutableMapping[UsageKey, UsageDelta]


def project(usage: UsageDeltas, flow: str, turns: Iterable[tuple[JournalTurn, Digest]]) -> None:
    """Add what these turns of one run consumed."""
    day_counted, counted = -1, UsageDelta()
    for turn, digest in turns:
        assigned = digest.counts.assigned
        if not assigned and not digest.marks:
            continue
        day = turn.time_ms // DAY_MS
        if day != day_counted:
            day_counted, counted = (
                day,
                usage.setdefault(UsageKey(day, flow, ""), UsageDelta()),
            )
        counted.attempts += assigned
        for event in digest.marks:
            if isinstance(event, ev.RunStarted | ev.RunForked):
                counted.runs += 1
            else:
                _meter(usage, day, flow, event)


def _meter(usage: UsageDeltas, day: int, flow: str, event: ev.RunEvent) -> None:
    consumed: ev.Usage | None = getattr(event, "usage", None)
    if consumed is None:
        return
    usage.setdefault(UsageKey(day, flow, consumed.model), UsageDelta()).add(consumed)
