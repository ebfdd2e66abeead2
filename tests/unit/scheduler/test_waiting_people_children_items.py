"""Decisions about time, people, sub-flows, fan-outs and cancels."""

import json
from dataclasses import replace

import pytest

from headrace_core.ids import StepKey
from headrace_core.partition.events import ChildCancel, ChildEnded, ChildStart, MessageSent
from headrace_core.run.events import ItemsRefilled, StepSkipped
from headrace_core.run.status import (
    CancelCause,
    RunStatus,
    SkipReason,
    StepStatus,
    WaitingKind,
)
from headrace_core.workflow.plan import (
    Action,
    Approval,
    Effect,
    Foreach,
    OnExpire,
    StepKind,
    UsesKind,
    Wait,
)
from headrace_core.workflow.template import parse_expression
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason
from headrace_scheduler.domain.effects import PrepareChild, SetTimer
from tests.support.run_harness import RUN, TENANT, Harness, plan_of, step, template

SUBFLOW = Action(UsesKind.FLOW, "score", "flow/score@1", "1" * 64, Effect.NONE)
POST = Action(UsesKind.ACTION, "http.post", "http.post@1", "1", Effect.WRITE)


def fire_last_timer(run: Harness) -> None:
    timer = [one for one in run.effects if isinstance(one, SetTimer)][-1]
    run.now_ms = max(run.now_ms, timer.due_ms)
    run.when(cmd.FireTimer(run=RUN, step=timer.step, kind=timer.kind, due_ms=timer.due_ms))


def cancel(run: Harness) -> None:
    run.when(cmd.CancelRun(run=RUN, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="ann"))


def test_a_wait_ends_at_its_time_and_the_run_waits_meanwhile() -> None:
    run = Harness(plan_of(step("pause", kind=StepKind.WAIT, wait=Wait(for_ms=5_000)))).start()
    assert run.state.status is RunStatus.WAITING
    fire_last_timer(run)
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.refolded() == run.state


def test_a_wait_until_a_time_that_has_passed_is_over_at_once() -> None:
    until = template("${{ inputs.at }}")
    run = Harness(plan_of(step("pause", kind=StepKind.WAIT, wait=Wait(until=until))))
    run.start({"at": "1970-01-01T00:00:01Z"})
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_wait_until_something_that_is_no_time_says_so() -> None:
    until = template("${{ inputs.at }}")
    run = Harness(plan_of(step("pause", kind=StepKind.WAIT, wait=Wait(until=until))))
    run.start({"at": "tomorrow"})
    assert run.state.error is not None
    assert "no RFC 3339 time" in run.opened(run.state.error.message)


def approval(**fields: object) -> Harness:
    ask = Approval(template(["${{ inputs.boss }}"]), expires_ms=60_000, **fields)  # pyright: ignore[reportArgumentType] - fields of the test's choice
    plan = plan_of(
        step("ask", kind=StepKind.APPROVAL, approval=ask),
        step("yes", ["ask.approved"]),
        step("no", ["ask.rejected"]),
    )
    return Harness(plan).start({"boss": "bob"})


def decide(run: Harness, decision: str) -> object:
    answer = run.sealed({"by": "bob"})
    return run.when(
        cmd.DecideApproval(
            run=RUN, tenant=TENANT, step=StepKey("ask"), decision=decision, answer=answer
        )
    )


def test_the_first_decision_of_an_approval_wins() -> None:
    run = approval()
    request = run.opened(run.state.steps[StepKey("ask")].approval)
    assert request["assignees"] == ["bob"]
    assert decide(run, "approved") is None
    assert run.ready() == ["yes"]
    assert run.status("no") is StepStatus.SKIPPED
    second = decide(run, "rejected")
    assert second is not None


def test_an_approval_that_expires_takes_the_port_it_names() -> None:
    run = approval(on_expire=OnExpire.APPROVED)
    fire_last_timer(run)
    assert run.ready() == ["yes"]


