"""Campaigns of the simulator: two owners, two executors, everything that can go wrong."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.world.campaign import run_campaign
from tests.simulation.world.sometimes import never_met

ROOT = Path(__file__).parents[2]
SEEDS, CHUNK = 2_000, 500
_DIGESTS = (
    "import json; from tests.simulation.world.campaign import run_campaign; "
    "print(json.dumps([run_campaign(seed).digest for seed in range(20)]))"
)


def test_a_few_campaigns_end_as_their_flows_say() -> None:
    for seed in range(1_000, 1_010):
        assert run_campaign(seed).seen["terminal"] >= 4


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_campaigns_keep_every_invariant_and_meet_what_is_rare(first: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + CHUNK):
        seen.update(run_campaign(seed).seen)
    never = never_met(seen)
    assert not never, f"seeds {first} to {first + CHUNK - 1} never met {never}"
    assert not seen["parked"], "a decision raised an exception"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_seed_gives_the_same_log_whatever_the_hash_seed_of_the_process() -> None:
    """An order that comes from a set would differ between the two processes."""

    def digests(hash_seed: str) -> list[str]:
        ran = subprocess.run(
            [sys.executable, "-c", _DIGESTS],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        )
        return json.loads(ran.stdout)

    assert digests("1") == digests("2")
