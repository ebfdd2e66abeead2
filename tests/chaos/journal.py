"""A file of JSON lines that is complete up to the last fact, whoever is killed when."""

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson


class Journal:
    """One write per line, straight to the file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **fact: object) -> None:
        line = orjson.dumps({"at_ms": now_ms(), **fact}, option=orjson.OPT_APPEND_NEWLINE)
        os.write(self._file, line)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def now_ms() -> int:
    """The clock of this machine, which the services read too."""
    return time.time_ns() // 1_000_000
