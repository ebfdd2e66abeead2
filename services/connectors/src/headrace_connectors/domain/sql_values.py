"""JSON values as parameters of PostgreSQL, and PostgreSQL's values as JSON.

Into the database the declared type of a parameter decides; out of it a value keeps its meaning:
numbers stay numbers where a JSON number holds them exactly, else they are text; times are ISO 8601;
bytes are base64.
"""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from json import dumps, loads
from typing import Any, cast

EXACT_INTEGER_MAX = 2**53
JSON_TYPES = frozenset({"json", "jsonb"})


class BadParameter(ValueError):
    """A value that its parameter cannot take; the message does not show it."""


def parameter(value: Any, type_name: str, number: int) -> Any:
    """`value` for parameter `$number` of this type. Raises BadParameter."""
    if value is None:
        return None
    if type_name.endswith("[]"):
        if not isinstance(value, list):
            raise BadParameter(f"${number} is a list of {type_name[:-2]} and no list was given")
        items = cast("list[Any]", value)
        return [parameter(one, type_name[:-2], number) for one in items]
    convert = _TO_SQL.get(type_name)
    try:
        return convert(value) if convert is not None else value
    except (TypeError, ValueError, InvalidOperation, OverflowError):
        raise BadParameter(
            f"${number} is of type {type_name}, which the given value does not fit"
        ) from None


def shown(value: Any, type_name: str) -> Any:
    """One value of a row as JSON."""
    if type_name in JSON_TYPES and isinstance(value, str):
        return loads(value)
    return _shown(value)


def _shown(value: Any) -> Any:
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= EXACT_INTEGER_MAX else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case Decimal():
            return _number(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return _shown_container(value)


def _shown_container(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _shown(one) for name, one in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, Sequence):
        return [_shown(one) for one in cast("Sequence[Any]", value)]
    # A row value is neither of them and has items().
    items = getattr(value, "items", None)
    if callable(items):
        pairs = cast("Callable[[], Sequence[tuple[Any, Any]]]", items)()
        return {str(name): _shown(one) for name, one in pairs}
    return str(value)


def _number(value: Decimal) -> int | float | str:
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value() and abs(value) <= EXACT_INTEGER_MAX:
        return int(value)
    near = float(value)
    return near if math.isfinite(near) and Decimal(repr(near)) == value else str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool):
        raise TypeError
    return Decimal(str(value))


def _timestamp(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _instant(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _interval(value: Any) -> timedelta:
    if isinstance(value, bool):
        raise TypeError
    return timedelta(seconds=value)


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _json(value: Any) -> str:
    return dumps(value)


def _bytes(value: Any) -> bytes:
    return base64.b64decode(_text(value), validate=True)


_TO_SQL: Mapping[str, Callable[[Any], Any]] = {
    "bytea": _bytes,
    "date": lambda value: date.fromisoformat(_text(value)),
    "float4": _float,
    "float8": _float,
    "int2": _integer,
    "int4": _integer,
    "int8": _integer,
    "interval": _interval,
    "json": _json,
    "jsonb": _json,
    "numeric": _decimal,
    "time": lambda value: time.fromisoformat(_text(value)),
    "timestamp": _timestamp,
    "timestamptz": _instant,
    "timetz": lambda value: time.fromisoformat(_text(value)),
}
