"""The four flows of the design, driven through decide and apply with chosen outcomes: every step
ends as an independent reference computes, in whatever order the others end.

Their control flow is what counts here: calls go to workers whose answers are chosen, and each
condition asks what was chosen for its step.
"""

import itertools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace_cli.testing.engine import TENANT, Engine, Plans
from headrace_cli.testing.outside import Call, Decision, Reply
from headrace_core.ids import StepKey
from headrace_core.run.status import RUN_TERMINAL, CancelCause
from headrace_core.workflow.loader import load
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor
from headrace_scheduler.domain import commands as cmd
from tests.support.flow_run import compiled
from tests.support.reference_flow import Outcome, Reference, ports

DESIGN = Path(__file__).parents[1] / "core/workflow/design"
CANCELLING = "cancelling"
FLOWS = [
    *sorted(path.name.removesuffix(".flow.yaml") for path in DESIGN.glob("*.flow.yaml")),
    CANCELLING,
]
ORDERS = 3
SAMPLE = 60
EXPIRES_MS = 3_600_000
_KEPT = ("needs", "join", "when", "switch", "set", "fail", "on_error", "mode")
_CANCELLED_SOURCES: Mapping[str, Mapping[str, Any]] = {
    "bad": {"uses": "a@1"},
    "open": {"uses": "a@1"},
    "told": {"needs": ["open.error"], "uses": "a@1"},
    "either": {"needs": ["open", "bad.error"], "join": "any", "uses": "a@1"},
    "both": {"needs": ["open", "bad.error"], "join": "settled", "uses": "a@1"},
    "closed": {"needs": ["open", "bad"], "join": "always", "uses": "a@1"},
    "after": {"needs": ["open"], "uses": "a@1"},
}
"""Beside the design's: every edge that a cancelled step may have, to steps that go on."""
STUB = compiled("flow: v1\nname: stub\nsteps: {a: {set: {}}}\n")
CATALOGUE = Catalogue(flows={("stub", "stable"): FlowDescriptor("stub", 1, STUB.hash)})

Steps = Mapping[str, Mapping[str, Any]]


def steps_of(name: str) -> Steps:
    if name == CANCELLING:
        return _CANCELLED_SOURCES
    document, faults = load(DESIGN.joinpath(f"{name}.flow.yaml").read_text())
    assert not faults
    return document.data["steps"]


def chosen_flow(name: str, on_failure: str) -> Plan:
    definition = {
        "flow": "v1",
        "name": name,
        "on_failure": on_failure,
        "inputs": {"chosen": {"type": "object"}},
        "steps": {step: _chosen(step, one) for step, one in steps_of(name).items()},
    }
    return compiled(json.dumps(definition), CATALOGUE)


def _chosen(name: str, step: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: step[key] for key in _KEPT if key in step}
    if "when" in step:
        kept["when"] = f"inputs.chosen.{name} != 'skipped'"
    if "switch" in step:
        kept["switch"] = [
            {"port": port, "when": f"inputs.chosen.{name} == '{port}'"} for port in ports(step)
        ]
    if "approval" in step:
        kept["approval"] = {"assignees": ["ann"], "expires": f"{EXPIRES_MS}ms"}
        if "on_expire" in step["approval"]:
            kept["approval"]["on_expire"] = step["approval"]["on_expire"]
    elif "uses" in step or "group" in step:
        kept["uses"] = "flow/stub@stable" if step.get("mode") == "detach" else f"worker.{name}@1"
    if "foreach" in step:
        kept["foreach"] = {"in": "[1]", "as": "one"}
    if any("output" in entry for entry in step.get("fallback", ())):
        kept["fallback"] = [{"output": {}}]
    return kept


