"""A suspended run as its operator repairs it, with the executor's own evaluation of `with`."""

from typing import Any

from headrace_core.ids import StepKey
from headrace_core.run.status import Repair, RunStatus
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Rejection
from tests.support.flow_run import Called, Fails, FlowRun, compiled
from tests.support.run_harness import TENANT
from tests.unit.core.workflow.catalogue import CATALOGUE

PAY = """\
flow: v1
name: pay
on_failure: suspend
inputs: {amount: {type: integer}}
outputs: {paid: "${{ steps.pay.output.body.amount }}"}
steps:
  pay:
    uses: http.post@1
    with:
      url: https://pay.example/charges
      body: {amount: "${{ inputs.amount }}"}
      headers: {authorization: "Bearer ${{ secrets.PAY }}"}
"""


def refuses_above_100(called: Called) -> Any:
    if called.arguments["body"]["amount"] > 100:
        return Fails("http.422", "too much")
    return {"status": 200, "headers": {}, "body": called.arguments["body"]}


def edit(run: FlowRun, step: str, repair: Repair, value: Any) -> Rejection | None:
    one = cmd.StepEdit(step=StepKey(step), repair=repair, value=run.sealed(value))
    command = cmd.ResumeRun(run=run.state.run_id, tenant=TENANT, resumed_by="ann", edits=(one,))
    rejection = run.when(command)
    run.go_on()
    return rejection


def paying() -> FlowRun:
    plan = compiled(PAY, CATALOGUE)
    outside = {"http.post": refuses_above_100}
    return FlowRun(plan, outside=outside, secrets={"PAY": "s3cret"}).begin({"amount": 900})


def test_an_edited_member_of_with_is_sent_and_the_others_stay() -> None:
    run = paying()
    assert run.state.status is RunStatus.SUSPENDED
    assert edit(run, "pay", Repair.INPUT, {"body": {"amount": 90}}) is None
    assert run.output == {"paid": 90}
    first, second = run.calls
    assert second.arguments["headers"] == {"authorization": "Bearer s3cret"}
    assert second.key == first.key, "the same effect, tried again"


def test_an_expression_that_fails_is_not_asked_where_its_member_is_given() -> None:
    definition = """\
flow: v1
name: look
on_failure: suspend
inputs: {order: {type: object}}
outputs: {seen: "${{ steps.see.output }}"}
steps:
  see:
    uses: data.echo@1
    with: {value: "${{ inputs.order.number }}"}
"""
    run = FlowRun(compiled(definition)).begin({"order": {}})
    assert run.why()[0] == "expr.error"
    assert edit(run, "see", Repair.INPUT, {"value": 7}) is None
    assert run.output == {"seen": 7}


CHILD = """\
flow: v1
name: child
inputs: {n: {type: integer, maximum: 5}}
outputs: {n: "${{ inputs.n }}"}
steps:
  a: {set: {}}
"""
PARENT = """\
flow: v1
name: parent
on_failure: suspend
inputs: {n: {type: integer}}
outputs: {n: "${{ steps.call.output.n }}"}
steps:
  call: {uses: flow/child@stable, with: {n: "${{ inputs.n }}"}}
"""


def parent() -> tuple[Plan, Plan]:
    child = compiled(CHILD)
    flows = {("child", "stable"): FlowDescriptor("child", 1, child.hash, child.inputs)}
    return compiled(PARENT, Catalogue(flows=flows)), child


def test_a_sub_flow_is_called_with_the_edited_input_as_another_run() -> None:
    plan, child = parent()
    run = FlowRun(plan, called={child.hash: child}).begin({"n": 9})
    assert run.state.status is RunStatus.SUSPENDED
    assert edit(run, "call", Repair.INPUT, {"n": 4}) is None
    assert run.output == {"n": 4}


GROUPED = """\
flow: v1
name: grouped
on_failure: suspend
steps:
  both:
    group:
      bad: {fail: {message: sold out}}
      good: {set: {x: 1}}
  after: {needs: [both], join: always, set: {done: true}}
"""


def test_a_failed_group_suspends_the_run_and_is_skipped_as_a_whole() -> None:
    run = FlowRun(compiled(GROUPED)).begin()
    assert (run.state.status, run.state.failed_step) == (RunStatus.SUSPENDED, "both")
    refused = edit(run, "both", Repair.RETRY, None)
    assert refused is not None
    assert "has parts of its own" in refused.message
    assert edit(run, "both/bad", Repair.SKIP, None) is not None
    assert edit(run, "both", Repair.SKIP, None) is None
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.statuses() == {"both": "skipped", "after": "succeeded"}


EXTRACTING = """\
flow: v1
name: extracting
on_failure: suspend
outputs: {total: "${{ steps.read.output.total }}"}
steps:
  read:
    uses: ai.extract@1
    with:
      prompt: {user: What is the total of this invoice?}
      schema: {type: object, required: [total], properties: {total: {type: number}}}
"""


def test_an_output_given_for_a_model_fits_the_schema_that_the_model_was_asked_for() -> None:
    run = FlowRun(
        compiled(EXTRACTING, CATALOGUE), outside={"ai.extract": lambda _: Fails("ai.refusal")}
    ).begin()
    refused = edit(run, "read", Repair.OUTPUT, {"total": "much"})
    assert refused is not None
    assert "breaks its schema" in refused.message
    assert edit(run, "read", Repair.OUTPUT, {"total": 12}) is None
    assert run.output == {"total": 12}
