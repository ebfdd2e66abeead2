"""The terminal: what a command answers goes to stdout, everything else to stderr."""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from headrace_cli.rendering.style import Style

WIDTH_WITHOUT_TERMINAL = 120


@dataclass(frozen=True, slots=True)
class Console:
    """With `as_json` stdout gets JSON alone, one document per command or per line."""

    as_json: bool = False
    style: Style = field(default_factory=Style)
    progress: Style = field(default_factory=Style)
    """How stderr looks."""
    draws: bool = False
    """Whether stderr is a terminal that can be drawn on."""

    def answer(self, text: str) -> None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()

    def answer_json(self, document: Any) -> None:
        self.answer(json.dumps(document, ensure_ascii=False))

    def say(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def now_ms() -> int:
    """Epoch milliseconds, to compare with times of the API."""
    return time.time_ns() // 1_000_000


def open_console(*, as_json: bool) -> Console:
    draws = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    answers, progress = (style_of(one, os.environ) for one in (sys.stdout, sys.stderr))
    return Console(as_json, answers, progress, draws)


def style_of(stream: TextIO, environment: Mapping[str, str]) -> Style:
    """Colours for a terminal that has them, unless NO_COLOR is set."""
    terminal = stream.isatty()
    width = shutil.get_terminal_size().columns if terminal else WIDTH_WITHOUT_TERMINAL
    wants = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    unicode = (stream.encoding or "").lower().replace("-", "") == "utf8"
    return Style(max(width, 60), terminal and wants, unicode)
