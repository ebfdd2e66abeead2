"""A flow's JSON Schema in the strict form that providers accept, and the answer checked by it.

In the strict form every object lists all of its members as required and allows no other. So an
optional member is asked for as "this or null", and a null there is taken as absent again. What
only narrows a value (a length, a pattern over a part of it) may be left out of the question,
since the answer is checked here against the flow's own schema. What the form cannot express is
refused.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, cast

from headrace_core.workflow.inputs import schema_fault, value_faults
from headrace_core.workflow.template import JsonValue
from headrace_executor.domain.model_faults import SCHEMA_MISMATCH, ModelFailed, excerpt_of

Schema = Mapping[str, Any]

DEPTH_MAX = 64
BRANCHES_MAX = 1_000
NULL = "null"
_DEFINITIONS = ("$defs", "definitions")
_TYPES = ("string", "integer", "number", "boolean", "object", "array", NULL)
_ANNOTATIONS = frozenset({"description", "title", "default", "examples", "$comment", "deprecated"})
_COPIED: Mapping[str, tuple[str, ...]] = {
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("minItems", "maxItems"),
}
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_UNSAYABLE: Mapping[str, str] = {
    "allOf": "write one schema with all of it",
    "not": "say what is allowed instead",
    "if": "use anyOf, with one schema for each case",
    "then": "use anyOf, with one schema for each case",
    "else": "use anyOf, with one schema for each case",
    "patternProperties": "ask for a list of {name, value} objects",
    "propertyNames": "ask for a list of {name, value} objects",
    "dependentRequired": "use anyOf, with one schema for each case",
    "dependentSchemas": "use anyOf, with one schema for each case",
    "dependencies": "use anyOf, with one schema for each case",
    "prefixItems": "use an object with one member for each place",
    "additionalItems": "use an object with one member for each place",
    "unevaluatedProperties": "use additionalProperties: false",
    "unevaluatedItems": "use an object with one member for each place",
    "$dynamicRef": "use $ref to #/$defs/...",
    "$recursiveRef": "use $ref to #/$defs/...",
}
_EFFORT_MAX = 10_000
"""Parts of an answer that are looked at for absent members; a schema may branch without end."""
_MISMATCHES_SHOWN = 5


class Unsayable(ValueError):
    """The strict form cannot express this schema; says where, and what to write instead."""


def strict_form(schema: Schema) -> dict[str, Any]:
    """Raises Unsayable."""
    fault = schema_fault(schema)
    if fault is not None:
        raise Unsayable(f"`schema` is no JSON Schema: {fault}")
    strict = _strict(schema, "schema", 0)
    if strict.get("type") != "object":
        _refuse("schema", "is not of type object", "put the value into a member of an object")
    for keyword in _DEFINITIONS:
        if keyword in schema:
            strict[keyword] = {
                name: _strict(one, f"schema.{keyword}.{name}", 0)
                for name, one in schema[keyword].items()
            }
    _refuse_endless_references(schema)
    return strict


def read_output(schema: Schema, text: str) -> JsonValue:
    """The value that the answer's text is, checked against the flow's own schema.

    Raises ModelFailed.
    """
    if not text.strip():
        raise ModelFailed(SCHEMA_MISMATCH, "the model gave no text")
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        message = f"the model's answer is not JSON: {excerpt_of(text)}"
        raise ModelFailed(SCHEMA_MISMATCH, message) from None
    value = _Answers(schema).without_absent(value, schema, DEPTH_MAX)
    faults = value_faults(schema, value)
    if faults:
        shown = "; ".join(map(str, faults[:_MISMATCHES_SHOWN]))
        raise ModelFailed(SCHEMA_MISMATCH, f"the model's answer does not fit the schema: {shown}")
    return value


def _strict(schema: Any, place: str, depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        _refuse(place, "is nested too deeply", f"use at most {DEPTH_MAX} levels")
    if not isinstance(schema, Mapping):
        _refuse(place, "allows any value", "say which type it has")
    given = cast(Schema, schema)
    for keyword, remedy in _UNSAYABLE.items():
        if keyword in given:
            _refuse(place, f"uses {keyword!r}", remedy)
    if "$ref" in given:
        return _reference(given, place)
    strict: dict[str, Any] = {}
    if "description" in given:
        strict["description"] = given["description"]
    options = [name for name in ("anyOf", "oneOf") if name in given]
    if options:
        return {**strict, "anyOf": _options(given, options, place, depth)}
    types = _types_of(given, place)
    strict["type"] = types[0] if len(types) == 1 else types
    if "enum" in given or "const" in given:
        strict["enum"] = [given["const"]] if "const" in given else list(given["enum"])
        return strict
    if "object" in types:
        strict |= _object(given, place, depth)
    if "array" in types:
        strict["items"] = _items(given, place, depth)
    _copy_bounds(given, types, strict)
    return strict


def _reference(schema: Schema, place: str) -> dict[str, Any]:
    target = schema["$ref"]
    head, _, name = target.rpartition("/")
    if head not in [f"#/{keyword}" for keyword in _DEFINITIONS] or not name:
        _refuse(place, f"refers to {target!r}", "refer to #/$defs/...")
    beside = sorted(set(schema) - _ANNOTATIONS - {"$ref"})
    if beside:
        _refuse(place, f"has {beside[0]!r} beside a $ref", "put it into the definition")
    return {"$ref": target}


def _options(schema: Schema, names: Sequence[str], place: str, depth: int) -> list[Any]:
    beside = sorted(set(schema) - _ANNOTATIONS - {*names[:1], *_DEFINITIONS, "$schema"})
    if beside:
        _refuse(place, f"has {beside[0]!r} beside {names[0]}", "put it into each of the options")
    return [
        _strict(option, f"{place}.{names[0]}[{index}]", depth + 1)
        for index, option in enumerate(schema[names[0]])
    ]


def _types_of(schema: Schema, place: str) -> list[str]:
    given = schema.get("type")
    if given is not None:
        return [given] if isinstance(given, str) else list(given)
    if "properties" in schema:
        return ["object"]
    if "items" in schema:
        return ["array"]
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not values:
        _refuse(place, "does not say its type", "add type")
    found = {_type_of(value) for value in values}
    return [name for name in _TYPES if name in found]


def _type_of(value: Any) -> str:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "boolean"
    kinds = ((str, "string"), (int, "integer"), (float, "number"), (Mapping, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "array")


def _object(schema: Schema, place: str, depth: int) -> dict[str, Any]:
    if schema.get("additionalProperties", False) is not False:
        remedy = "name the members, or ask for a list of {name, value} objects"
        _refuse(place, "allows members that it does not name", remedy)
    properties: Schema = schema.get("properties", {})
    if not properties:
        _refuse(place, "is an object without members", "name them in properties")
    required = schema.get("required", ())
    unnamed = [name for name in required if name not in properties]
    if unnamed:
        _refuse(place, f"requires {unnamed[0]!r} and does not describe it", "add it to properties")
    strict: dict[str, Any] = {}
    for name, one in properties.items():
        member = _strict(one, f"{place}.properties.{name}", depth + 1)
        strict[name] = member if name in required else _or_null(member)
    return {"properties": strict, "required": list(properties), "additionalProperties": False}


def _items(schema: Schema, place: str, depth: int) -> dict[str, Any]:
    items = schema.get("items")
    if isinstance(items, list):
        _refuse(place, "has one schema for each place", "use an object with a member for each")
    if items is None:
        _refuse(place, "does not say what its items are", "add items")
    return _strict(items, f"{place}.items", depth + 1)


def _or_null(strict: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in strict:
        return {"anyOf": [strict, {"type": NULL}]}
    if "anyOf" in strict:
        return {**strict, "anyOf": [*strict["anyOf"], {"type": NULL}]}
    types = [strict["type"]] if isinstance(strict["type"], str) else strict["type"]
    if NULL in types:
        return strict
    nullable = {**strict, "type": [*types, NULL]}
    if "enum" in strict:
        nullable["enum"] = [*strict["enum"], None]
    return nullable


def _copy_bounds(schema: Schema, types: Sequence[str], strict: dict[str, Any]) -> None:
    for kind in ("integer" if one == "number" else one for one in types):
        for keyword in _COPIED.get(kind, ()):
            bound = schema.get(keyword)
            # In old drafts an exclusive bound is a flag beside the bound.
            if bound is not None and not isinstance(bound, bool):
                strict[keyword] = bound
    if "string" in types:
        if schema.get("format") in _FORMATS:
            strict["format"] = schema["format"]
        pattern = schema.get("pattern", "")
        # Grammars match whole values, so only such a pattern means the same to them.
        if pattern.startswith("^") and pattern.endswith("$"):
            strict["pattern"] = pattern


def _refuse_endless_references(root: Schema) -> None:
    """A definition that is, without a member or an item in between, itself; or that branches, and
    what it names branches again, so that checking one value would take for ever."""
    following = {
        f"#/{keyword}/{name}": tuple(_directly_referred(one))
        for keyword in _DEFINITIONS
        for name, one in root.get(keyword, {}).items()
    }
    branches: dict[str, int] = {}
    for start, targets in following.items():
        # Depth first: a target on the way to itself is a cycle.
        way: list[tuple[str, Iterator[str]]] = [(start, iter(targets))]
        while way:
            target = next(way[-1][1], None)
            if target is None:
                name, _ = way.pop()
                branches[name] = max(1, sum(branches[one] for one in following.get(name, ())))
                if branches[name] > BRANCHES_MAX:
                    raise Unsayable(f"{name} branches too often: use fewer options")
            elif any(target == name for name, _ in way):
                raise Unsayable(f"{target} refers to itself without end: put a member in between")
            elif target not in branches:
                way.append((target, iter(following.get(target, ()))))


def _directly_referred(schema: Any) -> Iterable[str]:
    if not isinstance(schema, Mapping):
        return
    given = cast(Schema, schema)
    if "$ref" in given:
        yield given["$ref"]
    for keyword in ("anyOf", "oneOf"):
        for option in given.get(keyword, ()):
            yield from _directly_referred(option)


class _Answers:
    """Takes the nulls out again that stand for absent members."""

    def __init__(self, root: Schema) -> None:
        self._definitions = {name: root[name] for name in _DEFINITIONS if name in root}
        self._effort = _EFFORT_MAX

    def without_absent(self, value: Any, schema: Any, depth: int) -> Any:
        given = self._resolved(schema)
        self._effort -= 1
        if depth == 0 or self._effort <= 0 or given is None:
            return value
        options: Sequence[Any] | None = given.get("anyOf") or given.get("oneOf")
        if options:
            return self._of_options(value, options, depth)
        if isinstance(value, dict) and "properties" in given:
            return self._members(cast("dict[str, Any]", value), given, depth)
        if isinstance(value, list) and isinstance(given.get("items"), Mapping):
            items = given["items"]
            return [self.without_absent(one, items, depth - 1) for one in cast("list[Any]", value)]
        return cast("Any", value)

    def _of_options(self, value: Any, options: Sequence[Any], depth: int) -> Any:
        for option in options:
            found = self.without_absent(value, option, depth - 1)
            if not value_faults({**self._definitions, **option}, found):
                return found
        return value

    def _members(self, value: dict[str, Any], schema: Schema, depth: int) -> dict[str, Any]:
        properties, required = schema["properties"], schema.get("required", ())
        kept: dict[str, Any] = {}
        for name, member in value.items():
            described = properties.get(name)
            if member is None and name not in required and not self._may_be_null(described):
                continue
            kept[name] = self.without_absent(member, described, depth - 1)
        return kept

    def _may_be_null(self, schema: Any) -> bool:
        """Also true where nothing is described: that is no member to take out."""
        return not isinstance(schema, Mapping) or not value_faults(
            {**self._definitions, **cast(Schema, schema)}, None
        )

    def _resolved(self, schema: Any) -> Schema | None:
        for _ in range(DEPTH_MAX):
            if not isinstance(schema, Mapping):
                return None
            given = cast(Schema, schema)
            if "$ref" not in given:
                return given
            _, keyword, name = given["$ref"].split("/", 2)
            schema = self._definitions.get(keyword, {}).get(name)
        return None


def _refuse(place: str, what: str, remedy: str) -> NoReturn:
    raise Unsayable(f"{place} {what}, which a model cannot be held to: {remedy}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
