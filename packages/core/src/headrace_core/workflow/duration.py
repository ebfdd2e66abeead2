"""Durations as they are written in a definition: `500ms`, `1h30m`, `2d`."""

import re

PATTERN = r"^([0-9]+(ms|s|m|h|d))+$"
DURATION_MS_MAX = 10 * 366 * 86_400_000
"""Ten years; what is longer is a slip of the pen, and would overflow a timer."""

_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_WHOLE = re.compile(PATTERN)
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: str) -> int:
    """Raises ValueError for what is not a duration or is longer than ten years."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 500ms, 90s or 1h30m")
    total = sum(int(count) * _UNITS_MS[unit] for count, unit in _PART.findall(text))
    if total > DURATION_MS_MAX:
        raise ValueError(f"{text!r} is longer than ten years")
    return total


def duration_text(ms: int) -> str:
    """The shortest text that means the same."""
    parts: list[str] = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, ms = divmod(ms, _UNITS_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0ms"
