"""Draws the board of a run on a terminal, over what it drew before, ten times a second."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TextIO

from headrace_cli.rendering.board import Board
from headrace_cli.rendering.progress import Change
from headrace_cli.rendering.style import Style

REDRAW_S = 0.1
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_CLEAR_BELOW = "\x1b[J"


@dataclass(slots=True)
class LiveTable:
    """A context: the last drawing stays when it ends, and the cursor is there again."""

    board: Board
    stream: TextIO
    style: Style
    _drawn: int = field(default=0, init=False)

    def __enter__(self) -> Self:
        self._write(_HIDE_CURSOR)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write(_SHOW_CURSOR)

    def take(self, changes: Iterable[Change]) -> None:
        self.board.take(changes)

    def draw(self, now_ms: int) -> None:
        size = shutil.get_terminal_size()
        style = Style(max(20, size.columns - 1), self.style.colours, self.style.unicode)
        lines = self.board.lines(now_ms, style, max(4, size.lines - 1))
        back = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._write(f"\r{back}{_CLEAR_BELOW}" + "".join(line + "\n" for line in lines))
        self._drawn = len(lines)

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
