"""Decisions about edges: what runs, what is skipped, and why."""

from headrace_core.run.events import StepSkipped
from headrace_core.run.status import RunStatus, SkipReason, StepStatus
from headrace_core.workflow.joins import Join, JoinKind
from headrace_core.workflow.plan import Case, OnError, StepKind
from headrace_core.workflow.template import parse_expression
from headrace_scheduler.domain.commands import ContinueRun
from headrace_scheduler.domain.effects import FetchPayload
from tests.support.run_harness import Harness, plan_of, step, template

SUCCEEDED, SKIPPED, FAILED = StepStatus.SUCCEEDED, StepStatus.SKIPPED, StepStatus.FAILED


def test_a_chain_runs_in_order_and_its_fold_is_the_live_state() -> None:
    run = Harness(plan_of(step("a"), step("b", ["a"]), step("c", ["b"]))).start()
    assert run.ready() == ["a"]
    run.succeed("a", {"x": 1})
    run.succeed("b")
    run.succeed("c")
    assert run.kinds() == [
        "RunStarted",
        *("StepReady", "StepAssigned", "StepSucceeded") * 3,
        "RunSucceeded",
    ]
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.refolded() == run.state


def test_a_switch_takes_the_first_case_that_holds_and_the_other_branch_is_not_taken() -> None:
    cases = (
        Case("hot", parse_expression("inputs.score >= 80")),
        Case("warm", parse_expression("inputs.score >= 40")),
        Case("cold"),
    )
    plan = plan_of(
        step("route", kind=StepKind.SWITCH, switch=cases),
        step("hot", ["route.hot"]),
        step("warm", ["route.warm"]),
        step("after", ["hot", "warm"], join=Join(JoinKind.ANY)),
    )
    run = Harness(plan).start({"score": 50})
    assert run.status("route") is SUCCEEDED
    assert run.status("hot") is SKIPPED
    assert run.ready() == ["warm"]
    run.succeed("warm")
    assert run.ready() == ["after"]
    run.succeed("after")
    assert run.state.status is RunStatus.SUCCEEDED
    skipped = next(event for event in run.events if isinstance(event, StepSkipped))
    assert skipped.reason is SkipReason.BRANCH_NOT_TAKEN


def test_a_condition_that_does_not_hold_skips_the_step_and_what_depends_on_it() -> None:
    plan = plan_of(
        step("a", when=parse_expression("inputs.go")),
        step("b", ["a"]),
        step("c", ["b"], join=Join(JoinKind.ALWAYS)),
    )
    run = Harness(plan).start({"go": False})
    reasons = [event.reason for event in run.events if isinstance(event, StepSkipped)]
    assert reasons == [SkipReason.CONDITION, SkipReason.UPSTREAM_SKIPPED]
    assert run.ready() == ["c"]


def test_a_condition_with_an_error_fails_the_step_and_the_run() -> None:
    plan = plan_of(step("a", when=parse_expression("inputs.missing > 3")))
    run = Harness(plan).start({})
    assert run.status("a") is FAILED
    assert run.state.status is RunStatus.FAILED
    assert run.state.error is not None and run.state.error.type == "expr.error"


def test_an_error_edge_routes_and_the_failure_still_counts() -> None:
    plan = plan_of(step("a"), step("b", ["a"]), step("rescue", ["a.error"]))
    run = Harness(plan).start()
    run.fail("a")
    assert run.status("b") is SKIPPED
    assert run.ready() == ["rescue"]
    run.succeed("rescue")
    assert run.state.status is RunStatus.FAILED
    assert run.state.failed_step == "a"


def test_a_caught_failure_goes_to_the_error_edge_and_does_not_fail_the_run() -> None:
    plan = plan_of(step("a", on_error=OnError.CATCH), step("b", ["a"]), step("rescue", ["a.error"]))
    run = Harness(plan).start()
    run.fail("a")
    assert run.status("b") is SKIPPED
    run.succeed("rescue")
    assert run.state.status is RunStatus.SUCCEEDED


def test_at_least_two_of_three_runs_once_and_only_once() -> None:
    plan = plan_of(
        step("a"),
        step("b"),
        step("c"),
        step("quorum", ["a", "b", "c"], join=Join(JoinKind.AT_LEAST, 2)),
    )
    run = Harness(plan).start()
    run.succeed("a")
    assert run.status("quorum") is StepStatus.PENDING
    run.succeed("b")
    assert run.status("quorum") is StepStatus.READY
    run.succeed("c")
    run.succeed("quorum")
    assert run.kinds().count("RunSucceeded") == 1


def test_set_keeps_types_and_later_steps_of_the_same_turn_see_it() -> None:
    plan = plan_of(
        step("facts", kind=StepKind.SET, set=template({"n": "${{ inputs.n + 1 }}"})),
        step("big", ["facts"], when=parse_expression("steps.facts.output.n > 4")),
        outputs=template({"n": "${{ steps.facts.output.n }}"}),
    )
    run = Harness(plan).start({"n": 4})
    assert run.ready() == ["big"]
    run.succeed("big")
    assert run.opened(run.state.output) == {"n": 5}


def test_outputs_that_cannot_be_evaluated_fail_the_run() -> None:
    plan = plan_of(step("a"), outputs=template({"x": "${{ steps.a.output.nothing }}"}))
    run = Harness(plan).start()
    run.succeed("a", {"some": 1})
    assert run.state.status is RunStatus.FAILED
    assert run.state.error is not None and run.state.error.type == "expr.error"


def test_a_switch_without_a_case_that_holds_leaves_every_port_dead() -> None:
    cases = (Case("high", parse_expression("inputs.n > 10")),)
    plan = plan_of(step("route", kind=StepKind.SWITCH, switch=cases), step("high", ["route.high"]))
    run = Harness(plan).start({"n": 1})
    assert run.status("route") is SUCCEEDED
    assert run.status("high") is SKIPPED
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_condition_on_a_payload_that_is_not_at_hand_waits_for_it() -> None:
    plan = plan_of(
        step("a"), step("b", ["a"], when=parse_expression("size(steps.a.output.text) > 10"))
    )
    run = Harness(plan).start()
    run.succeed("a", {"text": "x" * 70_000})
    assert run.status("b") is StepStatus.PENDING
    assert run.state.status is RunStatus.RUNNING

    fetch = next(one for one in run.effects if isinstance(one, FetchPayload))
    run.vault.fetch(fetch.stored)
    run.when(ContinueRun(run=run.state.run_id))
    assert run.ready() == ["b"]
