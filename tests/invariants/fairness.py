"""Whether steps that wait for executors start in fair shares, as the log's own times tell it.

Steps of one lane are meant, under equal weights. Turns of one pass have one time, so that the
order inside a millisecond is not known: shares are compared between two of them.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from headrace_core.run import events as ev
from headrace_core.run.apply import apply_turn
from headrace_core.run.state import RunState
from tests.invariants.facts import LogFacts, RunFacts, Violation
from tests.invariants.witnesses import Witnesses

BURST = 2
"""So many more steps than a tenant that waits may another one begin: one, as each is served once a
round, and one more where a queue that ran empty has filled again within a pass."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A step from when its owner could have given it out until it was given out."""

    tenant: str
    owner: str
    ready_ms: int
    assigned_ms: int


def steps_start_fairly(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """While a tenant waits no other one begins more than BURST steps beyond its own. So tenants
    that wait differ by no more, and an idle tenant's first step waits for at most BURST of each."""
    if len({run.tenant for run in facts.runs.values()}) < 2:
        return
    lives = _Lives(facts)
    by_owner: dict[str, list[Wait]] = defaultdict(list)
    for wait in _waits(facts, lives):
        by_owner[wait.owner].append(wait)
    for owner, waits in by_owner.items():
        yield from _unfair(owner, waits, lives.renewed_ms(owner))


def waits_of(facts: LogFacts) -> Iterator[Wait]:
    """Of every attempt, whether it had to wait or not."""
    return _waits(facts, _Lives(facts))


def _waits(facts: LogFacts, lives: "_Lives") -> Iterator[Wait]:
    for run in facts.runs.values():
        yield from _waits_of_run(run, lives)


def _waits_of_run(run: RunFacts, lives: "_Lives") -> Iterator[Wait]:
    state = RunState(run.run, run.tenant)
    for turn in run.turns:
        apply_turn(state, turn.events, turn.time_ms, turn.chain)
        for event in turn.events:
            if isinstance(event, ev.StepAssigned):
                owner, since_ms = lives.owner_at(run.partition, turn.offset)
                ready_ms = max(state.steps[event.step].ready_ms, since_ms)
                yield Wait(run.tenant, owner, ready_ms, turn.time_ms)


class _Lives:
    """Who owned a partition at an offset, and since when it has been at work there."""

    def __init__(self, facts: LogFacts) -> None:
        self._claims = facts.claimed_at
        self._owners = facts.owners
        self._began_ms: dict[tuple[int, int], int] = {}
        for run in facts.runs.values():
            for turn in run.turns:
                life = (run.partition, self._epoch(run.partition, turn.offset))
                self._began_ms[life] = min(turn.time_ms, self._began_ms.get(life, turn.time_ms))

    def owner_at(self, partition: int, offset: int) -> tuple[str, int]:
        life = (partition, self._epoch(partition, offset))
        return self._owners[life], self._began_ms[life]

    def renewed_ms(self, owner: str) -> list[int]:
        """When it was at work again in a partition that it had owned before, in order."""
        lives = sorted(life for life in self._began_ms if self._owners[life] == owner)
        return sorted(self._began_ms[b] for a, b in pairwise(lives) if a[0] == b[0])

    def _epoch(self, partition: int, offset: int) -> int:
        claims = self._claims[partition]
        return claims[bisect_right(claims, offset) - 1]


@dataclass(slots=True)
class _Lead:
    """By how many steps another tenant is ahead, and how few that was since this one waits."""

    now: int = 0
    lowest: int = 0

    def move(self, by: int) -> int:
        self.now += by
        self.lowest = min(self.lowest, self.now)
        return self.now - self.lowest


@dataclass(slots=True)
class _Waiting:
    """Of one tenant: how many of its steps wait, and the others' leads since it waits."""

    steps: int = 0
    leads: dict[str, _Lead] = field(default_factory=dict[str, _Lead])


def _unfair(owner: str, waits: Sequence[Wait], renewed_ms: Sequence[int]) -> Iterator[Violation]:
    """Shares are counted anew where the owner had to claim again. What it gave out in the append
    that it lost before is not in the log, and may have been one more of each."""
    burst = BURST + bool(renewed_ms)
    tenants = {wait.tenant: _Waiting() for wait in waits}
    ready = sorted(waits, key=lambda wait: wait.ready_ms)
    begun: dict[int, Counter[str]] = defaultdict(Counter)
    for wait in waits:
        begun[wait.assigned_ms][wait.tenant] += 1
    queued = life = 0
    for time_ms in sorted(begun):
        if life != (life := bisect_right(renewed_ms, time_ms)):
            for one in tenants.values():
                one.leads.clear()
        counts = begun[time_ms]
        waited = {tenant for tenant, one in tenants.items() if one.steps}
        while queued < len(ready) and ready[queued].ready_ms <= time_ms:
            tenants[ready[queued].tenant].steps += 1
            queued += 1
        for tenant, count in counts.items():
            tenants[tenant].steps -= count
        for tenant, one in tenants.items():
            if not one.steps or tenant not in waited:
                one.leads.clear()
                continue
            for other in tenants:
                lead = one.leads.setdefault(other, _Lead()).move(counts[other] - counts[tenant])
                if lead > burst:
                    what = f"{other} began {lead} steps more than {tenant}, which waited at {owner}"
                    yield Violation("steps start in fair shares", f"{what} ({time_ms})")
                    one.leads.clear()
                    break
