"""How text looks: glyphs that the terminal can show, and colours where it wants them."""

from collections.abc import Mapping
from dataclasses import dataclass

_RESET = "\x1b[0m"
_COLOURS: Mapping[str, str] = {
    "succeeded": "\x1b[32m",
    "failed": "\x1b[31m",
    "retried": "\x1b[33m",
    "lost": "\x1b[33m",
    "running": "\x1b[36m",
    "waiting": "\x1b[34m",
    "suspended": "\x1b[33m",
    "cancelled": "\x1b[35m",
    "compensating": "\x1b[33m",
    "compensated": "\x1b[35m",
    "skipped": "\x1b[2m",
    "faint": "\x1b[2m",
    "strong": "\x1b[1m",
}


@dataclass(frozen=True, slots=True)
class Style:
    """`width` is that of the terminal, in columns."""

    width: int = 100
    colours: bool = False
    unicode: bool = True

    @property
    def work(self) -> str:
        return "█" if self.unicode else "#"

    @property
    def wait(self) -> str:
        return "░" if self.unicode else "."

    @property
    def moment(self) -> str:
        return "▏" if self.unicode else "|"

    @property
    def rule(self) -> str:
        return "─" if self.unicode else "-"

    @property
    def cut(self) -> str:
        return "…" if self.unicode else "..."

    def paint(self, kind: str, text: str) -> str:
        """`kind` is a status, an outcome, `faint` or `strong`; others stay as they are."""
        colour = _COLOURS.get(kind) if self.colours else None
        return f"{colour}{text}{_RESET}" if colour else text

    def shorten(self, text: str, columns: int) -> str:
        if len(text) <= columns:
            return text
        kept = columns - len(self.cut)
        return text[:kept] + self.cut if kept >= 0 else ""


PLAIN = Style()
