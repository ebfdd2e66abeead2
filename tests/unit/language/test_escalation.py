"""`approval.escalate`: while nobody decides, more people are asked."""

import pytest

from headrace_core.ids import StepKey
from headrace_core.run.events import ApprovalEscalated
from headrace_core.run.freeze import freeze_run, thaw_run
from headrace_core.run.status import RunStatus, StepStatus
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.effects import SetTimer
from headrace_scheduler.domain.recovery import effects_of_run
from tests.support.flow_run import FlowRun, compiled
from tests.unit.core.workflow.catalogue import CATALOGUE

HOUR_MS = 3_600_000
ASK = """\
flow: v1
name: ask
inputs: {manager: {type: string}}
steps:
  ask:
    approval:
      assignees: [ann]
      title: Buy it?
      expires: 9h
      escalate:
        - {after: 4h, to: ["group:directors"], via: [email]}
        - {after: 1h, to: ["${{ inputs.manager }}", ann]}
  buy: {needs: [ask.approved], set: {bought: true}}
"""


@pytest.fixture
def run() -> FlowRun:
    return FlowRun(compiled(ASK, CATALOGUE)).begin({"manager": "bob"})


def asked(run: FlowRun) -> list[str]:
    return run.opened(run.state.steps[StepKey("ask")].approval)["assignees"]


def test_people_are_added_in_turn_and_any_of_them_decides(run: FlowRun) -> None:
    began_ms = run.now_ms
    assert asked(run) == ["ann"]
    run.pass_time()
    assert (run.now_ms, asked(run)) == (began_ms + HOUR_MS, ["ann", "bob"])
    run.pass_time()
    assert run.now_ms == began_ms + 4 * HOUR_MS
    assert asked(run) == ["ann", "bob", "group:directors"]
    request = run.opened(run.state.steps[StepKey("ask")].approval)
    assert (request["added"], request["via"]) == (["group:directors"], ["email"])
    assert request["title"] == "Buy it?", "what is asked stays the same"
    run.decide_approval("ask", "approved")
    assert run.status("buy") is StepStatus.SUCCEEDED


def test_escalations_are_numbered_and_their_fold_is_the_live_state(run: FlowRun) -> None:
    run.pass_time().pass_time()
    numbers = [one.number for one in run.events if isinstance(one, ApprovalEscalated)]
    assert numbers == [1, 2]
    assert freeze_run(run.refolded()) == freeze_run(run.state)
    assert thaw_run(freeze_run(run.state)).steps[StepKey("ask")].escalated == 2


def test_the_approval_expires_after_its_escalations(run: FlowRun) -> None:
    run.pass_time().pass_time().pass_time()
    assert run.state.steps[StepKey("ask")].port == "expired"
    assert run.status("buy") is StepStatus.SKIPPED


def test_nobody_is_added_once_it_is_decided(run: FlowRun) -> None:
    run.decide_approval("ask", "rejected")
    assert run.state.status is RunStatus.SUCCEEDED
    with pytest.raises(AssertionError, match="no timer"):
        run.pass_time()


def test_a_new_owner_sets_the_timer_of_the_next_escalation_alone(run: FlowRun) -> None:
    began_ms = run.now_ms
    run.pass_time()
    due = {
        one.due_ms - began_ms
        for one in effects_of_run(run.state, run.plan)
        if isinstance(one, SetTimer) and one.kind is cmd.TimerKind.APPROVAL_ESCALATION
    }
    assert due == {4 * HOUR_MS}


def test_people_who_cannot_be_told_fail_the_step() -> None:
    definition = ASK.replace("${{ inputs.manager }}", "${{ ['a', 'b'][inputs.manager.size()] }}")
    run = FlowRun(compiled(definition, CATALOGUE)).begin({"manager": "bob"})
    run.pass_time()
    assert run.error_of("ask")[0] == "expr.error"
