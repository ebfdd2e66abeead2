"""The simulator would notice: without any one of its safety rules the engine is caught."""

import pytest

from tests.simulation.world.broken import BROKEN
from tests.simulation.world.campaign import run_campaign

SEEDS = 200


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("rule", BROKEN)
def test_an_engine_without_this_rule_is_caught_within_two_hundred_seeds(rule: str) -> None:
    for seed in range(SEEDS):
        try:
            run_campaign(seed, BROKEN[rule])
        except AssertionError:
            run_campaign(seed)
            return
    pytest.fail(f"no campaign of {SEEDS} noticed that there was no {rule}")