def items_flow(**fields: object) -> Harness:
    defaults: dict[str, object] = {"max_parallel": 2}
    foreach = Foreach(parse_expression("inputs.list"), "x", **{**defaults, **fields})  # pyright: ignore[reportArgumentType] - fields of the test's choice
    plan = plan_of(
        step("each", foreach=foreach),
        step("after", ["each"]),
        outputs=template({"n": "${{ steps.each.counts.succeeded }}"}),
    )
    return Harness(plan)


def test_items_open_under_max_parallel_and_outputs_keep_the_input_order() -> None:
    run = items_flow().start({"list": [10, 20, 30]})
    assert run.ready() == ["each[0]", "each[1]"]
    run.succeed("each[1]", "b")
    assert run.ready() == ["each[0]", "each[2]"]
    run.succeed("each[2]", "c")
    run.succeed("each[0]", "a")
    fan_out = run.state.steps[StepKey("each")].fan_out
    assert fan_out is not None
    outputs = [run.opened(one.output) for one in fan_out.outcomes if one is not None]
    assert outputs == ["a", "b", "c"]
    run.succeed("after")
    assert run.opened(run.state.output) == {"n": 3}
    assert run.refolded() == run.state


def test_an_empty_list_succeeds_with_no_items() -> None:
    run = items_flow().start({"list": []})
    assert run.status("each") is StepStatus.SUCCEEDED
    assert run.ready() == ["after"]


def test_filtered_items_do_not_exist() -> None:
    run = items_flow(where=parse_expression("x > 15")).start({"list": [10, 20, 30]})
    fan_out = run.state.steps[StepKey("each")].fan_out
    assert fan_out is not None and fan_out.count == 2
    assert run.opened(fan_out.items) == [["1", 20], ["2", 30]]


def test_two_items_with_one_key_fail_the_step() -> None:
    run = items_flow(key=parse_expression("x % 10")).start({"list": [10, 20]})
    assert run.state.error is not None and run.state.error.type == "input.invalid"


def test_tolerated_failures_only_count_and_one_more_starts_no_new_item() -> None:
    run = items_flow(tolerated_failures=1).start({"list": [1, 2, 3, 4]})
    run.fail("each[0]")
    assert "each[2]" in run.ready()
    run.fail("each[1]")
    assert run.ready() == ["each[2]"]
    run.succeed("each[2]")
    assert run.status("each") is StepStatus.FAILED
    opened = sum(event.count for event in run.events if isinstance(event, ItemsRefilled))
    assert opened == 3, "the fourth item never starts"
    assert run.state.status is RunStatus.FAILED


def test_a_tolerated_share_is_of_all_items_and_one_failure_more_fails_the_step() -> None:
    run = items_flow(tolerated_percent=50.0).start({"list": [1, 2, 3, 4, 5]})
    run.fail("each[0]")
    run.fail("each[1]")
    assert run.ready() == ["each[2]", "each[3]"], "two of five are less than half"
    run.fail("each[2]")
    assert run.ready() == ["each[3]"], "the fifth item never starts"
    run.succeed("each[3]")
    assert run.status("each") is StepStatus.FAILED
    error = run.state.steps[StepKey("each")].error
    assert error is not None
    assert "3 of 5 items failed, tolerated are 2" in run.opened(error.message)


@pytest.mark.parametrize(
    ("failures", "percent", "count", "tolerated"),
    [
        (None, None, 10, 0),
        (None, 5.0, 19, 0),
        (None, 5.0, 20, 1),
        (None, 0.57, 10_000, 57),
        (None, 100.0, 7, 7),
        (3, None, 10, 3),
        (3, 50.0, 4, 2),
        (3, 50.0, 100, 3),
        (0, 50.0, 100, 0),
    ],
)
def test_both_measures_of_tolerated_failures_bound_them_and_a_share_is_exact(
    failures: int | None, percent: float | None, count: int, tolerated: int
) -> None:
    foreach = Foreach(
        parse_expression("inputs.list"),
        "x",
        tolerated_failures=failures,
        tolerated_percent=percent,
    )
    assert foreach.tolerated(count) == tolerated


