"""The processes of the demonstration: the platform, a worker, a model. All of them are stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60.0
POLL_S = 0.05
STOP_S = 15.0

Found = TypeVar("Found")


class DemoFailed(Exception):
    """The message says what was expected and where to look."""


@dataclass(slots=True)
class Platform:
    """`headrace up` on ports of its own, with its state under `home`."""

    home: Path
    environment: Mapping[str, str]
    said: dict[str, Any] = field(default_factory=dict[str, Any])
    _process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        command = [sys.executable, "-m", "headrace_cli", "up", "--json", "--ports", "auto"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--home", str(self.home)],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Ctrl-C reaches the demonstration alone, which then stops everything in order.
                start_new_session=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.said = json.loads(line or "{}")
        if "pids" not in self.said:
            reason = self.said.get("error", {}).get("message", "it ended")
            raise DemoFailed(f"the platform did not start: {reason}. Logs: {self.home}/logs")

    @property
    def log(self) -> Path:
        return self.home / "logs" / "up.log"

    def pid(self, service: str) -> int:
        """0 while it is down."""
        document = json.loads((self.home / "processes.json").read_text())
        return document["services"][service]["pid"] or 0

    def kill(self, service: str) -> int:
        """With signal 9, at once; the pid that it had."""
        pid = self.pid(service)
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> None:
        if self._process is not None:
            _stop(self._process)


@dataclass(slots=True)
class Program:
    """A process of the demonstration's own, with its output in a log file."""

    arguments: list[str]
    environment: Mapping[str, str]
    log: Path
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.arguments],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        if self._process is not None:
            _stop(self._process)


def wait_for(look: Callable[[], Found], what: str, limit_s: float = WAIT_S) -> Found:
    """The first answer that is true. Raises DemoFailed."""
    until_s = time.monotonic() + limit_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until_s:
            raise DemoFailed(f"waited {limit_s:.0f} s in vain until {what}")
        time.sleep(POLL_S)


def _stop(process: "subprocess.Popen[Any]") -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
