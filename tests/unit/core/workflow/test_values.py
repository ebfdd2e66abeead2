"""Names that expressions see: the same everywhere, and no payload opened without need."""

from dataclasses import dataclass, field
from typing import Any

from headrace_core.workflow.plan import Plan
from headrace_core.workflow.references import References, StepReference
from headrace_core.workflow.template import JsonValue, parse_template
from headrace_core.workflow.values import (
    ErrorValue,
    ItemValue,
    RunFacts,
    StepValue,
    build_names,
    time_text,
)
from tests.support.run_harness import plan_of, step

PLAN: Plan = plan_of(step("a"), vars={"limit": 3})
FACTS = RunFacts("run_1", "acme", 1_763_000_000_123, None, "manual")


@dataclass(slots=True)
class Recorded:
    """A source that tells what was asked of it."""

    steps: dict[str, StepValue] = field(default_factory=dict[str, StepValue])
    given: JsonValue = None
    facts: RunFacts = FACTS
    alias: tuple[str, JsonValue] | None = None
    asked: list[object] = field(default_factory=list[object])

    def run(self) -> RunFacts:
        self.asked.append("run")
        return self.facts

    def input(self) -> JsonValue:
        self.asked.append("input")
        return self.given

    def step(self, reference: StepReference) -> StepValue:
        self.asked.append(reference)
        return self.steps[reference.step]

    def items(self, wanted: frozenset[str]) -> dict[str, JsonValue]:
        return {} if self.alias is None else dict([self.alias])


def references(template: Any) -> References:
    return parse_template(template).references


def names(template: Any, source: Recorded) -> dict[str, Any]:
    return dict(build_names(PLAN, references(template), source))


def test_a_constant_needs_nothing() -> None:
    source = Recorded(alias=("row", 1))
    assert names({"a": 1}, source) == {}
    assert source.asked == []


def test_only_what_is_referred_to_is_asked_for() -> None:
    source = Recorded({"a": StepValue("succeeded", {"n": 1})})
    found = names("${{ steps.a.output.n }}", source)
    assert found == {"steps": {"a": {"status": "succeeded", "output": {"n": 1}, "counts": None}}}
    assert source.asked == [StepReference("a", output=True)]


def test_status_alone_opens_no_payload() -> None:
    source = Recorded({"a": StepValue("skipped")})
    assert names("${{ steps.a.status }}", source)["steps"]["a"]["status"] == "skipped"
    assert source.asked == [StepReference("a")]


def test_an_error_is_its_type_and_message() -> None:
    source = Recorded({"a": StepValue("failed", error=ErrorValue("http.500", "it broke"))})
    found = names("${{ steps.a.error.message }}", source)
    assert found["steps"]["a"]["error"] == {"type": "http.500", "message": "it broke"}
    source.steps["a"] = StepValue("succeeded")
    assert names("${{ steps.a.error }}", source)["steps"]["a"]["error"] is None


def test_items_come_in_order_with_counts_by_outcome() -> None:
    items = [
        ItemValue("succeeded", 1),
        ItemValue("failed", None, ErrorValue("network")),
        ItemValue("cancelled"),
        ItemValue("pending"),
    ]
    found = names("${{ steps.a.items }}", Recorded({"a": StepValue("running", items=items)}))
    assert [item["status"] for item in found["steps"]["a"]["items"]] == [
        "succeeded",
        "failed",
        "cancelled",
        "pending",
    ]
    assert found["steps"]["a"]["items"][1]["error"] == {"type": "network", "message": ""}
    assert found["steps"]["a"]["counts"] == {
        "total": 4,
        "succeeded": 1,
        "failed": 1,
        "cancelled": 1,
    }


def test_a_step_that_is_no_fan_out_has_neither_items_nor_counts() -> None:
    found = names("${{ steps.a.items }}", Recorded({"a": StepValue("succeeded")}))
    assert (found["steps"]["a"]["items"], found["steps"]["a"]["counts"]) == (None, None)


def test_inputs_are_an_object_also_where_none_were_given() -> None:
    assert names("${{ inputs.a }}", Recorded()) == {"inputs": {}}
    assert names("${{ inputs.a }}", Recorded(given={"a": 1})) == {"inputs": {"a": 1}}


def test_run_trigger_and_variables_are_known_without_a_payload() -> None:
    source = Recorded(facts=RunFacts("run_1", "acme", 0, 1_763_000_000_000, "nightly"))
    found = names("${{ run.id }} ${{ trigger.id }} ${{ vars.limit }}", source)
    assert found["run"] == {
        "id": "run_1",
        "tenant": "acme",
        "started_at": "1970-01-01T00:00:00.000Z",
        "scheduled_at": "2025-11-13T02:13:20.000Z",
    }
    assert (found["trigger"], found["vars"]) == ({"id": "nightly"}, {"limit": 3})


def test_an_item_is_known_under_its_alias_where_it_is_used() -> None:
    source = Recorded(alias=("row", {"n": 1}))
    assert names("${{ row.n }}", source) == {"row": {"n": 1}}
    assert names("${{ inputs.row }}", source) == {"inputs": {}}


def test_times_have_milliseconds_and_name_utc() -> None:
    assert time_text(1_763_000_000_007) == "2025-11-13T02:13:20.007Z"
