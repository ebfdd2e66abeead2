"""Writes docs/flows/reference.md: `python -m tests.support.language_reference`.

Key, type, limits and meaning come from the model; the example is the first of examples/ that has
the key; fault codes are those that the broken definitions of docs/errors and of the tests get.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.duration import PATTERN as DURATION
from headrace_core.workflow.loader import load
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.schema import flow_schema
from tests.unit.core.workflow.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/flows/reference.md"
EXAMPLES = ROOT / "examples"
ERRORS = ROOT / "docs/errors"
BROKEN = ROOT / "tests/unit/core/workflow/broken"
HEAD = """\
# Reference

Every key of `flow: v1`, as the schema has it (`headrace schema`). Written by `make reference` from
the model: change it there. `*` stands for a name that you choose, `[]` for an entry of a list. A
duration is written `500ms`, `90s`, `1h30m`, `2d`. A template is a value whose texts may hold
`${{ CEL }}`; CEL alone stands without braces.
"""
TABLE = "| key | type | meaning | example | faults |\n|---|---|---|---|---|\n"
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "boolean"}
_BOUNDS = {"minimum": "from {}", "maximum": "to {}", "minItems": "at least {} entries"}


@dataclass(frozen=True, slots=True)
class Key:
    """`schema` is its own, with that of the model which it refers to."""

    path: str
    schema: Mapping[str, Any]
    required: bool


def keys() -> list[Key]:
    schema = flow_schema()
    found = _keys(schema, schema["definitions"], "", frozenset())
    return list({key.path: key for key in found}.values())


def page() -> str:
    """The whole page."""
    examples, codes = _examples(), _codes()
    sections: dict[str, list[Key]] = defaultdict(list)
    for key in keys():
        sections[_section(key.path)].append(key)
    text = HEAD
    for section, members in sections.items():
        text += f"\n## {section}\n\n{TABLE}"
        for key in members:
            example = examples.get(key.path, "")
            shown = f"[{example}](../../examples/{example}.flow.yaml)" if example else ""
            linked = ", ".join(f"[{code}](../errors/{code}.md)" for code in codes[key.path])
            cells = (f"`{key.path}`", _type(key), _cell(key.schema.get("description", "")))
            text += f"| {' | '.join((*cells, shown, linked))} |\n"
    return text


def _keys(
    schema: Mapping[str, Any], models: Mapping[str, Any], path: str, inside: frozenset[str]
) -> Iterator[Key]:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name not in inside:
            # A step inside a group is a step: its keys are those of any step.
            yield from _keys(models[name], models, path, inside | {name})
        return
    for option in schema.get("oneOf", ()):
        yield from _keys(option, models, path, inside)
    required = schema.get("required", ())
    for key, child in cast("Mapping[str, Any]", schema.get("properties", {})).items():
        below = f"{path}.{key}" if path else key
        meant: Mapping[str, Any] = (
            models[child["$ref"].rsplit("/", 1)[1]] if "$ref" in child else {}
        )
        yield Key(below, {**meant, **child}, key in required)
        yield from _keys(child, models, below, inside)
    for key, mark in (("additionalProperties", ".*"), ("items", "[]")):
        if isinstance(schema.get(key), Mapping) and schema[key]:
            yield from _keys(schema[key], models, path + mark, inside)


def _section(path: str) -> str:
    parts = path.split(".")
    if parts[0] == "triggers" and len(parts) > 1:
        return f"`triggers`: {parts[2]}" if parts[2] != "with" else "`triggers`: webhook"
    if parts[0] == "steps" and len(parts) > 1:
        below = len(parts) > 3 or "[]" in path
        return f"`steps`: {parts[2].removesuffix('[]')}" if below else "`steps`: every step"
    return "The flow"


def _type(key: Key) -> str:
    schema = key.schema
    options = [_words(one) for one in schema.get("oneOf", ()) if "required" not in one]
    words = " or ".join(dict.fromkeys(options)) if options else _words(schema)
    bounds = [text.format(schema[name]) for name, text in _BOUNDS.items() if name in schema]
    return ", ".join([words, *bounds, *(["required"] if key.required else [])])


def _words(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("pattern") == DURATION:
        return "duration"
    if schema.get("type") == "array":
        return "list"
    if schema.get("type") == "object" or "properties" in schema or "$ref" in schema:
        return "object"
    return _WORDS.get(schema.get("type", ""), "any value")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _generalised(path: str, known: Mapping[str, re.Pattern[str]]) -> str:
    """The key of the schema that a place of a document belongs to; empty for none."""
    while "steps." in path and (inner := re.sub(r"^steps\.[^.]+\.group\.", "steps.", path)) != path:
        path = inner
    return next((name for name, pattern in known.items() if pattern.fullmatch(path)), "")


def _patterns() -> Mapping[str, re.Pattern[str]]:
    return {
        key.path: re.compile(
            re.escape(key.path).replace(r"\*", r"[^.\[]+").replace(r"\[\]", r"\[\d+\]")
        )
        for key in keys()
    }


def _examples() -> Mapping[str, str]:
    known, found = _patterns(), dict[str, str]()
    for file in sorted(EXAMPLES.glob("*.flow.yaml")):
        for path in _places(load(file.read_text())[0].data, ""):
            name = _generalised(path, known)
            if name:
                found.setdefault(name, file.name.removesuffix(".flow.yaml"))
    return found


def _places(node: Any, path: str) -> Iterator[str]:
    if path:
        yield path
    if isinstance(node, dict):
        for key, child in cast("dict[str, Any]", node).items():
            yield from _places(child, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for index, child in enumerate(cast("list[Any]", node)):
            yield from _places(child, f"{path}[{index}]")


def _codes() -> Mapping[str, list[str]]:
    known = _patterns()
    found: dict[str, set[str]] = defaultdict(set)
    for text in _broken():
        compiled = compile_definition(text, CATALOGUE)
        for fault in () if isinstance(compiled, Plan) else compiled:
            name = _generalised(fault.path, known)
            if name:
                found[name].add(fault.code)
    return defaultdict(list, {name: sorted(codes) for name, codes in found.items()})


def _broken() -> Iterator[str]:
    for file in sorted(BROKEN.glob("*.flow.yaml")):
        yield file.read_text()
    for file in sorted(ERRORS.glob("HR-1*.md")):
        yield from re.findall(r"^```yaml\n(.*?)^```$", file.read_text(), re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page())
