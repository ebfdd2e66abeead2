"""Every flow in examples/ compiles; those that call others are compiled after them."""

from pathlib import Path

import pytest

from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.fault import render_faults
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.plan_json import plan_from_json, plan_to_json
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor

EXAMPLES = sorted(Path(__file__).parents[4].joinpath("examples").glob("*.flow.yaml"))
CALLED = ("hello",)


def _compiled(path: Path, catalogue: Catalogue) -> Plan:
    text = path.read_text()
    result = compile_definition(text, catalogue)
    assert isinstance(result, Plan), render_faults(result, text, path.name)
    return result


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    flows: dict[tuple[str, str], FlowDescriptor] = {}
    for path in EXAMPLES:
        if path.name.removesuffix(".flow.yaml") in CALLED:
            plan = _compiled(path, Catalogue())
            flows[plan.flow, "stable"] = FlowDescriptor(plan.flow, 1, plan.hash, plan.inputs)
    return Catalogue(flows=flows)


def test_there_are_at_least_twenty_five_examples() -> None:
    assert len(EXAMPLES) >= 25


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_compiles(path: Path, catalogue: Catalogue) -> None:
    plan = _compiled(path, catalogue)
    assert plan.flow == path.name.removesuffix(".flow.yaml")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_plan_comes_back_from_its_json(path: Path, catalogue: Catalogue) -> None:
    plan = _compiled(path, catalogue)
    stored = plan_to_json(plan)
    loaded = plan_from_json(stored)
    assert loaded == plan
    assert plan_to_json(loaded) == stored
    references = {name: step.references for name, step in plan.steps.items()}
    assert {name: step.references for name, step in loaded.steps.items()} == references
