"""Core and domains give the same result for the same arguments, today and on replay."""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source import Module, is_pure, source_modules

CLOCKS = {"now", "today", "utcnow"}
# hash() of a text and id() differ from process to process; the others touch the world.
WORLDLY = {"breakpoint", "eval", "exec", "hash", "id", "input", "open", "print"}


def worldly_calls(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(attr=name, value=owner) if name in CLOCKS:
                if ast.unparse(owner).split(".")[-1] in {"datetime", "date"}:
                    yield f"{module.path}:{node.lineno}: {ast.unparse(node.func)} reads the clock"
            case ast.Name(id=name) if name in WORLDLY:
                yield f"{module.path}:{node.lineno}: {name}() is not the same on replay"
            case _:
                pass


def test_core_and_domains_never_ask_the_clock_or_the_process() -> None:
    pure = [module for module in source_modules() if is_pure(module)]
    assert [fault for module in pure for fault in worldly_calls(module)] == []


@pytest.mark.parametrize(
    "line",
    ["datetime.now()", "datetime.datetime.now(UTC)", "date.today()", "hash('a')", "open('a')"],
)
def test_a_call_that_differs_on_replay_is_seen(line: str) -> None:
    assert len(list(worldly_calls(Module("a.py", f"def f():\n    return {line}\n")))) == 1


@pytest.mark.parametrize("line", ["schedule.today(3)", "at.date()", "self.id()", "run.hash()"])
def test_a_call_of_ones_own_by_a_similar_name_is_left_alone(line: str) -> None:
    assert list(worldly_calls(Module("a.py", f"def f():\n    return {line}\n"))) == []
