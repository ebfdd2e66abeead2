"""What a person sees: a live table on a terminal, a line per change and tenth elsewhere."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.licence_audit.stage import ROOT
from headrace_cli.rendering.board import Board
from headrace_cli.rendering.progress import Progress
from headrace_cli.rendering.progress_lines import progress_line
from headrace_cli.rendering.style import Style

FRAMES_PER_S = 8


class Display:
    def __init__(self, console: Console, style: Style) -> None:
        self._console = console
        self._style = style
        self._progress = Progress("")
        self._board: Board | None = None
        self._notes: list[str] = []

    def title(self, text: str) -> None:
        self._console.print()
        self._console.rule(text, align="left", style="dim")

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def note(self, text: str) -> None:
        """Something happened while the run is shown."""
        if self._board is None:
            self.say(f"{'':11}{text}")
        else:
            self._notes.append(text)

    def live(self, run: str) -> AbstractContextManager[object]:
        self._progress = Progress(run)
        if not self._console.is_terminal:
            return nullcontext()
        self._board = Board(run)
        return Live(
            get_renderable=self._frame, console=self._console, refresh_per_second=FRAMES_PER_S
        )

    def take(self, event: Mapping[str, Any]) -> None:
        changes = self._progress.take(event)
        if self._board is not None:
            self._board.take(changes)
            return
        for change in changes:
            if not change.is_minor:
                self.say(progress_line(change, self._progress.started_ms, self._style))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        table = Table(*columns, box=None, header_style="dim", pad_edge=False)
        for row in rows:
            table.add_row(*(Text(str(cell)) for cell in row))
        self._console.print(table)

    def command(self, *arguments: str, environment: Mapping[str, str]) -> None:
        """A command that the person can type too, and what it answers."""
        self._console.print(f"[dim]$ headrace {' '.join(arguments)}[/dim]", highlight=False)
        sys.stdout.flush()
        command = [sys.executable, "-m", "headrace_cli", *arguments]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)

    def _frame(self) -> Text:
        assert self._board is not None
        height = self._console.height - len(self._notes) - 2
        lines = self._board.lines(int(time.time() * 1000), self._style, height)
        return Text.from_ansi("\n".join([*lines, *(f"  ! {note}" for note in self._notes)]))
