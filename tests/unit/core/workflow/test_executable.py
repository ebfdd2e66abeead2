"""Every path and every enumerated value of the schema is executed, which a run-time test shows."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from headrace_core.workflow.schema import flow_schema
from tests.unit.core.workflow.runtime_tests import COVERED_BY

TESTS = Path(__file__).parents[3]


def schema_paths() -> set[str]:
    schema = flow_schema()
    return set(_paths(schema, schema, "", frozenset()))


def _paths(
    schema: Mapping[str, Any], root: Mapping[str, Any], path: str, inside: frozenset[str]
) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name not in inside:
            # A step inside a group is a step: its keys are those of any step.
            yield from _paths(root["definitions"][name], root, path, inside | {name})
        return
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    yield from (f"{path}={value}" for value in values)
    for option in schema.get("oneOf", ()):
        yield from _paths(option, root, path, inside)
    for key, child in cast(Mapping[str, Any], schema.get("properties", {})).items():
        below = f"{path}.{key}" if path else key
        yield below
        yield from _paths(child, root, below, inside)
    for key, mark in (("additionalProperties", ".*"), ("items", "[]")):
        if isinstance(schema.get(key), Mapping) and _says_more(schema[key]):
            yield path + mark
            yield from _paths(schema[key], root, path + mark, inside)


def _says_more(schema: Mapping[str, Any]) -> bool:
    return bool(schema)


def test_every_path_of_the_schema_names_its_run_time_test() -> None:
    assert sorted(COVERED_BY) == sorted(schema_paths())


@pytest.mark.parametrize("path", sorted(COVERED_BY))
def test_the_named_run_time_test_exists(path: str) -> None:
    file, _, name = COVERED_BY[path].partition("::")
    assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE), path
