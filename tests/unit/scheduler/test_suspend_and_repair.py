"""`on_failure: suspend`, and the same run going on after a repair."""

import pytest

from headrace_core.ids import StepKey
from headrace_core.payload import NOTHING
from headrace_core.run.events import StepError, StepRepaired, StepSkipped
from headrace_core.run.freeze import freeze_run, state_hash, thaw_run
from headrace_core.run.status import CancelCause, Repair, RunStatus, SkipReason, StepStatus
from headrace_core.workflow.plan import (
    Action,
    Effect,
    OnError,
    OnFailure,
    StepKind,
    UsesKind,
)
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason, Rejection
from tests.support.flow_run import compiled
from tests.support.run_harness import TENANT, Harness, plan_of, step, template

HTTP = Action(UsesKind.ACTION, "http.get", "http.get@1", "1", Effect.READ)


def edit(
    name: str, repair: Repair, value: object = None, run: Harness | None = None
) -> cmd.StepEdit:
    sealed = run.sealed(value) if run is not None else NOTHING
    return cmd.StepEdit(step=StepKey(name), repair=repair, value=sealed)


def resume(run: Harness, *edits: cmd.StepEdit) -> Rejection | None:
    return run.when(
        cmd.ResumeRun(run=run.state.run_id, tenant=TENANT, resumed_by="ann", edits=edits)
    )


def chain(on_failure: OnFailure = OnFailure.SUSPEND) -> Harness:
    """a -> b -> c, of which b is about to be tried."""
    plan = plan_of(step("a"), step("b", ["a"], uses=HTTP), step("c", ["b"]), on_failure=on_failure)
    run = Harness(plan).start()
    run.succeed("a")
    return run


def suspended() -> Harness:
    run = chain()
    run.fail("b", "http.400")
    assert run.state.status is RunStatus.SUSPENDED
    return run


def test_a_failed_step_suspends_the_run_and_nothing_further_is_decided() -> None:
    run = suspended()
    assert run.kinds()[-2:] == ["StepFailed", "RunSuspended"]
    assert run.status("c") is StepStatus.PENDING
    assert run.state.error is not None and run.state.error.type == "http.400"
    assert run.state.failed_step == "b"


def test_the_same_run_goes_on_when_the_failed_step_is_tried_again() -> None:
    run = suspended()
    assert resume(run) is None
    assert run.ready() == ["b"]
    run.succeed("b", {"status": 200})
    assert run.state.steps[StepKey("b")].attempt == 2, "attempts count on"
    run.succeed("c")
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.state.error is None and run.state.first_failed is None
    assert state_hash(run.refolded()) == state_hash(run.state)


def test_a_step_that_fails_again_suspends_again() -> None:
    run = suspended()
    resume(run)
    run.fail("b", "http.400")
    assert run.state.status is RunStatus.SUSPENDED
    assert resume(run) is None
    run.succeed("b")
    run.succeed("c")
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_skipped_step_says_that_an_operator_did_it() -> None:
    run = suspended()
    assert resume(run, edit("b", Repair.SKIP)) is None
    skipped = [one for one in run.events if isinstance(one, StepSkipped)]
    assert [(one.step, one.reason) for one in skipped] == [
        ("b", SkipReason.BY_OPERATOR),
        ("c", SkipReason.UPSTREAM_SKIPPED),
    ]
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_given_output_is_what_the_dependents_see() -> None:
    run = suspended()
    output: dict[str, object] = {"status": 200, "headers": {}, "body": "by hand"}
    assert resume(run, edit("b", Repair.OUTPUT, output, run)) is None
    assert run.opened(run.state.steps[StepKey("b")].output) == output
    assert run.ready() == ["c"]


def test_an_output_that_breaks_its_schema_is_refused_and_nothing_is_changed() -> None:
    run = suspended()
    before = freeze_run(run.state)
    refused = resume(run, edit("b", Repair.OUTPUT, {"status": "fine"}, run))
    assert refused is not None and refused.reason is Reason.INVALID_INPUT
    assert "breaks its schema" in refused.message
    assert freeze_run(run.state) == before


def test_an_edited_input_is_kept_with_the_step_and_its_author_is_logged() -> None:
    run = suspended()
    assert resume(run, edit("b", Repair.INPUT, {"url": "https://b"}, run)) is None
    repaired = [one for one in run.events if isinstance(one, StepRepaired)]
    assert [(one.step, one.repair, one.repaired_by) for one in repaired] == [
        ("b", Repair.INPUT, "ann")
    ]
    assert run.opened(run.state.steps[StepKey("b")].input) == {"url": "https://b"}


def test_an_input_that_breaks_its_schema_is_refused() -> None:
    run = suspended()
    refused = resume(run, edit("b", Repair.INPUT, {"url": 7}, run))
    assert refused is not None and refused.reason is Reason.INVALID_INPUT


def test_a_run_that_is_not_suspended_is_not_repaired() -> None:
    run = chain()
    refused = resume(run)
    assert refused is not None and refused.reason is Reason.INVALID_STATE
    assert "not suspended" in refused.message


