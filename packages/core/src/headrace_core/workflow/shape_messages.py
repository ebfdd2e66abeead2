"""Faults of shape in words: what the model's validator found, for somebody who writes a flow."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.duration import PATTERN as DURATION_PATTERN
from headrace_core.workflow.model_types import (
    ACTION_PATTERN,
    FLOW_NAME_PATTERN,
    ID_PATTERN,
    NEED_PATTERN,
)

SYNONYMS: Mapping[str, str] = {
    "on": "triggers",
    "depends_on": "needs",
    "dependsOn": "needs",
    "depends": "needs",
    "after": "needs",
    "if": "when",
    "condition": "when",
    "args": "with",
    "arguments": "with",
    "parameters": "with",
    "params": "with",
    "input": "inputs",
    "output": "outputs",
    "env": "vars",
    "variables": "vars",
    "tasks": "steps",
    "jobs": "steps",
    "states": "steps",
    "action": "uses",
    "call": "uses",
    "loop": "foreach",
    "for_each": "foreach",
    "retries": "retry",
    "attempts": "max_attempts",
    "continue_on_error": "on_error",
    "catch": "on_error",
    "sleep": "wait",
    "delay": "wait",
    "labels": "tags",
    "parallel": "max_parallel",
}
"""What other languages call it."""

_WANTED: Mapping[str, str] = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "an object",
    "list_type": "a list",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
_PATTERNS: Mapping[str, tuple[str, str, str]] = {
    DURATION_PATTERN: ("HR-1108", "is not a duration", "write 500ms, 90s, 5m, 1h30m or 2d"),
    ID_PATTERN: (
        "HR-1105",
        "is not a name",
        "begin with a small letter, go on with small letters, digits and _ (63 at most)",
    ),
    FLOW_NAME_PATTERN: (
        "HR-1105",
        "is not a flow's name",
        "begin with a small letter, go on with small letters, digits and - (63 at most)",
    ),
    NEED_PATTERN: ("HR-1105", "is not a step or a port of a step", "write `step` or `step.port`"),
    ACTION_PATTERN: (
        "HR-1105",
        "is not a reference",
        "write name@version, as in http.get@1, flow/invoice@stable or worker.resize@1",
    ),
}
_SHOWN_MAX = 60


def describe(detail: ErrorDetails, path: DocumentPath) -> tuple[str, str, str]:
    """Code, message and remedy of one validation error."""
    kind, value = detail["type"], detail["input"]
    context: dict[str, Any] = detail.get("ctx", {})
    name = _name(path)
    if kind == "missing":
        key = str(path[-1])
        return "HR-1102", f"{_name(path[:-1])} lacks the key {key!r}", f"add `{key}:`"
    if kind == "null_value":
        return "HR-1103", f"{name} has no value", "give it one, or remove the key"
    if kind in _WANTED:
        wanted = _WANTED[kind]
        return "HR-1103", f"{name} must be {wanted}, not {_shown(value)}", f"write {wanted}"
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", "")
        message = f"{name} may not be {_shown(value)}"
        return "HR-1104", message, f"write one of: {expected}"
    if kind == "string_pattern_mismatch":
        code, words, remedy = _PATTERNS[str(context["pattern"])]
        return code, f"{_shown(value)} {words}", remedy
    return _describe_bound(kind, name, value, context, detail["msg"])


def _describe_bound(
    kind: str, name: str, value: Any, context: Mapping[str, Any], said: str
) -> tuple[str, str, str]:
    if kind == "greater_than_equal":
        bound = f"{context['ge']:g}"
        return "HR-1107", f"{name} is {value}, below {bound}", f"write {bound} or more"
    if kind == "less_than_equal":
        bound = f"{context['le']:g}"
        return "HR-1107", f"{name} is {value}, above {bound}", f"write {bound} or less"
    if kind == "too_short":
        return "HR-1107", f"{name} is empty", "add an entry, or remove the key"
    if kind == "not_unique":
        return "HR-1107", f"{name}: {said}", "remove one of the two"
    if kind == "port_error":
        return "HR-1105", said, "every step has the port `error` already; choose another name"
    if kind in ("no_kind", "many_kinds", "one_of", "trigger_kind"):
        return "HR-1106", said, "keep exactly one of them"
    return "HR-1103", f"{name}: {said}", "see the reference of the language"


def _name(path: DocumentPath) -> str:
    if not path:
        return "the definition"
    last = path[-1]
    if isinstance(last, int):
        return f"entry {last + 1} of {_name(path[:-1])}"
    return f"`{last}`"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_MAX else value[:_SHOWN_MAX] + "..."
        return repr(cut)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return "an object" if isinstance(value, dict) else "a list"
