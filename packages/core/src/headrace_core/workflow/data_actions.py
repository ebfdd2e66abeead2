"""The `data.*` transforms: pure functions of their checked arguments.

Equal arguments give equal results in every process, so a repeated attempt changes nothing.
"""

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, cast

from headrace_core.workflow.json_values import text_of

Arguments = Mapping[str, Any]

_MISSING: Any = object()
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([A-Za-z0-9_.]*)\}")


class DataActionFailed(ValueError):
    """The arguments fit the schema but not each other; an `input.invalid`."""


def run_data_action(name: str, arguments: Arguments) -> Any:
    """Raises DataActionFailed; KeyError for a name outside the catalogue."""
    return _ACTIONS[name](arguments)


def _echo(arguments: Arguments) -> Any:
    return arguments["value"]


def _pick(arguments: Arguments) -> Any:
    source, fields = arguments["from"], arguments["fields"]
    if isinstance(source, list):
        return [_picked(item, fields) for item in cast(list[Any], source)]
    return _picked(source, fields)


def _picked(item: Any, fields: list[str]) -> dict[str, Any]:
    found = {field: _field(item, field) for field in fields}
    return {field: value for field, value in found.items() if value is not _MISSING}


def _merge(arguments: Arguments) -> Any:
    merged: dict[str, Any] = {}
    for one in arguments["objects"]:
        merged = _merged(merged, one) if arguments.get("deep") else {**merged, **one}
    return merged


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    result = dict(first)
    for key, value in second.items():
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            result[key] = _merged(cast(dict[str, Any], before), cast(dict[str, Any], value))
        else:
            result[key] = value
    return result


def _format(arguments: Arguments) -> Any:
    text, values = arguments["text"], arguments.get("values", {})
    if "items" not in arguments:
        return _filled(text, values)
    lines = [
        _filled(text, {**values, "index": index, "item": item, **_members(item)})
        for index, item in enumerate(arguments["items"])
    ]
    return arguments.get("separator", "\n").join(lines)


def _members(item: Any) -> dict[str, Any]:
    return cast(dict[str, Any], item) if isinstance(item, dict) else {}


def _filled(text: str, values: dict[str, Any]) -> str:
    def put(found: re.Match[str]) -> str:
        if found.group() in ("{{", "}}"):
            return found.group()[0]
        value = _field(values, found.group(1))
        if value is _MISSING:
            raise DataActionFailed(f"the text has a place {found.group()} but there is no value")
        return text_of(value)

    return _PLACEHOLDER.sub(put, text)


def _group_by(arguments: Arguments) -> Any:
    groups: dict[str, dict[str, Any]] = {}
    for item in arguments["items"]:
        key = _field(item, arguments["field"])
        key = None if key is _MISSING else key
        group = groups.setdefault(text_of([key]), {"key": key, "count": 0, "items": []})
        group["count"] += 1
        group["items"].append(item)
    return list(groups.values())


def _count(arguments: Arguments) -> Any:
    counts: dict[str, int] = {}
    items = arguments["items"]
    if "field" in arguments:
        for item in items:
            key = _field(item, arguments["field"])
            name = text_of(None if key is _MISSING else key)
            counts[name] = counts.get(name, 0) + 1
    return {"total": len(items), "by": {name: counts[name] for name in sorted(counts)}}


def _sort(arguments: Arguments) -> Any:
    field = arguments.get("field")

    def rank(item: Any) -> tuple[int, Any]:
        return _rank(item if field is None else _field(item, field))

    return sorted(arguments["items"], key=rank, reverse=bool(arguments.get("descending")))


def _rank(value: Any) -> tuple[int, Any]:
    """Numbers, then texts, then bools, then the rest by its JSON, then what is missing."""
    if value is None or value is _MISSING:
        return 4, 0
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, (int, float)):
        return 0, value
    if isinstance(value, str):
        return 1, value
    return 3, text_of(value)


def _filter(arguments: Arguments) -> Any:
    where: dict[str, Any] = arguments["where"]
    kept = (
        item
        for item in arguments["items"]
        if all(_holds(_field(item, field), wanted) for field, wanted in where.items())
    )
    return list(islice(kept, arguments.get("limit")))


def _holds(value: Any, wanted: Any) -> bool:
    operators = cast(dict[str, Any], wanted) if isinstance(wanted, dict) else {"equals": wanted}
    return all(_OPERATORS[name](value, operand) for name, operand in operators.items())


def _equal(value: Any, other: Any) -> bool:
    """JSON equality: true is not 1, but 1 is 1.0."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    return value is not _MISSING and value == other


def _contains(value: Any, part: Any) -> bool:
    if isinstance(value, str):
        return isinstance(part, str) and part in value
    if isinstance(value, list):
        return any(_equal(item, part) for item in cast(list[Any], value))
    return isinstance(value, dict) and isinstance(part, str) and part in value


def _ordered(value: Any, other: Any) -> bool:
    ranks = _rank(value)[0], _rank(other)[0]
    return ranks in ((0, 0), (1, 1))


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equals": _equal,
    "not": lambda value, other: not _equal(value, other),
    "in": lambda value, choices: any(_equal(value, one) for one in choices),
    "not_in": lambda value, choices: not any(_equal(value, one) for one in choices),
    "above": lambda value, other: _ordered(value, other) and value > other,
    "at_least": lambda value, other: _ordered(value, other) and value >= other,
    "below": lambda value, other: _ordered(value, other) and value < other,
    "at_most": lambda value, other: _ordered(value, other) and value <= other,
    "contains": _contains,
    "exists": lambda value, wanted: (value is not _MISSING and value is not None) is wanted,
}


def _lookup(arguments: Arguments) -> Any:
    table, key = arguments["table"], text_of(arguments["key"])
    if key in table:
        return table[key]
    if "default" not in arguments:
        raise DataActionFailed(f"the table has no {key!r} and there is no default")
    return arguments["default"]


def _field(item: Any, path: str) -> Any:
    """The member, or the value at the end of a dotted path; a member of that very name wins."""
    whole = _members(item)
    if path in whole:
        return whole[path]
    value = item
    for key in path.split("."):
        value = _members(value).get(key, _MISSING)
    return value


_ACTIONS: Mapping[str, Callable[[Arguments], Any]] = {
    "data.echo": _echo,
    "data.pick": _pick,
    "data.merge": _merge,
    "data.format": _format,
    "data.group_by": _group_by,
    "data.count": _count,
    "data.sort": _sort,
    "data.filter": _filter,
    "data.lookup": _lookup,
}
