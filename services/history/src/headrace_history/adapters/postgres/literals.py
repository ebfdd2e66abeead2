"""Values as SQL text, for scripts that serve many tenants in one round trip.

Strict: only what is listed here can be written, and `standard_conforming_strings` must be on (the
default; the projector's session checks it), so that a backslash means itself.
"""

from collections.abc import Iterable

_NUL = "\0"
_REPLACEMENT = "\ufffd"


def storable(text: str) -> str:
    """PostgreSQL's text holds no NUL: a name or a type with one is shown with a mark instead."""
    return text.replace(_NUL, _REPLACEMENT) if _NUL in text else text


def literal(value: object) -> str:
    """Raises TypeError for a type that is not listed."""
    if value is None:
        return "null"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return "'" + storable(value).replace("'", "''") + "'"
    if isinstance(value, bytes):
        return "'\\x" + value.hex() + "'"
    raise TypeError(f"a {type(value).__name__} cannot be written as SQL text")


def row_literal(values: Iterable[object]) -> str:
    return "(" + ",".join(map(literal, values)) + ")"
