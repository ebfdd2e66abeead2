"""Exhaustive checks of the protocols, each with controls that break one rule and must be caught."""

from dataclasses import fields
from typing import Any

import pytest

from tests.simulation.models import delivery, dispatch, log_fencing, snapshots
from tests.simulation.models.dispatch_variants import (
    DISPATCH_RULES,
    EFFECT_ROW_CONTROLS,
    TASK_AND_RESULT_CONTROLS,
)
from tests.simulation.models.explore import explore
from tests.simulation.models.log_variants import (
    DELIVERY_CONTROLS,
    DELIVERY_RULES,
    LOG_CONTROLS,
    LOG_RULES,
    SNAPSHOT_CONTROLS,
    SNAPSHOT_RULES,
)
from tests.simulation.models.variant import Control, Rule

# A guard against a model that grows without end, far above what the largest takes when alone.
pytestmark = pytest.mark.timeout(300)

RULES = [*LOG_RULES, *DISPATCH_RULES, *DELIVERY_RULES, *SNAPSHOT_RULES]
CONTROLS = [
    *LOG_CONTROLS,
    *EFFECT_ROW_CONTROLS,
    *TASK_AND_RESULT_CONTROLS,
    *DELIVERY_CONTROLS,
    *SNAPSHOT_CONTROLS,
]


@pytest.mark.parametrize(
    "rule", [pytest.param(rule, id=rule.name, marks=rule.marks) for rule in RULES]
)
def test_the_protocol_holds_in_every_reachable_state(rule: Rule) -> None:
    found = explore(rule.model)
    assert found.violation is None, str(found)
    assert found.states == rule.states
    assert set(rule.sometimes) <= found.labels


@pytest.mark.parametrize(
    "control", [pytest.param(control, id=control.name, marks=control.marks) for control in CONTROLS]
)
def test_a_protocol_without_one_of_its_rules_is_caught(control: Control) -> None:
    found = explore(control.model)
    assert found.kind == control.breaks, str(found)
    assert found.states == control.states
    assert control.expanded in (None, found.expanded)


@pytest.mark.parametrize(
    ("rules", "bounds"),
    [
        (log_fencing.Rules(), {"log_max", "claims_max"}),
        (
            dispatch.Rules(operation="keyed"),
            {"operation", "claims", "max_attempts", "crashes", "may_cancel", "tasks_repeat"},
        ),
        (delivery.Rules(), {"claims"}),
        (snapshots.Rules(), {"log_max", "claims"}),
    ],
    ids=["log", "dispatch", "messages", "snapshots"],
)
def test_every_rule_is_missing_in_some_variant(rules: Any, bounds: set[str]) -> None:
    models: list[Any] = [variant.model for variant in (*RULES, *CONTROLS)]
    changed = {
        field.name
        for field in fields(rules)
        for model in models
        if type(model.rules) is type(rules) and getattr(model.rules, field.name) != field.default
    }
    assert {field.name for field in fields(rules)} - bounds <= changed
