"""Service processes under a supervisor: started, watched, started again, stopped in order.

Each child has a session of its own, so that Ctrl-C reaches only the supervisor, and gets SIGINT
when the supervisor dies, so that nothing is left behind.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace_core.errors import SetupError
from headrace_runtime.postgres import launch
from headrace_runtime.service import Exit

RESPAWN_FIRST_S, RESPAWN_MAX_S = 0.1, 5.0
HEALTHY_AFTER_S = 10.0
LOG_BYTES_MAX = 64 * 1024 * 1024
LOG_TAIL_BYTES = 4_000


def inherited(environment: Mapping[str, str], withheld: str) -> Mapping[str, str]:
    if not withheld:
        return environment
    return {name: value for name, value in environment.items() if not name.startswith(withheld)}


@dataclass(slots=True)
class ServiceProcess:
    """One service of the suite. `environment` holds its settings; it keeps its port for ever.

    Variables of this process whose names begin with `withheld` are not handed on, if it is set.
    """

    name: str
    module: str
    environment: Mapping[str, str]
    log_file: Path
    ready_file: Path
    withheld: str = ""
    restarts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _started_s: float = 0.0
    _respawn_at_s: float = 0.0
    _delay_s: float = field(default=RESPAWN_FIRST_S)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        self.ready_file.unlink(missing_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_BYTES_MAX:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        program = [sys.executable, "-m", self.module]
        launcher = [sys.executable, "-I", "-S", launch.__file__, "self", "0", "0"]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*launcher, str(os.getpid()), *program],
                env={**inherited(os.environ, self.withheld), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started_s = time.monotonic()

    def ready(self) -> Mapping[str, Any] | None:
        """What the process said when it began to serve; None before."""
        try:
            said = json.loads(self.ready_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return said if said.get("pid") == self.pid else None

    def watch(self) -> bool:
        """Start it again if it died, after a growing delay; whether it was started now.

        Raises SetupError when its own configuration is at fault: trying again is no help.
        """
        process = self._process
        if process is None or process.poll() is None:
            if process is not None and time.monotonic() - self._started_s > HEALTHY_AFTER_S:
                self._delay_s = RESPAWN_FIRST_S
            return False
        now_s = time.monotonic()
        if process.returncode == Exit.MISCONFIGURED:
            raise SetupError(f"Service {self.name} does not start:\n{self.log_tail()}")
        if not self._respawn_at_s:
            self._respawn_at_s = now_s + self._delay_s
            self._delay_s = min(self._delay_s * 2, RESPAWN_MAX_S)
        if now_s < self._respawn_at_s:
            return False
        self._respawn_at_s = 0.0
        self.restarts += 1
        self.start()
        return True

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait_or_kill(self, deadline_s: float) -> None:
        """Until `deadline_s` of the monotonic clock, then kill."""
        process = self._process
        if process is None:
            return
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def log_tail(self) -> str:
        with self.log_file.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - LOG_TAIL_BYTES))
            return log.read().decode("utf-8", "replace").strip()
