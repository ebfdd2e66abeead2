"""Runs: what history says is passed on; cancels and approvals go to the scheduler."""

import asyncio
import re
from functools import partial
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace_core.errors import HeadraceError, InvalidInput, InvalidState, NotFound
from headrace_core.run.status import Repair
from tests.integration.api_gateway.conftest import Gateway, lease_all
from tests.integration.api_gateway.peers import ScriptedScheduler, accepted, already, rejected

pytestmark = pytest.mark.postgres

RUN = "run_0g0jq8a1b2c3d4e5f6g7h8"
PURCHASE = """\
flow: v1
name: purchase
steps:
  manager:
    approval:
      assignees: [boss]
      form:
        type: object
        required: [amount]
        properties: {amount: {type: number, maximum: 500}}
  rounds:
    foreach: {in: "[1, 2]", as: round}
    group: {ask: {approval: {assignees: [boss]}}}
"""


async def test_a_run_is_shown_as_history_shows_it(gateway: Gateway) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme", output={"text": "hello"})
    assert (await client.get(f"/v1/runs/{RUN}")).json()["output"] == {"text": "hello"}


@pytest.mark.parametrize("run", [RUN, "nonsense", "run_", "run_0g0jq8a1b2c3d4e5f6g7hU"])
async def test_a_run_that_is_not_known_is_not_found(gateway: Gateway, run: str) -> None:
    client = await gateway.tenant()
    answer = await client.get(f"/v1/runs/{run}")
    assert (answer.status_code, answer.json()["code"]) == (404, "HR-2003")


async def test_filters_of_a_list_reach_history_in_its_units(gateway: Gateway) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme")
    page = await client.get(
        "/v1/runs",
        params={
            "workflow": "greet",
            "status": "failed",
            "started_after": "2026-11-25T12:00:00Z",
            "limit": 5,
        },
    )
    assert page.json() == {
        "runs": [{"id": RUN, "status": "running", "steps": {}}],
        "next_cursor": "next",
    }
    asked = gateway.history.asked[-1]
    assert (asked.flow, asked.status, asked.limit) == ("greet", "failed", 5)
    assert asked.started_after_ms == 1_795_608_000_000


@pytest.mark.parametrize("query", ["limit=0", "limit=many", "started_after=yesterday"])
async def test_a_parameter_that_cannot_be_read_is_named(gateway: Gateway, query: str) -> None:
    client = await gateway.tenant()
    problem = (await client.get(f"/v1/runs?{query}")).json()
    assert (problem["status"], problem["code"]) == (422, "HR-2005")
    assert query.partition("=")[0] in problem["faults"][0]


async def test_events_come_in_pages(gateway: Gateway) -> None:
    client = await gateway.tenant()
    run = gateway.history.add(RUN, "acme")
    for _ in range(4):
        run.add("StepSucceeded")
    page = (await client.get(f"/v1/runs/{RUN}/events?after=1&limit=2")).json()
    assert [event["sequence"] for event in page["events"]] == [2, 3]
    assert page["more"] is True


async def test_two_events_of_a_run_are_compared(gateway: Gateway) -> None:
    client = await gateway.tenant()
    known = gateway.history.add(RUN, "acme", steps={"a": {"status": "running"}})
    known.earlier[1] = {"id": RUN, "status": "running", "steps": {}}
    answer = await client.get(f"/v1/runs/{RUN}/diff?from=1")
    assert answer.status_code == 200, answer.text
    assert answer.json()["changes"] == [{"path": ["steps", "a"], "after": {"status": "running"}}]
    assert (await client.get(f"/v1/runs/{RUN}/diff?from=0")).status_code == 422


async def test_the_state_at_an_event_carries_its_hash(gateway: Gateway) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme")
    state = (await client.get(f"/v1/runs/{RUN}/state?sequence=1")).json()
    assert (state["sequence"], len(state["state_hash"])) == (1, 64)
    assert state["state"]["id"] == RUN


async def test_an_export_is_a_file_of_json_lines(gateway: Gateway) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme").end()
    answer = await client.get(f"/v1/runs/{RUN}/export")
    assert answer.headers["content-type"] == "application/jsonl"
    assert RUN in answer.headers["content-disposition"]
    assert len(answer.content.splitlines()) == 2


async def test_usage_is_asked_for_a_span_of_time(gateway: Gateway) -> None:
    client = await gateway.tenant()
    answer = await client.get("/v1/usage?from=2026-11-01T00:00:00Z")
    assert answer.json() == {"rows": []}
    assert gateway.history.asked[-1].from_ms == 1_793_491_200_000
    await client.get("/v1/usage?to=2026-11-30T00:00:00")
    assert gateway.history.asked[-1].from_ms == 1_793_404_800_000, "30 days where nothing is said"


async def test_a_cancel_is_durable_when_it_is_answered(gateway: Gateway) -> None:
    client = await gateway.tenant()
    answer = await client.post(f"/v1/runs/{RUN}/cancel", json={"reason": "ordered twice"})
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
    command = gateway.scheduler.commands[-1]
    reason = await gateway.open_payload("acme", RUN, command.cancel_run.reason)
    assert orjson.loads(reason) == "ordered twice"


