"""`headrace explain`: the story of a step, from the events of runs that really were decided."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from headrace_cli.explain import render_story
from headrace_cli.rendering.story import steps_of, story_document, tell, with_inherited
from headrace_cli.rendering.style import PLAIN
from headrace_cli.testing.case_file import Case
from headrace_cli.testing.play import play
from tests.support.flow_run import compiled
from tests.unit.cli.documents import event

FLOW = """\
flow: v1
name: pay
on_failure: {policy}
inputs:
  amount: {{type: integer}}
steps:
  route:
    switch: [{{port: large, when: inputs.amount > 100}}, {{port: small}}]
  ask:
    needs: [route.large]
    approval: {{assignees: [bob], expires: 1d}}
  charge:
    needs: [ask.approved, route.small]
    join: any
    uses: http.post@1
    with: {{url: https://pay.example.com}}
    retry: {{max_attempts: 3, on: [network], backoff: {{initial: 2s, jitter: none}}}}
    fallback: [{{uses: http.post@1, with: {{url: https://other.example.com}}}}]
  receipt:
    needs: [charge]
    set: {{sent: true}}
  archive:
    needs: [receipt]
    set: {{kept: true}}
  pause:
    when: inputs.amount > 0
    wait: {{for: 1h}}
  tell:
    needs: [charge.error]
    foreach: {{in: '["ann", "bob", "eve"]', as: who, max_parallel: 2}}
    uses: http.put@1
    with: {{url: "https://tell.example.com/${{{{ who }}}}"}}
"""


def events_of(given: Mapping[str, Any], policy: str = "drain") -> Sequence[Mapping[str, Any]]:
    plan = compiled(FLOW.format(policy=policy))
    case = Case.model_validate({"given": given, "expect": {}})
    return play(case, plan, {plan.hash: plan}).events


def charged(answer: Any, amount: int = 5, **given: Any) -> Mapping[str, Any]:
    steps = {"charge": answer, "tell": {"output": None}, **given.pop("steps", {})}
    return {"inputs": {"amount": amount}, "steps": steps, **given}


FAILS = {"error": {"type": "http.402", "message": "no money"}}


def test_a_step_that_ran_says_which_edge_began_it_and_how_it_went() -> None:
    answers = [{"error": {"type": "network"}}, {"output": 1, "after": "3s"}]
    story = tell(events_of(charged(answers)), "charge")
    assert (story.status, story.because) == ("succeeded", "it succeeded in attempt 2")
    assert story.edges == (
        "ask.approved is skipped: ask was skipped (branch not taken)",
        "route.small is active: route took port small",
    )
    assert [text for _, text in story.history] == [
        "ready",
        "attempt 1 given to test",
        "attempt 1 ended with network: no; tried again after 2.00 s",
        "ready",
        "attempt 2 given to test",
        "succeeded",
    ]


def test_a_failure_is_told_with_its_error_and_the_fallback_that_was_tried() -> None:
    story = tell(events_of(charged(FAILS)), "charge")
    assert story.because == "it failed after 2 attempts with http.402: no money"
    assert story.history[2][1] == (
        "attempt 1 ended with http.402: no money; tried again at once by fallback 1"
    )


def test_a_step_skipped_by_a_failure_names_it() -> None:
    story = tell(events_of(charged(FAILS)), "receipt")
    assert story.because == "a step that it needs was in failure"
    assert story.edges == ("charge is broken: charge failed with http.402: no money",)
    assert story.roots == ()


def test_a_step_at_the_end_of_a_chain_names_where_it_began() -> None:
    story = tell(events_of(charged(FAILS)), "archive")
    assert story.because == "a step that it needs was skipped"
    assert story.roots == ("charge failed with http.402: no money",)
    shown = render_story(story, PLAIN).splitlines()
    assert shown[0] == "archive  skipped: a step that it needs was skipped"
    assert shown[1] == "  began with  charge failed with http.402: no money"
    assert shown[2] == "  needs       receipt is skipped: receipt was skipped (upstream failed)"


def test_a_branch_not_taken_and_a_condition_are_told_apart() -> None:
    events = events_of(charged({"output": 1}, amount=0))
    ask, pause = tell(events, "ask"), tell(events, "pause")
    assert ask.because == "a way that it needs was not taken"
    assert ask.edges == ("route.large is dead: route took port small",)
    assert pause.because == "its `when` did not hold"


def test_a_step_that_waits_for_a_person_names_who_and_until_when() -> None:
    events = [one for one in events_of(charged({"output": 1}, amount=200)) if one["sequence"] < 9]
    story = tell(events, "ask")
    assert story.status == "waiting"
    assert story.because == (
        "it waits for a person to decide until 2026-01-02 00:00:00 UTC; asked are bob"
    )
    pending = tell(events, "charge", ["ask.approved", "route.small"])
    assert pending.because == "it waits for ask.approved (waiting)"
    assert tell(events, "archive", ["receipt"]).because == "it waits for receipt (pending)"


def test_a_decided_approval_says_how() -> None:
    steps = {"ask": {"decision": "rejected", "after": "1m"}}
    story = tell(events_of(charged({"output": 1}, amount=200, steps=steps)), "ask")
    assert story.because == "it succeeded by port rejected"
    assert story.history[-2][1] == "decided: rejected"


def test_a_sleeping_step_says_until_when_and_a_retry_what_it_waits_for() -> None:
    answer = [{"error": {"type": "network"}, "after": "1s"}, {"output": 1}]
    events = events_of(charged(answer))
    until = next(one["sequence"] for one in events if one["kind"] == "StepRetryScheduled")
    before = [one for one in events if one["sequence"] <= until]
    assert tell(before, "pause").because == "it waits for its time until 2026-01-01 01:00:00 UTC"
    assert tell(before, "charge").because == (
        "attempt 1 ended with network: no; the next one waits until 2026-01-01 00:00:03 UTC"
    )


def test_what_a_cancelled_run_leaves_behind_names_who_cancelled_it() -> None:
    events = events_of(charged({"output": 1}, cancel={"after": "10m"}))
    assert tell(events, "pause").because == "the run was stopped: test cancelled it"
    assert tell(events, "pause").status == "cancelled"


def test_what_a_failure_stops_names_the_failure() -> None:
    events = events_of(charged({**FAILS, "after": "1s"}), policy="cancel")
    assert tell(events, "pause").because == (
        "a failure stops what is open in this flow: charge had failed with http.402: no money"
    )


def test_items_of_a_fan_out_have_stories_of_their_own() -> None:
    steps = {"tell": {"items": {"1": FAILS}, "others": {"output": 1}}}
    events = events_of(charged(FAILS, steps=steps))
    item, fan_out = tell(events, "tell[1]"), tell(events, "tell")
    assert item.because == "it failed with http.402: no money"
    assert [text for _, text in item.history][:2] == [
        "items 0 to 1 opened",
        "attempt 1 given to test",
    ]
    assert "tell[1]" in steps_of(events)
    assert fan_out.status == "failed"
    assert fan_out.history[1][1] == "the list has 3 items"
    failed = next(one for one in events if one.get("step") == "tell[1]" and "error" in one)
    part = [one for one in events if one["sequence"] <= failed["sequence"]]
    assert tell(part, "tell").because == "2 of its 3 items have ended"


def test_a_run_that_is_parked_is_said_of_its_open_steps() -> None:
    incident = {"type": "engine.fault", "message": "oh"}
    events = [
        event(1, "StepReady", 0, step="a", edges=[]),
        event(2, "RunParked", 1, incident=incident),
    ]
    assert tell(events, "a").because == (
        "it is ready, and no executor has taken it yet; the run is suspended: engine.fault: oh"
    )


def test_a_kind_of_event_that_is_not_known_is_told_by_its_name() -> None:
    events = [
        event(1, "StepReady", 0, step="a", edges=[]),
        event(2, "StepTickled", 1, step="a", by="ann"),
    ]
    story = tell(events, "a")
    assert story.history[-1][1] == 'StepTickled {"by": "ann"}'


def test_programs_get_the_same_story() -> None:
    document = story_document(tell(events_of(charged(FAILS)), "receipt"))
    assert document["status"] == "skipped"
    assert document["history"][-1]["text"] == "was skipped (upstream failed)"


@pytest.mark.parametrize("step", ["route", "ask", "charge", "receipt", "archive", "pause", "tell"])
@pytest.mark.parametrize("answer", [FAILS, {"output": 1}])
def test_every_step_has_a_story_at_every_event(step: str, answer: Any) -> None:
    events = events_of(charged(answer, amount=200, steps={"ask": {"decision": "approved"}}))
    for until in range(len(events) + 1):
        story = tell(events[:until], step, ["ask"])
        assert story.because and len(story.history) <= until


def test_a_step_skipped_by_an_operator_names_who_did_it() -> None:
    error = {"type": "http.500", "message": "no"}
    repaired = {"repair": "skip", "repaired_by": "ann", "input": None, "failed": True}
    events = [
        event(1, "StepReady", 0, step="charge", edges=[]),
        event(2, "StepFailed", 1, step="charge", error=error, attempt=1, handled=False),
        event(3, "RunSuspended", 1, step="charge", incident=error),
        event(4, "StepRepaired", 2, step="charge", **repaired),
        event(5, "StepSkipped", 2, step="charge", reason="by_operator", edges=[]),
    ]
    story = tell(events, "charge", [])
    assert (story.status, story.because) == ("skipped", "ann skipped it to repair the run")
    assert "repaired by ann: skip" in [text for _, text in story.history]


def test_an_escalated_approval_says_who_is_asked_now_and_until_when() -> None:
    asked = {"assignees": ["bob"]}
    events = [
        event(1, "StepReady", 0, step="ask", edges=[]),
        event(
            2, "ApprovalRequested", 0, step="ask", request=asked, expires_at="2026-11-27T00:00:00Z"
        ),
        event(
            3, "ApprovalEscalated", 9, step="ask", number=1, request={"assignees": ["bob", "eve"]}
        ),
    ]
    because = tell(events, "ask", []).because
    assert because.startswith("it waits for a person to decide until 2026-11-27")
    assert because.endswith("asked are bob, eve")


def test_a_step_that_a_fork_has_inherited_says_where_it_ended() -> None:
    inherited = {
        "step": "charge",
        "status": "succeeded",
        "port": None,
        "error": None,
        "skip_reason": None,
        "ended_at": None,
        "edited": True,
    }
    events = with_inherited(
        [
            event(1, "RunForked", 0, source="run_1", steps=[inherited]),
            event(
                2,
                "StepReady",
                0,
                step="receipt",
                edges=[{"source": "charge", "port": None, "state": "active"}],
            ),
        ]
    )
    assert steps_of(events) == ["charge", "receipt"]
    told = tell(events, "charge").because
    assert (
        told == "it succeeded in run_1, which this run was forked from, and its output was edited"
    )
    assert tell(events, "receipt").edges == ("charge is active: charge succeeded",)
