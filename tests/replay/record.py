"""Records goldens from cases of flows and from scenes: `python -m tests.replay.record`.

Writes files that are not there yet and touches no other: a golden is final once released. After a
new kind of event or message, add a case that leads to it, or a scene, and record.
"""

from collections.abc import Iterator
from pathlib import Path

from headrace_cli.testing.engine import TENANT
from headrace_cli.testing.play import played_out
from headrace_cli.testing.suite import Suite, find_suites
from tests.replay.golden_log import FOLDER, PARTITIONS, write_golden, write_golden_partition
from tests.replay.scenes import SCENES
from tests.support import run_harness

ROOT = Path(__file__).parents[2]
FOLDERS = ("examples", "tests/flows/patterns")


def record() -> list[Path]:
    """What was written."""
    written: list[Path] = []
    for suite in _suites():
        for number, case in enumerate(suite.cases.values(), start=1):
            path = FOLDER / f"{Path(suite.file).parent.name}-{suite.plan.flow}-{number}.jsonl"
            if path.exists():
                continue
            engine, run = played_out(case, suite.plan, suite.plans)
            write_golden(path, run.run_id, TENANT, engine.records(run.run_id))
            written.append(path)
    return [*written, *_record_scenes()]


def _record_scenes() -> Iterator[Path]:
    for name, scene in SCENES.items():
        if any(FOLDER.glob(f"scenes-{name}-*.jsonl")):
            continue
        world = scene()
        for number, (run, turns) in enumerate(world.turns.items(), start=1):
            path = FOLDER / f"scenes-{name}-{number}.jsonl"
            write_golden(path, run, run_harness.TENANT, turns)
            yield path
        for partition in world.owned:
            events = world.events_of(partition)
            if events:
                path = PARTITIONS / f"{name}-{partition}.jsonl"
                write_golden_partition(path, partition, events)
                yield path


def _suites() -> Iterator[Suite]:
    for folder in FOLDERS:
        found, _ = find_suites(sorted((ROOT / folder).glob("*.flow.yaml")))
        yield from found


if __name__ == "__main__":
    record()
