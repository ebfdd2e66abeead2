"""A suite of real processes for a benchmark, and what its processes consume."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

READY_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class RunningSuite:
    """`pids` names the process of each service; children count to their parent."""

    api: str
    admin_key: str
    home: Path
    pids: Mapping[str, int]

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds by process, without the supervisor, whose work is to wait."""
        return {name: _tree_cpu_s(pid) for name, pid in self.pids.items() if name != "supervisor"}


@contextmanager
def running_suite(python: str = sys.executable) -> Generator[RunningSuite]:
    """`headrace up` in a new home, stopped at the end whatever happened."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        home = Path(folder) / "home"
        command = [python, "-m", "headrace_cli", "up", "--json", "--home", str(home)]
        process = subprocess.Popen(
            [*command, "--ports", "auto", "--log-level", "warning"],
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("headrace up ended before it was ready; see its messages above")
            said = json.loads(line)
            yield RunningSuite(said["api"], said["admin_key"], home, said["pids"])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()


def _tree_cpu_s(pid: int) -> float:
    root = psutil.Process(pid)
    # `children_user` and `children_system` hold what ended children have used.
    total = sum(root.cpu_times()[:4])
    for child in root.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:2])
        except psutil.Error:
            continue
    return total
