"""What a plan says beyond what is written: defaults, order, locks, hashes."""

from pathlib import Path
from typing import Any

import pytest

from headrace_core.workflow.actions import ActionDescriptor
from headrace_core.workflow.builtin_actions import BUILTIN_ACTIONS
from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.fault import render_faults
from headrace_core.workflow.joins import Join, JoinKind
from headrace_core.workflow.loader import load
from headrace_core.workflow.plan import (
    Edge,
    Effect,
    Idempotency,
    Jitter,
    OnError,
    OnExpire,
    Plan,
    StepKind,
    UsesKind,
)
from headrace_core.workflow.plan_json import plan_from_json, plan_to_json
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor, Resolver
from tests.unit.core.workflow.catalogue import CATALOGUE, CHILD

DESIGNED = sorted(Path(__file__).with_name("design").glob("*.flow.yaml"))


def compiled(steps: str, head: str = "", resolver: Resolver = CATALOGUE) -> Plan:
    text = f"flow: v1\nname: sample\n{head}\nsteps:\n{steps}"
    result = compile_definition(text, resolver)
    assert isinstance(result, Plan), render_faults(result, text, "test")
    return result


CHAIN = """
  a: {uses: data.echo@1, with: {value: 1}}
  b: {needs: [a, r.x], uses: data.echo@1, with: {value: "${{ steps.a.output }}"}}
  c: {needs: [a], set: {x: "${{ steps.a.output }}"}}
  r: {switch: [{port: x}]}
"""


def test_the_graph_is_resolved() -> None:
    plan = compiled(CHAIN)
    assert plan.order == ("a", "c", "r", "b")
    assert plan.entry == ("a", "r")
    assert plan.successors == {"a": ("b", "c"), "b": (), "c": (), "r": ("b",)}
    assert plan.steps["b"].needs == (Edge("a"), Edge("r", "x"))
    assert [plan.steps[name].index for name in plan.order] == [0, 1, 2, 3]
    assert [plan.steps[name].inline for name in plan.order] == [False, True, True, False]


def test_the_order_in_the_file_means_nothing() -> None:
    document = load(f"flow: v1\nname: sample\nsteps:{CHAIN}")[0].data
    turned = {"steps": dict(reversed(document["steps"].items())), "name": "sample", "flow": "v1"}
    assert compile_definition(turned, CATALOGUE) == compile_definition(document, CATALOGUE)


def test_title_and_description_do_not_change_the_hash() -> None:
    plain, titled = compiled(CHAIN), compiled(CHAIN, "title: x\ndescription: y")
    assert plain.hash == titled.hash
    assert len(plain.hash) == 64


def test_anything_else_changes_the_hash() -> None:
    hashes = {compiled(CHAIN).hash, compiled(CHAIN, "timeout: 5m").hash}
    hashes.add(compiled(CHAIN.replace("value: 1", "value: 2")).hash)
    assert len(hashes) == 3


def test_what_a_reference_means_is_locked_and_changes_the_hash() -> None:
    steps = "  a: {uses: flow/child@1, with: {name: x}}\n"
    plan = compiled(steps)
    assert plan.lock == {"flow/child@1": CHILD.plan}
    uses = plan.steps["a"].uses
    assert uses is not None
    assert (uses.kind, uses.name, uses.locked, uses.version) == (
        UsesKind.FLOW,
        "child",
        CHILD.plan,
        1,
    )
    moved = FlowDescriptor("child", 2, CHILD.plan.__class__("e" * 64), CHILD.inputs)
    other = compiled(steps, resolver=Catalogue(flows={("child", "1"): moved}))
    assert other.hash != plan.hash


def test_an_action_is_locked_to_its_newest_fitting_version() -> None:
    def echo(version: str) -> ActionDescriptor:
        return ActionDescriptor(
            name="my.echo", version=version, title="", effect=Effect.READ, input_schema={}
        )

    resolver = Catalogue(actions=tuple(map(echo, ("1.2.0", "1.10.0", "2.0.0", "10.0.0"))))
    plan = compiled("  a: {uses: my.echo@1}\n  b: {uses: my.echo@1.2}\n", resolver=resolver)
    assert plan.lock["my.echo@1"].startswith("1.10.0#")
    assert plan.lock["my.echo@1.2"].startswith("1.2.0#")