async def test_a_cancel_needs_no_body(gateway: Gateway) -> None:
    client = await gateway.tenant()
    assert (await client.post(f"/v1/runs/{RUN}/cancel")).status_code == 202


async def test_a_cancel_of_a_run_that_is_being_cancelled_is_a_conflict(gateway: Gateway) -> None:
    client = await gateway.tenant()
    gateway.scheduler.answer = partial(rejected, error=already())
    answer = await client.post(f"/v1/runs/{RUN}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "HR-2008")


async def test_a_cancel_of_a_run_that_is_over_says_how_it_ended(gateway: Gateway) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme").end("failed")
    gateway.scheduler.answer = partial(rejected, error=NotFound("no such run is open"))
    answer = await client.post(f"/v1/runs/{RUN}/cancel")
    assert answer.status_code == 409
    assert "it has failed" in answer.json()["detail"]


@pytest.fixture
async def another() -> ScriptedScheduler:
    scheduler = ScriptedScheduler()
    await scheduler.serve()
    return scheduler


async def break_the_stream_after_the_command(gateway: Gateway, another: ScriptedScheduler) -> None:
    """The first scheduler takes the command and dies before it answers."""
    await gateway.scheduler.asked.wait()
    await lease_all(gateway.dsn, another.address)
    await gateway.scheduler.stop()


def say_nothing(command: pb.Command) -> None:
    return None


async def test_an_echo_of_its_own_cancel_counts_as_done(
    gateway: Gateway, another: ScriptedScheduler
) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme", cancel={"cause": "request"})
    gateway.scheduler.answer = say_nothing
    another.answer = partial(rejected, error=already())
    cancelling = asyncio.create_task(client.post(f"/v1/runs/{RUN}/cancel"))
    await break_the_stream_after_the_command(gateway, another)
    assert (await cancelling).status_code == 202
    await another.stop()
    await gateway.scheduler.serve()


async def test_a_cancel_that_came_too_late_is_no_echo(
    gateway: Gateway, another: ScriptedScheduler
) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme", cancel=None).end()
    gateway.scheduler.answer = say_nothing
    another.answer = partial(rejected, error=InvalidState("the run has already succeeded"))
    cancelling = asyncio.create_task(client.post(f"/v1/runs/{RUN}/cancel"))
    await break_the_stream_after_the_command(gateway, another)
    assert (await cancelling).status_code == 409
    await another.stop()
    await gateway.scheduler.serve()


async def asked_for_approval(gateway: Gateway) -> Any:
    client = await gateway.tenant()
    published = await gateway.publish(client, PURCHASE)
    gateway.history.add(RUN, "acme", plan=published["hash"])
    return client


async def test_a_decision_travels_with_its_author_and_form(gateway: Gateway) -> None:
    client = await asked_for_approval(gateway)
    body = {"decision": "approved", "comment": "fine", "form": {"amount": 120}}
    answer = await client.post(f"/v1/runs/{RUN}/approvals/manager", json=body)
    assert answer.status_code == 200, answer.text
    decide = gateway.scheduler.commands[-1].decide_approval
    assert (decide.run, decide.step, decide.decision) == (RUN, "manager", "approved")
    sealed = orjson.loads(await gateway.open_payload("acme", RUN, decide.answer))
    assert sealed["decided_by"] == "key:editor-of-acme"
    assert {name: sealed[name] for name in body} == body


@pytest.mark.parametrize(
    ("form", "fault"), [(None, "form"), ({"amount": 900}, "form.amount"), ({}, "form")]
)
async def test_a_form_that_does_not_fit_is_refused(
    gateway: Gateway, form: dict[str, int] | None, fault: str
) -> None:
    client = await asked_for_approval(gateway)
    body = {"decision": "approved", "form": form}
    answer = await client.post(f"/v1/runs/{RUN}/approvals/manager", json=body)
    assert answer.status_code == 422
    assert re.match(rf"{fault}\b", answer.json()["faults"][0])
    assert gateway.scheduler.commands == []


async def test_a_rejection_needs_no_form(gateway: Gateway) -> None:
    client = await asked_for_approval(gateway)
    body = {"decision": "rejected", "comment": "too much"}
    answer = await client.post(f"/v1/runs/{RUN}/approvals/manager", json=body)
    assert answer.status_code == 200


async def test_an_approval_inside_of_an_item_is_decided_by_its_address(gateway: Gateway) -> None:
    client = await asked_for_approval(gateway)
    address = quote("rounds[1]/ask", safe="")
    answer = await client.post(f"/v1/runs/{RUN}/approvals/{address}", json={"decision": "approved"})
    assert answer.status_code == 200, answer.text
    assert gateway.scheduler.commands[-1].decide_approval.step == "rounds[1]/ask"


async def test_an_unknown_approval_is_not_found_and_the_known_ones_are_named(
    gateway: Gateway,
) -> None:
    client = await asked_for_approval(gateway)
    answer = await client.post(f"/v1/runs/{RUN}/approvals/boss", json={"decision": "approved"})
    assert answer.status_code == 404
    assert "manager, rounds/ask" in answer.json()["detail"]


async def test_a_decision_is_approved_or_rejected(gateway: Gateway) -> None:
    client = await asked_for_approval(gateway)
    answer = await client.post(f"/v1/runs/{RUN}/approvals/manager", json={"decision": "maybe"})
    assert answer.status_code == 422
    assert "decision" in answer.json()["faults"][0]


async def test_the_second_of_two_decisions_is_a_conflict(gateway: Gateway) -> None:
    client = await asked_for_approval(gateway)
    ended = InvalidState("approval 'manager' has ended: rejected")
    gateway.scheduler.answer = partial(rejected, error=ended)
    body = {"decision": "rejected"}
    answer = await client.post(f"/v1/runs/{RUN}/approvals/manager", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (409, ended.message)


async def test_an_echo_of_its_own_decision_counts_as_done(
    gateway: Gateway, another: ScriptedScheduler
) -> None:
    client = await asked_for_approval(gateway)
    gateway.scheduler.answer = say_nothing
    another.answer = partial(rejected, error=InvalidState("approval 'manager' has ended"))
    url = f"/v1/runs/{RUN}/approvals/manager"
    deciding = asyncio.create_task(client.post(url, json={"decision": "rejected"}))
    await gateway.scheduler.asked.wait()
    taken = gateway.scheduler.commands[-1].decide_approval
    answer = orjson.loads(await gateway.open_payload("acme", RUN, taken.answer))
    steps = {"manager": {"status": "succeeded", "output": answer}}
    gateway.history.known[RUN].document["steps"] = steps
    await break_the_stream_after_the_command(gateway, another)
    assert (await deciding).status_code == 200
    await another.stop()
    await gateway.scheduler.serve()


async def test_a_decision_of_somebody_else_is_no_echo(
    gateway: Gateway, another: ScriptedScheduler
) -> None:
    client = await asked_for_approval(gateway)
    gateway.scheduler.answer = say_nothing
    another.answer = partial(rejected, error=InvalidState("approval 'manager' has ended"))
    url = f"/v1/runs/{RUN}/approvals/manager"
    deciding = asyncio.create_task(client.post(url, json={"decision": "rejected"}))
    await break_the_stream_after_the_command(gateway, another)
    theirs = {"decision": "rejected", "decided_by": "key:somebody"}
    gateway.history.known[RUN].document["steps"] = {"manager": {"output": theirs}}
    assert (await deciding).status_code == 409
    await another.stop()
    await gateway.scheduler.serve()


async def test_a_repair_travels_with_its_author_and_sealed_values(gateway: Gateway) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme")
    edits = [
        {"step": "a", "action": "retry"},
        {"step": "b", "action": "output", "value": {"n": 1}, "port": "high"},
    ]
    answer = await client.post(f"/v1/runs/{RUN}/resume", json={"edits": edits})
    assert (answer.status_code, answer.json()) == (202, {"id": RUN, "status": "resumed"})
    command = gateway.scheduler.commands[-1]
    assert command.actor == "key:editor-of-acme"
    retry, output = command.resume_run.edits
    assert (retry.step, retry.repair, retry.value) == ("a", Repair.RETRY, b"")
    assert (output.step, output.repair, output.port) == ("b", Repair.OUTPUT, "high")
    assert orjson.loads(await gateway.open_payload("acme", RUN, output.value)) == {"n": 1}


@pytest.mark.parametrize("refusal", [InvalidState("not suspended"), InvalidInput("no such step")])
async def test_a_refused_repair_says_why(gateway: Gateway, refusal: HeadraceError) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme")
    gateway.scheduler.answer = partial(rejected, error=refusal)
    answer = await client.post(f"/v1/runs/{RUN}/resume")
    assert answer.status_code == (409 if isinstance(refusal, InvalidState) else 422)
    assert answer.json()["detail"] == refusal.message


async def test_an_echo_of_its_own_repair_counts_as_done(
    gateway: Gateway, another: ScriptedScheduler
) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme")
    gateway.scheduler.answer = say_nothing
    another.answer = partial(rejected, error=InvalidState("the run is not suspended"))
    resuming = asyncio.create_task(client.post(f"/v1/runs/{RUN}/resume"))
    await gateway.scheduler.asked.wait()
    resumed = {"by": "key:editor-of-acme", "at": "2026-11-26T07:00:00.000Z"}
    gateway.history.known[RUN].document["resumed"] = resumed
    await break_the_stream_after_the_command(gateway, another)
    assert (await resuming).status_code == 202
    await another.stop()
    await gateway.scheduler.serve()


async def test_history_that_is_away_is_503_and_not_a_missing_run(gateway: Gateway) -> None:
    client = await gateway.tenant()
    gateway.history.add(RUN, "acme")
    gateway.history.fail_first = 10_000
    # The scheduler is asked all the same: reading is not needed to cancel.
    gateway.scheduler.answer = accepted
    assert (await client.post(f"/v1/runs/{RUN}/cancel")).status_code == 202