def test_an_edit_of_what_has_succeeded_or_is_unknown_is_refused_with_all_others() -> None:
    run = suspended()
    before = freeze_run(run.state)
    for edits in (
        (edit("b", Repair.SKIP), edit("a", Repair.SKIP)),
        (edit("b", Repair.SKIP), edit("z", Repair.SKIP)),
        (edit("b", Repair.SKIP), edit("b", Repair.RETRY)),
        (edit("c", Repair.RETRY),),
    ):
        assert resume(run, *edits) is not None
    assert freeze_run(run.state) == before


def test_an_open_attempt_ends_while_the_run_is_suspended_and_counts_when_it_goes_on() -> None:
    plan = plan_of(step("a"), step("b"), step("c", ["b"]), on_failure=OnFailure.SUSPEND)
    run = Harness(plan).start()
    run.fail("a", "http.400")
    run.succeed("b")
    assert run.status("c") is StepStatus.PENDING
    assert resume(run) is None
    assert sorted(run.ready()) == ["a", "c"]


def test_all_that_failed_meanwhile_is_tried_again() -> None:
    plan = plan_of(step("a"), step("b"), on_failure=OnFailure.SUSPEND)
    run = Harness(plan).start()
    run.fail("a", "http.400")
    run.fail("b", "http.400")
    assert run.kinds().count("RunSuspended") == 1
    assert resume(run) is None
    assert sorted(run.ready()) == ["a", "b"]
    run.succeed("a")
    run.succeed("b")
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_handled_failure_does_not_suspend() -> None:
    plan = plan_of(
        step("a", on_error=OnError.CATCH),
        step("b", ["a.error"]),
        on_failure=OnFailure.SUSPEND,
    )
    run = Harness(plan).start()
    run.fail("a", "http.400")
    assert run.ready() == ["b"]


def test_a_parked_run_goes_on_with_a_repair() -> None:
    run = chain(OnFailure.DRAIN)
    incident = StepError(type="engine.fault", message=run.sealed("a bug"))
    run.when(cmd.ParkRun(run=run.state.run_id, incident=incident))
    assert run.state.status is RunStatus.SUSPENDED
    assert resume(run, edit("b", Repair.SKIP)) is None
    assert run.state.status is RunStatus.SUCCEEDED


def test_an_inline_step_is_evaluated_anew() -> None:
    plan = plan_of(
        step("a"),
        step("b", ["a"], kind=StepKind.SET, set=template({"x": "${{ steps.a.output.x }}"})),
        on_failure=OnFailure.SUSPEND,
    )
    run = Harness(plan).start()
    run.succeed("a", {"y": 1})
    assert run.state.status is RunStatus.SUSPENDED
    assert resume(run) is None
    assert run.state.status is RunStatus.SUSPENDED, "what it refers to is as before"
    assert resume(run, edit("b", Repair.OUTPUT, {"x": 1}, run)) is None
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_suspended_run_can_be_cancelled() -> None:
    run = suspended()
    cancel = cmd.CancelRun(
        run=run.state.run_id, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="ann"
    )
    assert run.when(cancel) is None
    assert run.state.status is RunStatus.CANCELLED


EACH = """
flow: v1
name: each
on_failure: suspend
steps:
  bad: {uses: http.get@1, with: {url: "https://example.com"}, retry: {max_attempts: 1}}
  whole:
    foreach: {in: "[1, 2]", as: one, max_parallel: 1}
    uses: http.get@1
    with: {url: "https://example.com"}
"""
GROUPED = """
flow: v1
name: grouped
on_failure: suspend
steps:
  bad: {uses: http.get@1, with: {url: "https://example.com"}, retry: {max_attempts: 1}}
  whole:
    group:
      part: {uses: http.get@1, with: {url: "https://example.com"}}
      after: {needs: [part], uses: http.get@1, with: {url: "https://example.com"}}
"""
REPEATED = """
flow: v1
name: repeated
on_failure: suspend
steps:
  bad: {uses: http.get@1, with: {url: "https://example.com"}, retry: {max_attempts: 1}}
  whole:
    uses: http.get@1
    with: {url: "https://example.com"}
    repeat: {until: "false", max: 3}
"""


@pytest.mark.parametrize(
    ("definition", "part"), [(EACH, "whole[0]"), (GROUPED, "whole/part"), (REPEATED, "whole#1")]
)
def test_a_step_whose_only_open_part_ended_while_the_run_was_suspended_ends_by_a_cancel(
    definition: str, part: str
) -> None:
    run = Harness(compiled(definition)).start()
    done = run.assign(part)
    run.fail("bad", "http.400")
    assert run.when(done) is None
    assert run.state.status is RunStatus.SUSPENDED
    cancel = cmd.CancelRun(
        run=run.state.run_id, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="ann"
    )
    assert run.when(cancel) is None
    assert run.state.status is RunStatus.CANCELLED
    assert state_hash(run.refolded()) == state_hash(run.state)


def test_a_repaired_step_that_waits_for_its_turn_survives_a_snapshot() -> None:
    plan = plan_of(step("a"), step("b", ["a"]), step("c"), on_failure=OnFailure.SUSPEND)
    run = Harness(plan).start()
    run.fail("c", "http.400")
    assert resume(run, edit("b", Repair.INPUT, {"value": 2}, run)) is None
    thawed = thaw_run(freeze_run(run.state))
    assert thawed.repaired[StepKey("b")].input
    run.succeed("a")
    assert run.opened(run.state.steps[StepKey("b")].input) == {"value": 2}
