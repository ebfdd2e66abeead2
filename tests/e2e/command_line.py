"""The command `headrace` as a user runs it: a process of its own, with or without a terminal."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.e2e.suite import Suite

COMMAND = (sys.executable, "-m", "headrace_cli")
TIMEOUT_S = 90.0
READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(slots=True)
class CommandLine:
    """`settings` are the variables of the environment that `headrace` knows."""

    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    folder: Path | None = None

    def __call__(self, *words: str, given: str | None = None) -> Answer:
        done = subprocess.run(
            [*COMMAND, *words],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            env=self.environment(),
            cwd=self.folder,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def well(self, *words: str, given: str | None = None) -> Answer:
        answer = self(*words, given=given)
        assert answer.code == 0, f"headrace {' '.join(words)}: {answer.err}{answer.out}"
        return answer

    def begin(self, *words: str) -> "Terminal":
        return Terminal(self, words)

    def environment(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")
        }
        return {**inherited, "TERM": "xterm", "COLUMNS": "100", "LINES": "30", **self.settings}


class Terminal:
    """A command on a terminal of its own. Use it as a context: its end is waited for."""

    def __init__(self, command_line: CommandLine, words: tuple[str, ...]) -> None:
        self._master, slave = pty.openpty()
        self.text = ""
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=command_line.environment(),
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def read_until(self, pattern: str) -> re.Match[str]:
        """Everything that was shown is searched."""
        give_up_s = time.monotonic() + TIMEOUT_S
        while (found := re.search(pattern, self.text)) is None:
            assert self._read(), f"the command ended without {pattern!r}: {self.text}"
            assert time.monotonic() < give_up_s, f"no {pattern!r} in: {self.text}"
        return found

    def end(self) -> int:
        """Read the rest; the exit code."""
        while self._read():
            pass
        return self.process.wait(TIMEOUT_S)

    @property
    def last_frame(self) -> str:
        """What the live table shows, without colours."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text.split("\x1b[J")[-1])

    def _read(self) -> bool:
        """False when the command has ended and everything was read."""
        ready, _, _ = select.select([self._master], [], [], TIMEOUT_S)
        assert ready, f"nothing came for {TIMEOUT_S:.0f} s: {self.text}"
        try:
            data = os.read(self._master, READ_BYTES)
        except OSError:
            # How Linux says that nobody has the other side of the terminal open.
            return False
        self.text += data.decode(errors="replace")
        return bool(data)


def of_tenant(suite: Suite, tenant: str) -> CommandLine:
    """Of a tenant that is new, with the key that the home keeps."""
    settings = {"HEADRACE_HOME": str(suite.home), "HEADRACE_TENANT": tenant}
    command_line = CommandLine(settings)
    command_line.well("tenants", "add", tenant)
    return command_line
