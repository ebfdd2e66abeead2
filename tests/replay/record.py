"""Records goldens from cases of flows: `python -m tests.replay.record`.

Writes files that are not there yet and touches no other: a golden is final once released. After a
new kind of event, add a case that leads to it, and record.
"""

from collections.abc import Iterator
from pathlib import Path

from headrace_cli.testing.engine import TENANT
from headrace_cli.testing.play import played_out
from headrace_cli.testing.suite import Suite, find_suites
from tests.replay.golden_log import FOLDER, write_golden

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
    return written


def _suites() -> Iterator[Suite]:
    for folder in FOLDERS:
        found, _ = find_suites(sorted((ROOT / folder).glob("*.flow.yaml")))
        yield from found


if __name__ == "__main__":
    record()
