"""Two versions of Headrace side by side: alternating, three times, medians and their ratio."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROUNDS = 3
FOLDER = Path("build/bench")
FIGURES = (
    ("sequential", "cpu_ms_per_step"),
    ("sequential", "steps_per_s"),
    ("fanout", "cpu_ms_per_step"),
    ("fanout", "steps_per_s"),
)


def compare(base: str) -> str:
    """Measure `base` (a commit) and the working tree in turns; the table of medians."""
    pythons = {"base": _python_of(base), "now": Path(sys.executable)}
    reports: dict[str, list[Mapping[str, Any]]] = {"base": [], "now": []}
    for number in range(ROUNDS):
        for version, python in pythons.items():
            out = FOLDER / f"{version}-{number}.json"
            command = [sys.executable, "-m", "bench.headrace.quick", "--out", str(out)]
            subprocess.run(
                [*command, "--python", str(python)],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            reports[version].append(json.loads(out.read_text(encoding="utf-8")))
            sys.stderr.write(f"round {number + 1} of {ROUNDS}, {version} measured\n")
    return table(base, reports["base"], reports["now"])


def table(
    base: str, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> str:
    lines = [f"{'':30}{base[:12]:>14}{'now':>14}{'ratio':>9}"]
    for load, figure in FIGURES:
        old = statistics.median(report[load][figure] for report in before)
        new = statistics.median(report[load][figure] for report in after)
        lines.append(f"{load + ' ' + figure:30}{old:>14.3f}{new:>14.3f}{new / old:>9.3f}")
    return "\n".join(lines)


def _python_of(commit: str) -> Path:
    """A checkout of the commit with an environment of its own, kept for the next comparison."""
    sha = subprocess.run(
        ["git", "rev-parse", "--short=12", f"{commit}^{{commit}}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    tree = (FOLDER / f"tree-{sha}").absolute()
    if not tree.exists():
        subprocess.run(["git", "worktree", "add", "--detach", str(tree), sha], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    subprocess.run(["make", "--silent", "setup"], cwd=tree, check=True, env=environment)
    return tree / ".venv" / "bin" / "python"
