"""A failing seed is cut down to what it takes to fail in the same way."""

from dataclasses import replace

import pytest

from tests.simulation.world.broken import BROKEN
from tests.simulation.world.campaign import play
from tests.simulation.world.scenario import FaultKind, Scenario, draw_scenario
from tests.simulation.world.shrink import failure_of, kind_of, shrink, told

RULES = BROKEN["assignment before dispatch"]


def failing_seed() -> int:
    return next(seed for seed in range(50) if failure_of(draw_scenario(seed), RULES))


def fails_alike(scenario: Scenario, as_before: str) -> bool:
    failure = failure_of(scenario, RULES)
    return failure is not None and kind_of(failure) == kind_of(as_before)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_left_still_fails_in_the_same_way_and_nothing_of_it_can_be_spared() -> None:
    whole = draw_scenario(failing_seed())
    shrunk = shrink(whole, RULES)
    left = shrunk.scenario
    assert fails_alike(left, shrunk.failure)
    assert len(left.starts) + len(left.faults) < len(whole.starts) + len(whole.faults)
    for spared in range(len(left.faults)):
        faults = left.faults[:spared] + left.faults[spared + 1 :]
        assert not fails_alike(replace(left, faults=faults), shrunk.failure)
    play(left)
    assert f"seed {whole.seed}" in told(shrunk) and shrunk.failure in told(shrunk)


def test_failures_are_of_one_kind_whatever_run_and_number_they_name() -> None:
    one = "AssertionError: one terminal event: run run_abc has 0 terminal events\n  1 RunStarted"
    other = "AssertionError: one terminal event: run run_xyz has 2 terminal events"
    third = "AssertionError: chain: offset 3 of partition 2 breaks the chain of run run_abc"
    assert kind_of(one) == kind_of(other) != kind_of(third)


def test_a_seed_is_drawn_alike_every_time_and_brings_every_kind_of_fault() -> None:
    assert draw_scenario(7) == draw_scenario(7) != draw_scenario(8)
    drawn = {fault.kind for seed in range(50) for fault in draw_scenario(seed).faults}
    assert drawn == set(FaultKind)
