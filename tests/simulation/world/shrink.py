"""Cuts a failing scenario down to what it takes to fail in the same way."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from headrace_core.workflow.plan import PlanStep
from tests.simulation.world.campaign import play
from tests.simulation.world.flows import SimFlow
from tests.simulation.world.rules import ALL_RULES, SafetyRules
from tests.simulation.world.scenario import Scenario
from tests.simulation.world.shapes import without_step

PLAYS_MAX = 400
Part = TypeVar("Part")


@dataclass(slots=True)
class Shrunk:
    """The smallest scenario that was found; `failure` is how it fails, `plays` what it took."""

    scenario: Scenario
    failure: str
    plays: int = 1


def failure_of(scenario: Scenario, rules: SafetyRules = ALL_RULES) -> str | None:
    """What is broken when this is played; None if nothing is."""
    try:
        play(scenario, rules)
    except Exception as fault:  # noqa: BLE001 - whatever a campaign raises is its failure
        return f"{type(fault).__name__}: {fault}"
    return None


def kind_of(failure: str) -> str:
    """Which rule it is about: the words without names and numbers, up to the first detail."""
    head = failure.partition("\n")[0]
    words = re.sub(r"run_\w+|\d+", "_", head).split(":")
    return ":".join(words[:2])[:80]


def shrink(scenario: Scenario, rules: SafetyRules = ALL_RULES) -> Shrunk:
    """Leaves out faults, then runs, then steps, again and again until nothing can be spared."""
    failure = failure_of(scenario, rules)
    assert failure is not None, f"seed {scenario.seed} does not fail"
    best = Shrunk(scenario, failure)
    going = True
    while going:
        going = any([_faults(best, rules), _starts(best, rules), _steps(best, rules)])
    return best


def _try(best: Shrunk, smaller: Scenario, rules: SafetyRules) -> bool:
    if best.plays >= PLAYS_MAX:
        return False
    best.plays += 1
    failure = failure_of(smaller, rules)
    if failure is None or kind_of(failure) != kind_of(best.failure):
        return False
    best.scenario, best.failure = smaller, failure
    return True


def _faults(best: Shrunk, rules: SafetyRules) -> bool:
    shorter = False
    for size in (16, 8, 4, 2, 1):
        at = 0
        while at < len(best.scenario.faults):
            rest = _without(best.scenario.faults, at, size)
            if _try(best, replace(best.scenario, faults=rest), rules):
                shorter = True
            else:
                at += size
    return shorter


def _starts(best: Shrunk, rules: SafetyRules) -> bool:
    shorter, at = False, 0
    while at < len(best.scenario.starts) and len(best.scenario.starts) > 1:
        rest = _without(best.scenario.starts, at, 1)
        if _try(best, replace(best.scenario, starts=rest), rules):
            shorter = True
        else:
            at += 1
    return shorter


def _steps(best: Shrunk, rules: SafetyRules) -> bool:
    """Of the flows that are started; those of others do no harm."""
    shorter = False
    for number in {start.flow for start in best.scenario.starts}:
        found = True
        while found:
            found = any(
                _try(best, _with_flow(best.scenario, number, flow), rules)
                for flow in _smaller(best.scenario.flows[number])
            )
            shorter = shorter or found
    return shorter


def _smaller(flow: SimFlow) -> Iterator[SimFlow]:
    for name in reversed(flow.plan.order):
        smaller = without_step(flow, name)
        if smaller is not None:
            yield smaller


def _with_flow(scenario: Scenario, number: int, flow: SimFlow) -> Scenario:
    flows = list(scenario.flows)
    flows[number] = flow
    return replace(scenario, flows=tuple(flows))


def _without(parts: Sequence[Part], at: int, size: int) -> tuple[Part, ...]:
    return (*parts[:at], *parts[at + size :])


def _kind_of_step(step: PlanStep) -> str:
    return step.uses.name if step.uses is not None else step.kind.value


def told(shrunk: Shrunk) -> str:
    """For a person: what is left of the scenario, and what it breaks."""
    scenario = shrunk.scenario
    lines = [f"seed {scenario.seed}, stale appends: {scenario.stale.value}", "faults:"]
    lines += [
        f"  at {fault.at_ms} ms: {fault.kind.value} (number {fault.target}, {fault.for_ms} ms)"
        + (f" at the point {fault.point!r}" if fault.point else "")
        for fault in scenario.faults
    ]
    lines.append("runs:")
    for start in scenario.starts:
        steps = scenario.flows[start.flow].plan.steps.values()
        shape = ", ".join(f"{step.id} ({_kind_of_step(step)})" for step in steps)
        cancel = f", cancelled after {start.cancel_after_ms} ms" if start.cancel_after_ms else ""
        lines.append(f"  at {start.at_ms} ms: {shape}{cancel}")
    return "\n".join([*lines, "breaks:", shrunk.failure])
