"""What a fork takes over, runs again and does outside."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import printable

LABEL_COLUMNS = 9


def render_fork(fork: Mapping[str, Any], style: Style) -> str:
    origin = fork["forked_from"]
    edited = set(fork["edited"])
    reused = [f"{name} (edited)" if name in edited else name for name in fork["reused"]]
    lines = [
        _line("from", f"{origin['run']} at event {origin['sequence']}", style),
        _line("reused", _names(reused), style),
        _line("again", _names(fork["again"]), style),
        _line("first", _names(fork["first"]), style),
        *(_line("outside", text, style) for text in _effects(fork["effects"])),
    ]
    if fork.get("note"):
        lines.append(_line("note", fork["note"], style))
    return "\n".join(lines) + "\n"


def _effects(effects: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not effects:
        yield "nothing"
    for effect in effects:
        text = f"{effect['step']}: {effect['action']} ({effect['effect']})"
        if effect["repeats"]:
            text += ", which the source has begun too"
        if effect["custom_key"]:
            text += ", with a key of its own"
        yield text


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def _line(label: str, text: str, style: Style) -> str:
    return f"{label:{LABEL_COLUMNS}}{style.shorten(printable(text), 10_000)}"