def test_a_list_that_is_too_long_says_how_long_it_may_be() -> None:
    run = items_flow().start({"list": list(range(501))})
    assert run.state.error is not None
    assert "500" in run.opened(run.state.error.message)


def test_cancel_skips_what_is_pending_and_ends_with_the_last_open_attempt() -> None:
    plan = plan_of(step("a", uses=POST), step("b", ["a"]))
    run = Harness(plan).start()
    done = run.assign("a")
    cancel(run)
    assert run.state.status is RunStatus.RUNNING
    skipped = next(event for event in run.events if isinstance(event, StepSkipped))
    assert skipped.reason is SkipReason.RUN_CANCELLED
    run.when(replace(done, outcome=cmd.Outcome.CANCELLED))
    assert run.status("a") is StepStatus.CANCELLED
    assert run.state.status is RunStatus.CANCELLED


def test_a_second_cancel_is_rejected() -> None:
    run = Harness(plan_of(step("a", uses=POST))).start()
    run.assign("a")
    cancel(run)
    again = run.when(
        cmd.CancelRun(run=RUN, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="eve")
    )
    assert again is not None and again.reason is Reason.INVALID_STATE


def test_cancel_of_a_fan_out_ends_it_with_its_open_items() -> None:
    run = items_flow().start({"list": [1, 2, 3]})
    cancel(run)
    assert run.status("each") is StepStatus.CANCELLED
    assert run.state.status is RunStatus.CANCELLED


def test_the_run_timeout_cancels_and_the_run_fails_with_it() -> None:
    run = Harness(plan_of(step("a"), timeout_ms=60_000)).start()
    fire_last_timer(run)
    assert run.state.status is RunStatus.FAILED
    assert run.state.error is not None and run.state.error.type == "timeout.run"


def child_flow() -> Harness:
    return Harness(plan_of(step("sub", uses=SUBFLOW), step("after", ["sub"]))).start()


def started_child(run: Harness) -> ChildStart:
    prepare = next(one for one in run.effects if isinstance(one, PrepareChild))
    sealed = run.vault.seal(prepare.child, json.dumps({"n": 1}).encode())
    run.when(cmd.StartChild(run=RUN, step=prepare.step, version=3, input=sealed))
    sent = [one.message for one in run.partition_events if isinstance(one, MessageSent)]
    assert isinstance(sent[0], ChildStart)
    return sent[0]


def answer(run: Harness, child: ChildStart, status: RunStatus) -> None:
    output = run.vault.seal(child.run, b'{"score":7}')
    message = ChildEnded(
        parent=child.parent, tenant=TENANT, child=child.run, status=status, output=output
    )
    run.take(message)


def test_a_sub_flow_is_started_by_message_and_its_answer_ends_the_step() -> None:
    run = child_flow()
    child = started_child(run)
    assert run.state.steps[StepKey("sub")].waiting is WaitingKind.CHILD
    answer(run, child, RunStatus.SUCCEEDED)
    assert run.opened(run.state.steps[StepKey("sub")].output) == {"score": 7}
    assert run.ready() == ["after"]


def test_cancel_reaches_the_child_and_waits_for_its_answer() -> None:
    run = child_flow()
    child = started_child(run)
    cancel(run)
    last = [one.message for one in run.partition_events if isinstance(one, MessageSent)][-1]
    assert last == ChildCancel(run=child.run, tenant=TENANT)
    assert run.state.status is RunStatus.WAITING
    answer(run, child, RunStatus.CANCELLED)
    assert run.state.status is RunStatus.CANCELLED


def test_an_answer_that_nobody_waits_for_is_recorded_and_changes_nothing() -> None:
    run = child_flow()
    child = started_child(run)
    answer(run, child, RunStatus.SUCCEEDED)
    events = list(run.events)
    message = ChildEnded(
        parent=child.parent, tenant=TENANT, child=child.run, status=RunStatus.FAILED
    )
    run.take(message)
    assert run.events == events
    assert run.partition.inboxes[0] == 2
