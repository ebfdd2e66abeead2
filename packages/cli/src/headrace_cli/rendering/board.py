"""Progress on a terminal: a table of the run's steps as they are now, drawn again and again."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace_cli.rendering.progress import RUN, Change
from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import duration_text, printable

STEP_COLUMNS_MAX = 32
STATUS_COLUMNS = 10
TIME_COLUMNS = 11
FRAME_LINES = 2
"""Of the run's own line and the one that counts what is not shown."""
_OPEN = frozenset({"ready", "running", "waiting", "retried", "lost", "cancelling", "compensating"})
_FAILED = frozenset({"failed", "cancelled", "compensated"})


@dataclass(slots=True)
class _Row:
    begun_ms: int
    newest: Change

    @property
    def is_open(self) -> bool:
        return self.newest.status in _OPEN

    def urgency(self) -> int:
        """What people look for first when there is no room for all."""
        return 0 if self.is_open else 1 if self.newest.status in _FAILED else 2


@dataclass(slots=True)
class Board:
    run: str
    _rows: dict[str, _Row] = field(default_factory=dict[str, _Row])

    def take(self, changes: Iterable[Change]) -> None:
        for change in changes:
            row = self._rows.get(change.step)
            if row is None:
                self._rows[change.step] = _Row(change.at_ms, change)
            elif change.status == "running" and not change.remark and row.is_open:
                # A fan-out or a note keeps saying how far it is.
                row.newest = Change(change.at_ms, change.step, "running", row.newest.remark)
            else:
                row.newest = change

    def lines(self, now_ms: int, style: Style, height: int) -> list[str]:
        """At most `height` lines, none wider than the terminal."""
        steps = [row for name, row in self._rows.items() if name != RUN]
        room = max(1, height - FRAME_LINES)
        shown = steps if len(steps) <= room else _most_urgent(steps, room)
        longest = max((len(row.newest.step) for row in shown), default=0)
        names = min(STEP_COLUMNS_MAX, style.width // 3, longest)
        lines = [self._head(now_ms, style)]
        lines += (_line(row, names, now_ms, style) for row in shown)
        hidden = len(steps) - len(shown)
        if hidden:
            lines.append(style.paint("faint", f"  and {hidden} more"))
        return lines

    def _head(self, now_ms: int, style: Style) -> str:
        row = self._rows.get(RUN)
        if row is None:
            return self.run
        took = _took(row, now_ms)
        status = style.paint(row.newest.status, row.newest.status)
        room = style.width - len(self.run) - len(row.newest.status) - len(took) - 8
        remark = style.shorten(printable(row.newest.remark), max(0, room))
        return f"{self.run}  {status}  {took}  {remark}".rstrip()


def _most_urgent(rows: list[_Row], room: int) -> list[_Row]:
    """The order of the table stays."""
    newest_first = sorted(rows, key=lambda row: (row.urgency(), -row.newest.at_ms))
    kept = {id(row) for row in newest_first[:room]}
    return [row for row in rows if id(row) in kept]


def _line(row: _Row, names: int, now_ms: int, style: Style) -> str:
    change = row.newest
    name = style.shorten(printable(change.step), names)
    word = style.paint(change.status, f"{change.status:{STATUS_COLUMNS}}")
    took = f"{_took(row, now_ms):>{TIME_COLUMNS}}"
    room = style.width - names - STATUS_COLUMNS - TIME_COLUMNS - 8
    remark = style.shorten(printable(change.remark), max(0, room))
    return f"  {name:{names}}  {word}{took}  {remark}".rstrip()


def _took(row: _Row, now_ms: int) -> str:
    end_ms = now_ms if row.is_open else row.newest.at_ms
    return duration_text(max(0, end_ms - row.begun_ms))
