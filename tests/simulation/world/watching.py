"""Looks at live states between two passes, when everything in memory stands in the log."""

import random
from dataclasses import dataclass, field

from headrace_core.run.freeze import state_hash
from headrace_scheduler.app.loop import Loop
from tests.invariants.witnesses import HistorySaid

SAMPLED = 0.01
STATES_MAX = 40


@dataclass(slots=True)
class StateWatch:
    chance: random.Random
    states: list[HistorySaid] = field(default_factory=list[HistorySaid])

    def over(self, loop: Loop) -> None:
        """From now on after some of its passes."""
        before = loop.after_pass

        def after_pass() -> None:
            before()
            if self.chance.random() < SAMPLED and len(self.states) < STATES_MAX:
                self._sample(loop)

        loop.after_pass = after_pass

    def _sample(self, loop: Loop) -> None:
        for partition in loop.partitions.values():
            for run in partition.runs.awake():
                said = HistorySaid(run.run_id, run.sequence, state_hash(run))
                self.states.append(said)
