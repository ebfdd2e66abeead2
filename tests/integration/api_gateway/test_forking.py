"""Forks: checked and sealed by the gateway, taken by the scheduler, or only previewed."""

import orjson
import pytest

from headrace_core.ids import PlanHash, RunId, StepKey, TenantId
from headrace_core.payload import NOTHING
from headrace_core.run.events import StepError
from headrace_core.run.state import RunState, StepState
from headrace_core.run.status import RunStatus, StepStatus
from tests.integration.api_gateway.conftest import Gateway

pytestmark = pytest.mark.postgres

RUN = RunId("run_0g0jq8a1b2c3d4e5f6g7h8")
FETCH = """\
flow: v1
name: fetch
inputs:
  id: {type: string}
steps:
  got: {uses: http.get@1, with: {url: "https://example.com/${{ inputs.id }}"}}
  told: {needs: [got], uses: http.post@1, with: {url: "https://example.com", body: 1}}
"""
ANSWER = {"status": 200, "headers": {}, "body": {"price": 1}}


async def failed_run(gateway: Gateway, plan: str, *, ended: bool = True) -> RunState:
    """`got` has failed, or was running, and nothing else has begun."""
    state = RunState(RUN, TenantId("acme"), status=RunStatus.FAILED, sequence=9)
    state.flow, state.version, state.plan = "fetch", 1, PlanHash(plan)
    status = StepStatus.FAILED if ended else StepStatus.RUNNING
    state.steps[StepKey("got")] = StepState(
        StepKey("got"), status, attempt=3, error=StepError(type="http.500", message=NOTHING)
    )
    gateway.history.add(RUN, "acme").state = state
    return state


async def test_a_preview_starts_nothing_and_names_what_shows_outside(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await failed_run(gateway, (await gateway.publish(client, FETCH))["hash"])
    answer = await client.post(f"/v1/runs/{RUN}/fork?preview=true")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["forked_from"] == {"run": RUN, "sequence": 9}
    assert (document["again"], document["first"]) == (["got"], ["told"])
    assert [(one["step"], one["repeats"]) for one in document["effects"]] == [("told", False)]
    assert gateway.scheduler.commands == []


async def test_a_fork_carries_its_edits_sealed_for_the_new_run(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await failed_run(gateway, (await gateway.publish(client, FETCH))["hash"])
    body = {"input": {"id": "7"}, "outputs": {"got": ANSWER}, "reason": "the far side was down"}
    answer = await client.post(f"/v1/runs/{RUN}/fork", json=body)
    assert answer.status_code == 202, answer.text
    [command] = gateway.scheduler.commands
    run, fork = command.fork_run.run, command.fork_run.fork
    assert answer.json()["id"] == run != RUN
    [step] = fork.steps
    assert (fork.source, fork.source_sequence, step.step, step.edited) == (RUN, 9, "got", True)
    assert orjson.loads(await gateway.open_payload("acme", run, step.output)) == ANSWER
    assert orjson.loads(await gateway.open_payload("acme", run, fork.input)) == {"id": "7"}
    reason = await gateway.open_payload("acme", run, fork.reason)
    assert orjson.loads(reason) == "the far side was down"


async def test_an_output_that_breaks_the_schema_of_its_action_is_refused(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await failed_run(gateway, (await gateway.publish(client, FETCH))["hash"])
    body = {"input": {"id": "7"}, "outputs": {"got": {"status": "fine"}}}
    problem = (await client.post(f"/v1/runs/{RUN}/fork", json=body)).json()
    assert (problem["status"], problem["code"]) == (422, "HR-2005")
    assert any(fault.startswith("outputs.got") for fault in problem["faults"])
    assert gateway.scheduler.commands == []


async def test_an_input_that_does_not_fit_is_refused(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await failed_run(gateway, (await gateway.publish(client, FETCH))["hash"])
    problem = (await client.post(f"/v1/runs/{RUN}/fork", json={"input": {"id": 7}})).json()
    assert problem["status"] == 422 and "input.id" in problem["faults"][0]


async def test_a_viewer_may_not_fork_and_another_tenant_sees_no_run(gateway: Gateway) -> None:
    await failed_run(gateway, "0" * 64)
    viewer = await gateway.tenant(role="viewer")
    assert (await viewer.post(f"/v1/runs/{RUN}/fork")).status_code == 403
    other = await gateway.tenant("other")
    assert (await other.post(f"/v1/runs/{RUN}/fork")).status_code == 404
