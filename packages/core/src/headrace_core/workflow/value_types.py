"""Types of expression variables, as far as JSON Schema and the definition tell them.

A type that may be wrong is worse than none: where a value can arrive in two forms (a `number`
comes as integer or double) the type is `dyn` and the check is left to the evaluation.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

DYN = "dyn"
_DEPTH_MAX = 4
_SCALARS = {"string": "string", "boolean": "bool", "integer": "int"}
_COMBINING = ("anyOf", "oneOf", "allOf", "not", "$ref", "if", "enum", "const")


def schema_type(schema: Any) -> str:
    """The signature of what a JSON Schema describes."""
    if not isinstance(schema, Mapping):
        return DYN
    one = cast(Mapping[str, Any], schema)
    kind = one.get("type")
    if not isinstance(kind, str) or any(key in one for key in _COMBINING[:-2]):
        return DYN
    if kind == "array":
        return f"list<{schema_type(one.get('items'))}>"
    if kind == "object":
        return f"map<string, {_member_type(one)}>"
    return _SCALARS.get(kind, DYN)


def schema_variables(name: str, schema: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """The name and the dotted names of plain members below it, each with its type."""
    yield name, schema_type(schema)
    if not isinstance(schema, Mapping) or depth >= _DEPTH_MAX:
        return
    one = cast(Mapping[str, Any], schema)
    properties = one.get("properties")
    if one.get("type") != "object" or not isinstance(properties, Mapping):
        return
    if any(key in one for key in _COMBINING):
        return
    for member, inner in cast(Mapping[str, Any], properties).items():
        if is_plain_name(member):
            yield from schema_variables(f"{name}.{member}", inner, depth + 1)


def value_type(value: Any) -> str:
    """The type of a constant."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "double"
    return "string" if isinstance(value, str) else DYN


def item_type(signature: str) -> str:
    """`list<string>` -> `string`; dyn for anything else."""
    if signature.startswith("list<") and signature.endswith(">"):
        return signature[len("list<") : -1]
    return DYN


def is_plain_name(name: str) -> bool:
    return name.isascii() and name.isidentifier() and name not in ("in", "true", "false", "null")


def _member_type(schema: Mapping[str, Any]) -> str:
    """Members of an object with named properties may be of several types."""
    extra = schema.get("additionalProperties")
    return schema_type(extra) if isinstance(extra, Mapping) and "properties" not in schema else DYN
