"""Values of expressions as JSON: the same value gives the same JSON in every process."""

import base64
import json
import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, cast

from headrace_core.workflow.template import JsonValue


def text_of(value: JsonValue) -> str:
    """How a value reads inside text: strings as they are, everything else as its JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class NotJson(ValueError):
    """A value that JSON does not have."""


def to_json(value: Any) -> JsonValue:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJson(f"the result {value} is not a JSON number")
        return value
    if isinstance(value, list):
        return [to_json(item) for item in cast(list[Any], value)]
    if isinstance(value, dict):
        return _object(cast(dict[Any, Any], value))
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return _seconds(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    raise NotJson(f"the result is a {type(value).__name__}, which JSON does not have")


def _object(value: dict[Any, Any]) -> JsonValue:
    """Sorted, since the engine gives members in an order that differs per process."""
    members = {text_of(to_json(key)): to_json(one) for key, one in value.items()}
    return {key: members[key] for key in sorted(members)}


def _seconds(value: timedelta) -> str:
    """A duration as in the JSON form of protocol buffers: `5400s`, `0.25s`."""
    microseconds = value // timedelta(microseconds=1)
    sign = "-" if microseconds < 0 else ""
    whole, rest = divmod(abs(microseconds), 1_000_000)
    return f"{sign}{whole}" + (f".{rest:06}".rstrip("0") if rest else "") + "s"


def kind_of(value: Any) -> str:
    if value is None:
        return "null"
    kinds: Iterable[tuple[type, str]] = (
        (bool, "a bool"),
        (str, "a text"),
        (int, "a number"),
        (float, "a number"),
        (list, "a list"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "an object")
