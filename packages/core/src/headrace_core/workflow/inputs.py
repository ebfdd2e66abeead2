"""Values against JSON Schema: inputs of a run, arguments of an action, outputs. Only home of
jsonschema_rs.

Schemas come from strangers, so nothing is fetched and patterns run in linear time. Compiled
validators are cached.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

import jsonschema_rs

from headrace_core.workflow.fault import did_you_mean, path_text
from headrace_core.workflow.plan_parts import Input

FAULTS_MAX: Final = 100
_VALIDATORS_MAX: Final = 4_096
_SHOWN_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class ValueFault:
    """`path` addresses the place in the value, empty for the whole."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def schema_fault(schema: Mapping[str, Any]) -> str | None:
    """Why this is no usable JSON Schema. References must stay inside it."""
    try:
        _validator(_key(schema))
    except ValueError as fault:
        return _schema_message(fault)
    return None


def value_faults(schema: Mapping[str, Any], value: Any) -> list[ValueFault]:
    """Every fault, at most 100. Raises ValueError for an invalid schema."""
    return _faults(_key(schema), value, ())


def checked_inputs(inputs: Sequence[Input], value: Any) -> tuple[dict[str, Any], list[ValueFault]]:
    """The inputs with defaults filled in, and every fault; with a fault they are not to be used.

    An integer that was sent as 3.0 becomes 3, since expressions tell the two apart.
    """
    if not isinstance(value, Mapping):
        return {}, [ValueFault("", "the input must be an object")]
    given = cast(Mapping[str, Any], value)
    known = [one.name for one in inputs]
    faults = [_unknown(name, known) for name in given if name not in known]
    completed: dict[str, Any] = {}
    for one in inputs:
        if one.name not in given:
            if one.required:
                faults.append(ValueFault(one.name, "this input is required"))
            else:
                completed[one.name] = one.schema["default"]
            continue
        completed[one.name] = _completed(one.schema, given[one.name])
        faults += _faults(_key(one.schema), completed[one.name], (one.name,))
    return completed, sorted(faults, key=lambda fault: fault.path)[:FAULTS_MAX]


def _unknown(name: str, known: Iterable[str]) -> ValueFault:
    hint = did_you_mean(name, known)
    return ValueFault(name, "there is no such input" + (f"; {hint}" if hint else ""))


def _faults(key: str, value: Any, prefix: tuple[str | int, ...]) -> list[ValueFault]:
    faults: list[ValueFault] = []
    for error in _validator(key).iter_errors(value):
        if len(faults) == FAULTS_MAX:
            break
        faults.append(ValueFault(path_text((*prefix, *error.instance_path)), _cut(error.message)))
    return faults


def _completed(schema: Mapping[str, Any], value: Any) -> Any:
    """Defaults of absent members filled in, whole numbers made integers, as far as plain
    `properties` and `items` lead."""
    if schema.get("type") == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict) and isinstance(schema.get("properties"), Mapping):
        return _completed_object(schema["properties"], cast(dict[str, Any], value))
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [_completed(schema["items"], item) for item in cast(list[Any], value)]
    return cast(Any, value)


def _completed_object(properties: Mapping[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    completed = dict(value)
    for name, schema in properties.items():
        if not isinstance(schema, Mapping):
            continue
        member = cast(Mapping[str, Any], schema)
        if name in value:
            completed[name] = _completed(member, value[name])
        elif "default" in member:
            completed[name] = member["default"]
    return completed


def _key(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


def _nothing_is_fetched(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri}; write it out")


@lru_cache(maxsize=_VALIDATORS_MAX)
def _validator(key: str) -> "jsonschema_rs.Validator":
    return jsonschema_rs.validator_for(
        json.loads(key),
        validate_formats=True,
        retriever=_nothing_is_fetched,
        pattern_options=jsonschema_rs.RegexOptions(),
    )


def _schema_message(fault: ValueError) -> str:
    path: Sequence[str | int] = getattr(fault, "instance_path", None) or ()
    message = str(fault).split("\n", 1)[0]
    if _RETRIEVING in message:
        return message.rpartition(_RETRIEVING)[2]
    if path and path[-1] == "type" and "anyOf" in message:
        message = f"{message.partition(' is not')[0]} is no type; {_TYPES}"
    elif '"regex"' in message:
        message = f"{message.partition(' is not')[0]} is no pattern that runs in linear time"
    where = path_text(path)
    return _cut(f"{where}: {message}" if where else message)


_RETRIEVING = "retrieving it failed: ValueError: "
_TYPES = "write string, integer, number, boolean, array, object or null"


def _cut(message: str) -> str:
    return message if len(message) <= _SHOWN_MAX else message[:_SHOWN_MAX] + "..."
