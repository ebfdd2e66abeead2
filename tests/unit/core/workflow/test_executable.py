"""Every path and every enumerated value of the schema is executed by this release or refused."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.executable import EXECUTED, REFUSED
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.schema import flow_schema
from tests.unit.core.workflow.catalogue import CATALOGUE
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


def _is_refused(path: str) -> bool:
    return any(re.match(re.escape(refused) + r"($|[.=\[])", path) for refused in REFUSED)


def test_every_path_is_executed_or_refused() -> None:
    unknown = {path for path in schema_paths() if path not in EXECUTED and not _is_refused(path)}
    assert sorted(unknown) == []


def test_nothing_is_both_executed_and_refused() -> None:
    assert sorted(path for path in EXECUTED if _is_refused(path)) == []


def test_the_tables_name_nothing_that_the_schema_does_not_have() -> None:
    assert sorted((EXECUTED | set(REFUSED)) - schema_paths()) == []


def test_every_executed_path_names_its_run_time_test() -> None:
    assert sorted(EXECUTED) == sorted(COVERED_BY)


@pytest.mark.parametrize("path", sorted(COVERED_BY))
def test_the_named_run_time_test_exists(path: str) -> None:
    file, _, name = COVERED_BY[path].partition("::")
    assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE), path


SNIPPETS: Mapping[str, str] = {
    "subject": "subject: run.id",
}


def _definition(path: str) -> str:
    head = "flow: v1\nname: sample\n"
    snippet = SNIPPETS[path]
    if path.startswith("steps"):
        return f"{head}steps:\n  a: {{set: {{}}}}\n  b: {{{snippet}}}\n"
    return f"{head}{snippet}\nsteps:\n  a: {{set: {{}}}}\n"


@pytest.mark.parametrize("path", sorted(REFUSED))
def test_what_is_not_executed_is_refused_by_name_and_nothing_else_is_wrong(path: str) -> None:
    result = compile_definition(_definition(path), CATALOGUE)
    assert not isinstance(result, Plan)
    assert {fault.code for fault in result} == {"HR-1901"}
    keyword = path.rsplit(".", 1)[-1].replace("=", ": ")
    assert f"`{keyword}`: not executed by this release" in {fault.message for fault in result}


@pytest.mark.parametrize("path", sorted(REFUSED))
def test_what_is_not_executed_belongs_to_the_language(path: str) -> None:
    result = compile_definition(_definition(path), CATALOGUE, executed_only=False)
    assert isinstance(result, Plan), result
