"""Actions that every installation has: `data.*`, `http.*`, `postgres.*` and `ai.extract`."""

from collections.abc import Mapping
from typing import Any

from headrace_core.workflow.actions import ActionDescriptor
from headrace_core.workflow.plan_parts import Effect, Idempotency

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string"}
_ANY: Schema = {}
_OBJECT: Schema = {"type": "object"}
_LIST: Schema = {"type": "array"}
_BOOL: Schema = {"type": "boolean"}
_FIELD: Schema = {"type": "string", "minLength": 1, "description": "Member, or path a.b.c"}
_FIELDS: Schema = {"type": "array", "items": _FIELD, "minItems": 1}
_COUNT: Schema = {"type": "integer", "minimum": 1}


def _object(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def _data(name: str, title: str, inputs: Schema, output: Schema | None = None) -> ActionDescriptor:
    return ActionDescriptor(
        name=f"data.{name}",
        version="1.0.0",
        title=title,
        effect=Effect.NONE,
        input_schema=inputs,
        output_schema=output,
    )


_CONDITION: Schema = {
    "type": "object",
    "description": "Field to value, or to an object of operators; all must hold",
    "minProperties": 1,
    "additionalProperties": {
        "anyOf": [
            {"type": ["string", "number", "boolean", "null"]},
            {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {
                    "equals": _ANY,
                    "not": _ANY,
                    "in": _LIST,
                    "not_in": _LIST,
                    "above": {"type": ["number", "string"]},
                    "at_least": {"type": ["number", "string"]},
                    "below": {"type": ["number", "string"]},
                    "at_most": {"type": ["number", "string"]},
                    "contains": _ANY,
                    "exists": _BOOL,
                },
            },
        ]
    },
}
_COUNTS: Schema = {
    "type": "object",
    "properties": {
        "total": {"type": "integer"},
        "by": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["total", "by"],
}
_GROUPS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"key": _ANY, "count": {"type": "integer"}, "items": _LIST},
        "required": ["key", "count", "items"],
    },
}

DATA_ACTIONS: tuple[ActionDescriptor, ...] = (
    _data("echo", "Give back a value", _object({"value": _ANY})),
    _data("pick", "Keep some members of an object, or of each in a list",
          _object({"from": {"type": ["object", "array"]}, "fields": _FIELDS})),
    _data("merge", "Merge objects; later ones win",
          _object({"objects": {"type": "array", "items": _OBJECT, "minItems": 1}}, deep=_BOOL),
          _OBJECT),
    _data("format", "Fill {placeholders} of a text, once or for each item",
          _object({"text": _TEXT}, values=_OBJECT, items=_LIST, separator=_TEXT), _TEXT),
    _data("group_by", "Group a list by a field",
          _object({"items": _LIST, "field": _FIELD}), _GROUPS),
    _data("count", "Count a list, in all and by a field",
          _object({"items": _LIST}, field=_FIELD), _COUNTS),
    _data("sort", "Sort a list by a field",
          _object({"items": _LIST}, field=_FIELD, descending=_BOOL), _LIST),
    _data("filter", "Keep the items that fulfil a condition, the first `limit` of them",
          _object({"items": _LIST, "where": _CONDITION}, limit=_COUNT), _LIST),
    _data("lookup", "Find a value in a table",
          _object({"key": _ANY, "table": _OBJECT}, default=_ANY)),
)  # fmt: skip

_RESPONSE: Schema = {
    "type": "object",
    "properties": {"status": {"type": "integer"}, "headers": _OBJECT, "body": _ANY},
    "required": ["status", "headers", "body"],
}
_ROWS: Schema = {
    "type": "object",
    "properties": {
        "rows": {"type": "array", "items": _OBJECT},
        "row_count": {"type": "integer"},
    },
    "required": ["rows", "row_count"],
}


def _http(method: str, title: str, effect: Effect, idempotency: Idempotency) -> ActionDescriptor:
    optional: dict[str, Schema] = {"headers": _OBJECT, "query": _OBJECT, "auth": _TEXT}
    if method not in ("get", "head"):
        optional["body"] = _ANY
    return ActionDescriptor(
        name=f"http.{method}",
        version="1.0.0",
        title=title,
        effect=effect,
        idempotency=idempotency,
        input_schema=_object({"url": _TEXT}, **optional),
        output_schema=_RESPONSE,
    )


HTTP_ACTIONS: tuple[ActionDescriptor, ...] = (
    _http("get", "Read a resource", Effect.READ, Idempotency.NONE),
    _http("head", "Read a resource's headers", Effect.READ, Idempotency.NONE),
    _http("post", "Send with an idempotency key", Effect.WRITE, Idempotency.HEADER),
    _http("put", "Replace a resource", Effect.WRITE, Idempotency.NATURAL),
    _http("patch", "Change a resource", Effect.WRITE, Idempotency.HEADER),
    _http("delete", "Delete a resource", Effect.DESTRUCTIVE, Idempotency.NATURAL),
)


def _postgres(name: str, title: str, effect: Effect, idempotency: Idempotency) -> ActionDescriptor:
    return ActionDescriptor(
        name=f"postgres.{name}",
        version="1.0.0",
        title=title,
        effect=effect,
        idempotency=idempotency,
        input_schema=_object({"connection": _TEXT, "sql": _TEXT}, params=_LIST, max_rows=_COUNT),
        output_schema=_ROWS,
    )


POSTGRES_ACTIONS: tuple[ActionDescriptor, ...] = (
    _postgres("query", "Read rows", Effect.READ, Idempotency.NONE),
    # Key and effect stand in one transaction of the customer's own database.
    _postgres("execute", "Change rows", Effect.WRITE, Idempotency.NATURAL),
)

AI_ACTIONS: tuple[ActionDescriptor, ...] = (
    ActionDescriptor(
        name="ai.extract",
        version="1.0.0",
        title="Structured output from a model",
        effect=Effect.READ,
        input_schema=_object(
            {
                "prompt": {
                    "anyOf": [_TEXT, _object({"user": _TEXT}, system=_TEXT)],
                    "description": "Inline prompt, or the name@version of a stored one",
                },
                "schema": _OBJECT,
            },
            model=_TEXT,
            temperature={"type": "number", "minimum": 0, "maximum": 2},
            max_tokens=_COUNT,
            budget=_object({"tokens": _COUNT}),
        ),
    ),
)

BUILTIN_ACTIONS: tuple[ActionDescriptor, ...] = (
    *DATA_ACTIONS,
    *HTTP_ACTIONS,
    *POSTGRES_ACTIONS,
    *AI_ACTIONS,
)
