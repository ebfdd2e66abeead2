"""A run's and a partition's state are written by their appliers alone, from events alone.

pyright rejects a write through the read-only views. What holds the writable state itself, to pass
it to `apply`, is covered here: by the names of the state's attributes.
"""

import ast
from collections.abc import Iterator
from dataclasses import fields

import pytest

from headrace_core.partition.state import Outbox, PartitionState
from headrace_core.run.state import FanOut, RunState, StepState
from tests.architecture.source import Module, source_modules

RUN_WRITERS = ("headrace_core/run/apply.py", "headrace_core/run/appliers/")
PARTITION_WRITERS = ("headrace_core/partition/apply.py", "headrace_core/partition/appliers/")
# Builds a state from a snapshot; it may construct, not change.
THAW = "headrace_core/run/freeze.py"
DECISIONS = "headrace_scheduler/domain/decide/"

RUN_ATTRIBUTES = {one.name for kind in (RunState, StepState, FanOut) for one in fields(kind)}
PARTITION_ATTRIBUTES = {one.name for kind in (PartitionState, Outbox) for one in fields(kind)}
PARTS = {StepState.__name__, FanOut.__name__, Outbox.__name__}

CHANGING_CALLS = {
    "add",
    "append",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "setdefault",
    "update",
}


def state_attribute(node: ast.expr) -> ast.Attribute | None:
    """The attribute written by an assignment to `node`: x.steps of `x.steps[key] = ...`."""
    while isinstance(node, ast.Subscript):
        node = node.value
    if not isinstance(node, ast.Attribute):
        return None
    # An object's own attributes are its own; nothing of ours has a state as its base class.
    own = isinstance(node.value, ast.Name) and node.value.id == "self"
    return None if own else node


def written(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            for target in targets:
                yield from target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            yield target
        case ast.Call(func=ast.Attribute(attr=name, value=owner)) if name in CHANGING_CALLS:
            yield owner
        case ast.Call(func=ast.Name(id="setattr"), args=[owner, ast.Constant(value=str(name)), *_]):
            yield ast.Attribute(owner, name, ast.Store(), lineno=node.lineno)
        case _:
            pass


def writes(module: Module, attributes: set[str]) -> Iterator[str]:
    for node in ast.walk(module.tree):
        for target in written(node):
            attribute = state_attribute(target)
            if attribute is not None and attribute.attr in attributes:
                yield f"{module.path}:{target.lineno}: writes {ast.unparse(attribute)}"


def names_imported(module: Module) -> set[str]:
    return {name.rpartition(".")[2] for _, name in module.imports()}


def holders_of(kind: type, writers: tuple[str, ...]) -> list[Module]:
    others = [module for module in source_modules() if not module.inside.startswith(writers)]
    return [module for module in others if kind.__name__ in names_imported(module)]


def test_only_appliers_write_the_state_of_a_run() -> None:
    holders = holders_of(RunState, RUN_WRITERS)
    assert holders
    assert [fault for module in holders for fault in writes(module, RUN_ATTRIBUTES)] == []


def test_only_its_applier_writes_the_state_of_a_partition() -> None:
    holders = holders_of(PartitionState, PARTITION_WRITERS)
    assert holders
    assert [fault for module in holders for fault in writes(module, PARTITION_ATTRIBUTES)] == []


def test_decisions_write_to_no_run_at_all() -> None:
    decisions = [m for m in source_modules() if m.inside.startswith(DECISIONS)]
    assert decisions
    assert [fault for module in decisions for fault in writes(module, RUN_ATTRIBUTES)] == []


def test_parts_of_a_state_are_named_only_by_those_who_build_it() -> None:
    builders = (*RUN_WRITERS, *PARTITION_WRITERS, THAW)
    others = [m for m in source_modules() if not m.inside.startswith(builders)]
    assert [m.path for m in others if names_imported(m) & PARTS] == []


@pytest.mark.parametrize(
    "line",
    [
        "run.status = 1",
        "run.steps[key] = step",
        "run.steps[key].attempt += 1",
        "del run.steps[key]",
        "run.steps[key].notes.append(note)",
        "self.runs[key].sequence = 3",
        "self.run.active -= 1",
        "left, run.idle = 1, 2",
        "run.cursor: int = 3",
        "setattr(run, 'output', b'')",
    ],
)
def test_a_write_to_a_run_is_seen(line: str) -> None:
    assert len(list(writes(Module("a.py", line), RUN_ATTRIBUTES))) == 1


@pytest.mark.parametrize(
    "line",
    ["status = run.status", "self.status = 1", "steps = dict(run.steps)", "run.steps.get(1)"],
)
def test_reading_a_run_and_writing_ones_own_attribute_is_left_alone(line: str) -> None:
    assert list(writes(Module("a.py", line), RUN_ATTRIBUTES)) == []
