"""Tenants that wait for one executor are served in turn, whatever one of them asks for, and over
takeovers; a queue without turns would be noticed."""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import replace

import pytest

from headrace_core.ids import RunId, TenantId
from headrace_runtime.eventlog.memory import Fate, Faults
from headrace_runtime.eventlog.port import Batch
from headrace_scheduler.assembly import EngineParts
from headrace_scheduler.domain.fair_queue import FairQueue, Found, Ready
from tests.invariants.facts import LogFacts, gather
from tests.invariants.fairness import BURST, steps_start_fairly, waits_of
from tests.invariants.witnesses import Witnesses
from tests.simulation.world.rules import ALL_RULES, SafetyRules
from tests.simulation.world.small_world import LOG_ID, PARTITIONS, SmallWorld
from tests.simulation.world.virtual_loop import run_virtually
from tests.support.run_harness import plan_of, step

FLOW = plan_of(step("a"), step("b"), step("c", ["a", "b"]))
NOISY, QUIET = TenantId("noisy"), TenantId("quiet")
RUNS = {NOISY: 60, TenantId("steady"): 25, TenantId("other"): 25, QUIET: 4}
SPREAD_MS = 600
"""The noisy one asks for everything at once, the others in the course of this."""


class FirstComeFirstServed(FairQueue):
    """Whoever asks for most is served most."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: deque[Ready] = deque()

    def __len__(self) -> int:
        return len(self._steps)

    def push(self, ready: Ready, priority: int) -> None:
        self._steps.append(ready)

    def pop(self, find: Callable[[Ready], Found | None]) -> tuple[Ready, Found] | None:
        while self._steps:
            ready = self._steps.popleft()
            found = find(ready)
            if found is not None:
                return ready, found
        return None


def played(
    seed: int, rules: SafetyRules = ALL_RULES, lost_appends: Container[int] = ()
) -> LogFacts:
    """The log of a crowd; with an odd seed another owner takes over in the midst of it. After each
    lost append, by its number after the starts, the owner folds partitions from the log anew."""
    numbers = itertools.count()
    begun = False

    def fate(batches: Sequence[Batch]) -> Fate:
        return Fate.LOST if begun and next(numbers) in lost_appends else Fate.LANDS

    async def scenario() -> LogFacts:
        world = SmallWorld(FLOW, rules=rules, faults=Faults(of_append=fate))
        chance = random.Random(seed)
        await world.start()
        runs = [
            asyncio.ensure_future(_begin(world, tenant, chance))
            for tenant, count in RUNS.items()
            for _ in range(count)
        ]
        nonlocal begun
        await asyncio.gather(*runs)
        begun = True
        if seed % 2:
            await asyncio.sleep(0.1)
            await world.stop()
            assert world.host is not None
            world.host.start()
        for run in await asyncio.gather(*runs):
            await _ended(world, run)
        await world.stop()
        return gather(
            {number: await world.log.read(number, 0, 100_000) for number in range(PARTITIONS)},
            LOG_ID,
        )

    return run_virtually(scenario())


async def _ended(world: SmallWorld, run: RunId) -> None:
    for _ in range(200):
        if await world.ended(run):
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{run} never ended")


async def _begin(world: SmallWorld, tenant: TenantId, chance: random.Random) -> RunId:
    if tenant != NOISY:
        await asyncio.sleep(chance.randrange(SPREAD_MS) / 1_000)
    return await world.begin("flow", tenant=tenant)


@pytest.mark.parametrize("seed", range(6))
def test_tenants_that_wait_begin_as_many_steps_as_each_other(seed: int) -> None:
    facts = played(seed)
    assert facts.violations == []
    assert list(steps_start_fairly(facts, Witnesses())) == []
    waits = list(waits_of(facts))
    assert len(waits) >= 3 * sum(RUNS.values())
    assert sum(wait.assigned_ms > wait.ready_ms + 50 for wait in waits) > 50, "nobody had to wait"
    assert len({wait.owner for wait in waits}) == 1 + seed % 2


@pytest.mark.parametrize("seed", range(0, 12, 2))
def test_steps_that_an_owner_queued_before_it_lost_its_place_cost_their_tenant_nothing(
    seed: int,
) -> None:
    facts = played(seed, lost_appends=range(4, 40, 6))
    assert facts.violations == []
    assert facts.claims > PARTITIONS, "no append was lost"
    assert list(steps_start_fairly(facts, Witnesses())) == []


def test_an_idle_tenant_s_first_step_waits_for_a_bounded_number_of_others() -> None:
    waits = list(waits_of(played(0)))
    quiet = [wait for wait in waits if wait.tenant == QUIET and wait.ready_ms < SPREAD_MS]
    for mine in quiet:
        between = [one for one in waits if mine.ready_ms < one.assigned_ms < mine.assigned_ms]
        others = [one for one in between if one.tenant != QUIET]
        assert len(others) <= (len(RUNS) - 1) * (BURST + len(between) - len(others))


def test_a_queue_without_turns_is_noticed() -> None:
    rules = replace(ALL_RULES, engine=EngineParts(queue=FirstComeFirstServed))
    violations = list(steps_start_fairly(played(0, rules), Witnesses()))
    assert violations
    assert "noisy began" in str(violations[0])
