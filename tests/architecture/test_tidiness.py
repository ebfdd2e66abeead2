"""Limits of size and names. They are means: split by noun, never to please the counter."""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.architecture.source import Module, files, modules, text_of

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
THIS_FILE = "tests/architecture/test_tidiness.py"  # holds examples of what it forbids
MEASURED_SUFFIXES = {".py", ".pyi", ".sql", ".proto"}
NAMES_WITHOUT_A_NOUN = {"utils", "util", "helpers", "helper", "common", "base", "misc", "shared"}

SUPPRESSION = re.compile(r"#\s*(?:noqa|type:\s*ignore|pyright:\s*ignore)\b(?P<rest>.*)")
RULES = re.compile(r"^\s*(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*|\[[\w\-, ]+\])")
# The classes keep this file from holding what it looks for.
DEBT = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X])\b")


def measured() -> list[str]:
    return [path for path in files() if PurePosixPath(path).suffix in MEASURED_SUFFIXES]


def long_functions(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{module.path}:{node.lineno}: {node.name} has {lines} lines"


def long_lines(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > COLUMNS_MAX and not SUPPRESSION.search(line):
            yield f"{path}:{number}: {len(line)} columns"


def suppressions_without_reason(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        found = SUPPRESSION.search(line)
        if found is None:
            continue
        rules = RULES.match(found["rest"])
        reason = found["rest"][rules.end() :].strip(" -#:—") if rules else ""
        if len(reason.split()) < 2:
            yield f"{path}:{number}: names no rule or no reason: {line.strip()}"


def sleeps(module: Module) -> Iterator[str]:
    for line, name in module.imports():
        if name == "time.sleep":
            yield f"{module.path}:{line}: imports time.sleep"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            yield f"{module.path}:{node.lineno}: calls time.sleep"


def names_of_tests(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function and node.name.startswith("test_"):
            yield node.name


def test_no_file_is_longer_than_its_limit() -> None:
    lengths = {path: len(text_of(path).splitlines()) for path in measured()}
    assert {path: lines for path, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_its_limit() -> None:
    assert [fault for module in modules() for fault in long_functions(module)] == []


def test_no_line_is_wider_than_its_limit() -> None:
    assert [fault for path in measured() for fault in long_lines(path, text_of(path))] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    stems = {path: PurePosixPath(path).stem.strip("_") for path in files() if path.endswith(".py")}
    assert [path for path, stem in stems.items() if stem in NAMES_WITHOUT_A_NOUN] == []


def test_nothing_is_left_for_later_in_a_comment() -> None:
    assert [path for path in measured() if DEBT.search(text_of(path))] == []


def test_every_suppressed_finding_names_its_rule_and_its_reason() -> None:
    paths = [module.path for module in modules() if module.path != THIS_FILE]
    faults = [fault for path in paths for fault in suppressions_without_reason(path, text_of(path))]
    assert faults == []


def test_no_test_sleeps() -> None:
    tests = [module for module in modules() if module.path.startswith("tests/")]
    assert [fault for module in tests for fault in sleeps(module)] == []


def test_no_test_puts_a_mock_in_the_place_of_a_part() -> None:
    found = [(m.path, line) for m in modules() for line, name in m.imports() if "mock" in name]
    assert found == []


def test_names_of_tests_are_sentences() -> None:
    names = [name for module in modules() for name in names_of_tests(module)]
    assert [name for name in names if len(name.split("_")) < 4] == []


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("x = 1  # noqa", False),
        ("x = 1  # noqa: E501", False),
        ("x = 1  # noqa: E501 - the URL cannot be cut", True),
        ("x = 1  # noqa: E501, F401 - both for one reason", True),
        ("x = 1  # type: ignore", False),
        ("x = 1  # type: ignore[arg-type] # keys are the subset", True),
        ("x = 1  # pyright: ignore[reportUnknownMemberType]", False),
        ("x = 1  # pyright: ignore[reportUnknownMemberType] the library is untyped", True),
    ],
)
def test_a_suppression_is_allowed_only_with_rule_and_reason(line: str, *, allowed: bool) -> None:
    assert (list(suppressions_without_reason("a.py", line)) == []) is allowed


def test_a_function_over_the_limit_is_seen_also_inside_a_class() -> None:
    body = "        pass\n" * FUNCTION_LINES_MAX
    module = Module("a.py", f"class A:\n    async def long(self):\n{body}")
    assert list(long_functions(module)) == ["a.py:2: long has 71 lines"]


def test_sleep_is_seen_under_either_name() -> None:
    module = Module("a.py", "import time\nfrom time import sleep\ntime.sleep(1)\n")
    assert len(list(sleeps(module))) == 2
