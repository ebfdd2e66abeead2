"""Values as people read them: durations, times, JSON on one line, what failed and why."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from headrace_cli.rendering.style import Style

_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000
_HINTS = ("$masked", "$erased", "$unreadable", "$lost", "$large")


def duration_text(duration_ms: float | None) -> str:
    """`840 ms`, `1.24 s`, `3 min 5 s`, `2 h 10 min`; empty for none."""
    if duration_ms is None:
        return ""
    if duration_ms < 1_000:
        return f"{duration_ms:.0f} ms"
    if duration_ms < 10_000:
        return f"{duration_ms / 1_000:.2f} s"
    if duration_ms < _MINUTE_MS:
        return f"{duration_ms / 1_000:.1f} s"
    whole_s = int(duration_ms / 1_000)
    if duration_ms < _HOUR_MS:
        return f"{whole_s // 60} min {whole_s % 60} s"
    if duration_ms < _DAY_MS:
        return f"{whole_s // 3_600} h {whole_s // 60 % 60} min"
    return f"{whole_s // 86_400} d {whole_s // 3_600 % 24} h"


def time_ms(text: str | None) -> int | None:
    """Epoch milliseconds of a time in a document."""
    if not text:
        return None
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def clock_text(text: str | None) -> str:
    """`2026-11-25 19:49:14 UTC`."""
    if not text:
        return ""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"


def time_of_day(text: str | None) -> str:
    """With milliseconds: `19:49:14.123`."""
    return text[11:23] if text else ""


def due_text(text: str | None, now_ms: int) -> str:
    """A time as seen from `now_ms`: of the same day without the day."""
    due_ms = time_ms(text)
    if not text or due_ms is None:
        return ""
    same_day = due_ms // _DAY_MS == now_ms // _DAY_MS
    return time_of_day(text) if same_day else clock_text(text)


def date_text(epoch_ms: int | None) -> str:
    return "" if epoch_ms is None else f"{datetime.fromtimestamp(epoch_ms / 1_000, UTC):%Y-%m-%d}"


def json_line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def payload_text(value: Any, style: Style, columns: int) -> str:
    """On one line within `columns`; what is not shown says why."""
    hint = hint_of(value)
    return style.shorten(printable(hint or json_line(value)), columns)


def hint_of(value: Any) -> str:
    """Why a payload is not shown, in brackets; empty where it is."""
    document = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if len(document) != 1:
        return ""
    return next((f"({document[key]})" for key in _HINTS if key in document), "")


def error_text(error: Mapping[str, Any] | None) -> str:
    """`http.503: out of order`."""
    if not error:
        return ""
    message = error.get("message")
    if message is None:
        return str(error.get("type", ""))
    shown = message if isinstance(message, str) else hint_of(message) or json_line(message)
    return f"{error.get('type', '')}: {shown}"


def printable(text: str) -> str:
    """On one line and without control characters: a payload must not steer the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
