"""A document against the model: faults of shape, and what of it can still be checked further.

All faults are wanted at once, so a broken part is taken out (a broken step is replaced by an
empty one of the same name) and the rest goes on to the checks of meaning.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.fault import did_you_mean, listed
from headrace_core.workflow.model import Flow
from headrace_core.workflow.model_types import NEED_PATTERN
from headrace_core.workflow.report import Report
from headrace_core.workflow.shape_messages import SYNONYMS, describe

_ROUNDS_MAX = 5


@dataclass(frozen=True, slots=True)
class Shaped:
    """`flow` is None where too little is left to check. `broken` holds the paths of steps that
    stand for something unreadable: nothing is to be concluded from their content."""

    flow: Flow | None
    broken: frozenset[DocumentPath]


def shape(data: Any, report: Report) -> Shaped:
    try:
        return Shaped(Flow.model_validate(data), frozenset())
    except ValidationError as error:
        errors = error.errors(include_url=False)
    for detail in errors:
        _report(detail, data, report)
    return _repaired(copy.deepcopy(data), errors)


def _report(detail: ErrorDetails, data: Any, report: Report) -> None:
    path = _path_in(data, detail)
    kind = detail["type"]
    if kind == "extra_forbidden":
        _report_unknown_key(path, report)
        return
    code, message, remedy = describe(detail, path)
    if kind == "missing":
        report.at_key(code, path[:-1], message, remedy)
    elif code == "HR-1106" or detail["loc"][-1:] == ("[key]",):
        report.at_key(code, path, message, remedy)
    else:
        report.at_value(code, path, message, remedy)


def _report_unknown_key(path: DocumentPath, report: Report) -> None:
    key = str(path[-1])
    known = keys_at(path[:-1])
    remedy = did_you_mean(key, known)
    if key in SYNONYMS and SYNONYMS[key] in known:
        remedy = f"this is called {SYNONYMS[key]!r} here"
    if key in known:
        # A key of another alternative: {uses, with} or {output}, not both.
        remedy = "keep it, or the key beside it; the two do not go together"
    remedy = remedy or f"known here: {listed(known, 40)}"
    report.at_key("HR-1101", path, f"unknown key {key!r}", remedy)


def _path_in(data: Any, detail: ErrorDetails) -> DocumentPath:
    """The error's location without the marks that unions and keys leave in it."""
    path: list[str | int] = []
    node = data
    location = detail["loc"]
    for index, key in enumerate(location):
        is_last = index == len(location) - 1
        if isinstance(node, Mapping) and key in node:
            node = cast(Mapping[Any, Any], node)[key]
            path.append(key)
        elif isinstance(node, list) and isinstance(key, int) and key < len(cast(list[Any], node)):
            node = cast(list[Any], node)[key]
            path.append(key)
        elif is_last and detail["type"] in ("missing", "extra_forbidden"):
            path.append(key)
    return tuple(path)


def keys_at(path: DocumentPath) -> list[str]:
    """The keys that the model knows at a place, over all alternatives."""
    models: list[type[BaseModel]] = [Flow]
    for key in path:
        following: list[type[BaseModel]] = []
        for model in models:
            for name, annotation in _fields(model):
                if name == key:
                    following += _models_in(annotation)
        if following:
            models = following
    return sorted({name for model in models for name, _ in _fields(model)})


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, info in model.model_fields.items():
        yield info.alias or name, info.annotation


@cache
def _models_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    found: list[type[BaseModel]] = []
    for part in get_args(annotation):
        if isinstance(part, type) or get_args(part):
            found += _models_in(part)
    return tuple(found)


def _repaired(data: Any, errors: list[ErrorDetails]) -> Shaped:
    broken: set[DocumentPath] = set()
    for _ in range(_ROUNDS_MAX):
        if not isinstance(data, dict):
            break
        for detail in errors:
            _take_out(cast(dict[str, Any], data), detail, broken)
        try:
            return Shaped(Flow.model_validate(data), frozenset(broken))
        except ValidationError as error:
            errors = error.errors(include_url=False)
    return Shaped(None, frozenset(broken))


_PLACEHOLDERS = {"flow": "v1", "name": "unnamed"}


def _take_out(data: dict[str, Any], detail: ErrorDetails, broken: set[DocumentPath]) -> None:
    location = tuple(key for key in detail["loc"] if key != "[key]")
    step = _step_path(data, location)
    if step is not None:
        _replace_step(data, step, broken, drop=detail["loc"][-1] == "[key]")
        return
    top = location[0] if location else ""
    if top in _PLACEHOLDERS:
        data[str(top)] = _PLACEHOLDERS[str(top)]
    elif top in ("triggers", "inputs") and len(location) > 1 and isinstance(data.get(top), dict):
        cast(dict[str, Any], data[str(top)]).pop(str(location[1]), None)
    else:
        data.pop(str(top), None)


def _step_path(data: Any, location: tuple[str | int, ...]) -> DocumentPath | None:
    """The innermost step around a location: ("steps", "a", "group", "b")."""
    found: DocumentPath | None = None
    node = data
    for index in range(0, len(location) - 1, 2):
        if location[index] != ("steps" if index == 0 else "group") or not isinstance(node, dict):
            break
        steps = cast(dict[str, Any], node).get(str(location[index]))
        if not isinstance(steps, dict) or location[index + 1] not in steps:
            break
        found = location[: index + 2]
        node = cast(dict[str, Any], steps)[str(location[index + 1])]
    return found


def _replace_step(
    data: dict[str, Any], path: DocumentPath, broken: set[DocumentPath], *, drop: bool
) -> None:
    node: Any = data
    for key in path[:-1]:
        node = node[key]
    raw = node[path[-1]]
    broken.add(path)
    if drop:
        del node[path[-1]]
        return
    stand_in: dict[str, Any] = {"set": {}}
    needs = cast(dict[str, Any], raw).get("needs") if isinstance(raw, dict) else None
    if isinstance(needs, list):
        kept = [need for need in cast(list[Any], needs) if _is_need(need)]
        stand_in["needs"] = list(dict.fromkeys(kept))
    node[path[-1]] = stand_in


def _is_need(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(NEED_PATTERN, value) is not None