def test_a_worker_task_is_not_resolved() -> None:
    plan = compiled("  a: {uses: worker.resize@1}\n")
    uses = plan.steps["a"].uses
    assert uses is not None
    assert (uses.kind, uses.name) == (UsesKind.WORKER, "resize")
    assert (uses.effect, uses.idempotency, plan.lock) == (Effect.WRITE, Idempotency.NONE, {})


def test_attempts_follow_the_action_unless_something_is_said() -> None:
    steps = """
  read: {uses: http.get@1, with: {url: x}}
  task: {uses: worker.x@1}
  own: {uses: worker.x@1, retry: {max_attempts: 7, backoff: {initial: 1s, factor: 3, max: 9s}}}
"""
    plan = compiled(steps)
    assert [plan.steps[name].retry.max_attempts for name in ("read", "task", "own")] == [3, 1, 7]
    own = plan.steps["own"].retry
    assert (own.initial_ms, own.factor, own.max_ms, own.jitter) == (1_000, 3, 9_000, Jitter.FULL)
    general = compiled(steps, "defaults: {retry: {max_attempts: 2}, timeout: 5s}")
    attempts = [general.steps[name].retry.max_attempts for name in ("read", "task", "own")]
    assert attempts == [2, 2, 7]
    assert general.steps["task"].timeout_ms == 5_000


@pytest.mark.parametrize("jitter", ["none", "full", "equal"])
def test_a_default_policy_is_that_of_every_step_that_states_none(jitter: str) -> None:
    policy = (
        "{max_attempts: 4, on: [network], not_on: [http.501],"
        f" backoff: {{initial: 2s, factor: 1.5, max: 8s, jitter: {jitter}}}}}"
    )
    steps = f"  a: {{uses: worker.x@1}}\n  b: {{uses: worker.x@1, retry: {policy}}}\n"
    plan = compiled(steps, f"defaults: {{retry: {policy}}}")
    assert plan.steps["a"].retry == plan.steps["b"].retry
    assert plan.steps["a"].retry.on == ("network",)
    assert plan.steps["a"].retry.jitter is Jitter(jitter)


def test_the_head_of_a_flow_names_it_and_may_describe_it() -> None:
    plan = compiled(CHAIN, "title: x\ndescription: y\ntags: {team: billing}")
    assert plan.flow == "sample"


def test_a_fallback_has_attempts_of_its_own_action() -> None:
    plan = compiled(
        "  a: {uses: worker.x@1, fallback: [{uses: http.get@1, with: {url: x}}, {output: null}]}\n"
    )
    first, second = plan.steps["a"].fallback
    assert first.retry.max_attempts == 3
    assert (second.uses, second.output is not None) == (None, True)


def test_an_output_of_null_is_an_output_even_after_it_was_stored() -> None:
    plan = compiled("  a: {uses: worker.x@1, on_error: {output: null}}\n")
    loaded = plan_from_json(plan_to_json(plan))
    step = loaded.steps["a"]
    assert step.on_error is OnError.OUTPUT
    assert step.on_error_output is not None
    assert not step.catches


def test_numbers_keep_their_kind_when_a_plan_is_stored() -> None:
    plan = compiled("  a: {set: {}}\n", "vars: {int: 1, double: 1.0}")
    loaded = plan_from_json(plan_to_json(plan))
    assert [type(loaded.vars[name]) for name in ("int", "double")] == [int, float]


