"""A dead letter in full, and what can be done with it."""

from collections.abc import Iterator, Mapping
from typing import Any

from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import clock_text, error_text, payload_text, printable

LABEL_COLUMNS = 9


def render_letter(letter: Mapping[str, Any], style: Style) -> str:
    room = max(20, style.width - LABEL_COLUMNS)
    return "\n".join(
        f"{label:{LABEL_COLUMNS}}{text}" for label, text in _lines(letter, style, room)
    )


def _lines(letter: Mapping[str, Any], style: Style, room: int) -> Iterator[tuple[str, str]]:
    is_open = letter["status"] == "open"
    yield "letter", f"{letter['id']}  {style.paint('' if is_open else 'strong', letter['status'])}"
    yield "run", f"{letter['run']} of {letter['flow']}@{letter['version']}"
    yield "step", f"{letter['step']}, attempt {letter['attempt']}"
    yield "called", letter["operation"]
    yield "error", style.paint("failed", printable(error_text(letter["error"])))
    yield "added", clock_text(letter["added_at"])
    if is_open:
        yield "replay", f"headrace letters replay {letter['id']}"
        yield "discard", f"headrace letters discard {letter['id']}"
        return
    again = f", as {letter['as_run']}" if letter["as_run"] else ""
    yield "decided", f"by {letter['decided_by']} at {clock_text(letter['decided_at'])}{again}"
    if letter["reason"] is not None:
        yield "reason", payload_text(letter["reason"], style, room)
