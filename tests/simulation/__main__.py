"""headrace-sim: campaigns by the thousand, or one seed again.

python -m tests.simulation --seeds 20000
python -m tests.simulation --seed 1234
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.world.campaign import run_campaign
from tests.simulation.world.scenario import draw_scenario
from tests.simulation.world.shrink import failure_of, shrink, told
from tests.simulation.world.sometimes import never_met

CHUNK = 50
FAILURES_SHOWN = 3
SOMETIMES_FROM = 500
"""Fewer seeds need not meet everything that is rare."""

Played = tuple[Counter[str], list[int]]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def play_chunk(seeds: Sequence[int]) -> Played:
    """What was seen, and the seeds that failed."""
    seen: Counter[str] = Counter()
    failed: list[int] = []
    for seed in seeds:
        try:
            seen.update(run_campaign(seed).seen)
        except Exception:  # noqa: BLE001 - it is played again, and cut down, below
            failed.append(seed)
    return seen, failed


def play_one(seed: int) -> int:
    scenario = draw_scenario(seed)
    if failure_of(scenario) is None:
        report = run_campaign(seed)
        say(f"seed {seed} keeps every rule; log {report.digest[:16]}")
        say(", ".join(f"{count} {what}" for what, count in report.seen.items() if count))
        return 0
    shrunk = shrink(scenario)
    say(told(shrunk))
    say(f"(cut down in {shrunk.plays} plays)")
    return 1


def play_many(first: int, count: int, jobs: int) -> int:
    seeds = range(first, first + count)
    chunks = [seeds[at : at + CHUNK] for at in range(0, count, CHUNK)]
    seen: Counter[str] = Counter()
    failed: list[int] = []
    began_s = time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        for chunk_seen, chunk_failed in pool.map(play_chunk, chunks):
            seen.update(chunk_seen)
            failed += chunk_failed
    took_s = time.monotonic() - began_s
    say(f"{count} seeds from {first} on in {took_s:.0f} s, {len(failed)} failed")
    for what, times in sorted(seen.items()):
        say(f"  {times:>8} {what}")
    for seed in failed[:FAILURES_SHOWN]:
        say("")
        play_one(seed)
    never = never_met(seen) if count >= SOMETIMES_FROM else []
    if never:
        say(f"this campaign never met: {', '.join(never)}")
    return 1 if failed or never else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="headrace-sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one, and cut it down if it fails")
    parser.add_argument("--seeds", type=int, default=1_000, help="so many")
    parser.add_argument("--first", type=int, default=0, help="from this one on")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.seed is not None:
        return play_one(given.seed)
    return play_many(given.first, given.seeds, given.jobs)


if __name__ == "__main__":
    sys.exit(main())