def test_joins_and_waits_are_read() -> None:
    plan = compiled(
        """
  a: {wait: {for: 90s}}
  b: {wait: {until: "${{ run.started_at }}"}}
  c: {approval: {assignees: [ann], expires: 1h}}
  d: {needs: [a, b, c.approved], join: {at_least: 2}, fail: {message: "no ${{ run.id }}"}}
"""
    )
    wait = plan.steps["a"].wait
    assert wait is not None
    assert wait.for_ms == 90_000
    approval = plan.steps["c"].approval
    assert approval is not None
    assert (approval.expires_ms, approval.on_expire) == (3_600_000, OnExpire.EXPIRED)
    assert plan.steps["d"].join == Join(JoinKind.AT_LEAST, 2)
    assert plan.steps["d"].kind is StepKind.FAIL


def test_references_are_what_the_executor_must_open() -> None:
    plan = compiled(
        """
  a: {set: {}}
  b: {set: {}}
  c:
    needs: [a, b]
    when: steps.b.output.go
    uses: worker.x@1
    with: {x: "${{ steps.a.output.x }}", y: "${{ inputs.n }}"}
    idempotency_key: "k-${{ inputs.m }}"
""",
        "inputs: {n: {type: integer}, m: {type: string}}",
    )
    references = plan.steps["c"].references
    assert [(one.step, one.output, one.error) for one in references.steps] == [("a", True, False)]
    assert references.inputs == ("m", "n")


def test_the_depth_counts_what_is_called() -> None:
    deep = FlowDescriptor("deep", 1, CHILD.plan, depth=4)
    plan = compiled("  a: {uses: flow/deep@1}\n", resolver=Catalogue(flows={("deep", "1"): deep}))
    assert plan.depth == 5
    assert compiled(CHAIN).depth == 1


def test_a_document_that_is_no_object_is_a_fault_and_no_crash() -> None:
    for text in ("null", "[]", "1", "text", '""'):
        result = compile_definition(text, CATALOGUE)
        assert not isinstance(result, Plan)
        assert [fault.code for fault in result] == ["HR-1103"]


def test_a_decoded_document_gives_the_same_faults_without_places() -> None:
    text = "flow: v1\nname: sample\nsteps:\n  a: {set: {x: '${{ inputs.x }}'}, needs: [b]}\n"
    document = load(text)[0].data
    from_text, from_data = (compile_definition(one, CATALOGUE) for one in (text, document))
    assert isinstance(from_text, list)
    assert isinstance(from_data, list)
    assert [(one.code, one.path) for one in from_text] != []
    assert sorted((one.code, one.path, one.message) for one in from_text) == sorted(
        (one.code, one.path, one.message) for one in from_data
    )
    assert {one.line for one in from_data} == {0}
    assert "steps.a.needs[0]" in render_faults(from_data, "", "request")


class _EverythingExists:
    """A world in which each action and flow of the design's examples is installed."""

    def action(self, name: str, version: str) -> ActionDescriptor | None:
        return next((one for one in BUILTIN_ACTIONS if one.name == name), None) or ActionDescriptor(
            name=name, version="1.0.0", title="", effect=Effect.WRITE, input_schema={}
        )

    def flow(self, name: str, version: str) -> FlowDescriptor | None:
        return None if name == "gone" else FlowDescriptor(name, 1, CHILD.plan, (), 1)

    def prompt(self, name: str, version: str) -> str | None:
        return f"hash of {name}"

    def known(self) -> list[str]:
        return []


class _AnyInputs(_EverythingExists):
    def flow(self, name: str, version: str) -> FlowDescriptor | None:
        inputs = tuple(_input(key) for key in ("page", "text", "pages"))
        return FlowDescriptor(name, 1, CHILD.plan, inputs, 1)


def _input(name: str) -> Any:
    return CHILD.inputs[0].__class__(name, {"default": None})


@pytest.mark.parametrize("path", DESIGNED, ids=lambda path: path.name)
def test_the_flows_of_the_design_compile_where_the_whole_language_is_executed(path: Path) -> None:
    text = path.read_text()
    result = compile_definition(text, _AnyInputs())
    assert isinstance(result, Plan), render_faults(result, text, path.name)
    assert plan_from_json(plan_to_json(result)) == result