def kinds_of(step: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the step may come to: skipped only where `when` stands, failed only where nothing
    stands in for the failure."""
    found = [("succeeded", port) for port in ports(step) or [""]]
    stands_in = isinstance(step.get("on_error"), dict) or any(
        "output" in entry for entry in step.get("fallback", ())
    )
    if ("uses" in step or "group" in step) and not stands_in and step.get("mode") != "detach":
        found.append(("failed", ""))
    return [*found, ("skipped", "")] if "when" in step else found


def combinations(name: str, limit: int) -> list[Mapping[str, tuple[str, str]]]:
    steps = steps_of(name)
    kinds = [kinds_of(step) for step in steps.values()]
    every: list[Mapping[str, tuple[str, str]]] = [
        dict(zip(steps, combo, strict=True)) for combo in itertools.product(*kinds)
    ]
    return every if len(every) <= limit else random.Random(name).sample(every, limit)


@dataclass(frozen=True, slots=True)
class Chosen:
    """An `Outside` that answers as was chosen."""

    outcomes: Mapping[str, Outcome]

    def reply(self, call: Call) -> Reply | None:
        step = call.step.partition("[")[0]
        if call.action.name == "stub":
            return None
        outcome = self.outcomes[step]
        failed = "demo.broken" if outcome.status == "failed" else ""
        return Reply({}, failed, after_ms=outcome.takes_ms)

    def decision(self, flow: str, step: StepKey) -> Decision | None:
        outcome = self.outcomes[step]
        if outcome.takes_ms == EXPIRES_MS:
            return None
        return Decision(outcome.port, {}, outcome.takes_ms)


def outcomes_of(
    steps: Steps, combo: Mapping[str, tuple[str, str]], order: random.Random
) -> dict[str, Outcome]:
    """Times are powers of two, drawn in some order: no two sums of them are equal."""
    times = [1 << (place + 1) for place in range(len(steps))]
    order.shuffle(times)
    found: dict[str, Outcome] = {}
    for (name, step), drawn_ms in zip(steps.items(), times, strict=True):
        status, port = combo[name]
        calls = "uses" in step or "group" in step or "approval" in step
        takes_ms = drawn_ms if calls and step.get("mode") != "detach" else 0
        if port == "expired":
            port, takes_ms = step["approval"].get("on_expire", "expired"), EXPIRES_MS
        found[name] = Outcome(status, port, takes_ms)
    return found


def run_flow(
    plan: Plan,
    combo: Mapping[str, tuple[str, str]],
    outcomes: Mapping[str, Outcome],
    cancelled_at_ms: int | None = None,
) -> dict[str, tuple[str, str]]:
    chosen = {name: port or status for name, (status, port) in combo.items()}
    engine = Engine(Plans({plan.hash: plan, STUB.hash: STUB}), Chosen(outcomes), 1_800_000_000_000)
    run = engine.start(plan, {"chosen": chosen})
    if cancelled_at_ms is not None:
        cancel = cmd.CancelRun(
            run=run.run_id, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="ann"
        )
        engine.later(cancelled_at_ms, lambda: engine.tell(cancel))
    while run.status not in RUN_TERMINAL and engine.jump():
        pass
    assert run.status in RUN_TERMINAL, run.status
    states = {name: run.steps[StepKey(name)] for name in plan.order}
    return {name: (state.status.text, state.port) for name, state in states.items()}


def orders(*parts: object) -> Iterator[random.Random]:
    """Others for every combination."""
    return (random.Random(f"{parts} {number}") for number in range(ORDERS))


@pytest.mark.parametrize("name", FLOWS)
def test_every_step_ends_as_the_reference_says_in_whatever_order_others_end(name: str) -> None:
    steps, plan = steps_of(name), chosen_flow(name, "drain")
    for place, combo in enumerate(combinations(name, SAMPLE)):
        results: list[dict[str, tuple[str, str]]] = []
        for order in orders(name, place):
            outcomes = outcomes_of(steps, combo, order)
            results.append(run_flow(plan, combo, outcomes))
            assert results[-1] == Reference(steps, outcomes).finals(), combo
        assert results.count(results[0]) == ORDERS, "the order of completion decides"


@pytest.mark.parametrize("name", FLOWS)
def test_a_failure_that_cancels_leaves_what_the_reference_says(name: str) -> None:
    steps, plan = steps_of(name), chosen_flow(name, "cancel")
    for place, combo in enumerate(combinations(name, SAMPLE)):
        for order in orders(name, place):
            outcomes = outcomes_of(steps, combo, order)
            expected = Reference(steps, outcomes, "cancel").finals()
            assert run_flow(plan, combo, outcomes) == expected, combo


@pytest.mark.parametrize("name", FLOWS)
def test_a_run_that_is_cancelled_leaves_what_the_reference_says(name: str) -> None:
    steps, plan = steps_of(name), chosen_flow(name, "drain")
    seen: set[str] = set()
    for number, combo in enumerate(combinations(name, SAMPLE)):
        order = random.Random(f"{name} {number}")
        outcomes = outcomes_of(steps, combo, order)
        # Odd, so that nothing ends at the same time.
        at_ms = order.randrange(1, 1 << (len(steps) + 1), 2)
        expected = Reference(steps, outcomes, cancelled_at_ms=at_ms).finals()
        assert run_flow(plan, combo, outcomes, at_ms) == expected, (combo, at_ms)
        seen |= {status for status, _ in expected.values()}
    assert "cancelled" in seen


def test_every_kind_of_end_occurs_and_the_reference_tells_joins_apart() -> None:
    ends: set[tuple[str, str]] = set()
    for name in FLOWS:
        steps = steps_of(name)
        for combo in combinations(name, SAMPLE):
            outcomes = outcomes_of(steps, combo, random.Random(1))
            ends |= set(Reference(steps, outcomes).finals().values())
    assert {status for status, _ in ends} == {"succeeded", "failed", "skipped"}
    assert {"approved", "rejected", "expired", "hot", "cold"} <= {port for _, port in ends}
