"""Forks: what had ended is taken over, what was open, failed or led on by an edit runs again."""

from dataclasses import replace
from typing import Any

import pytest

from headrace_core.errors import InvalidInput
from headrace_core.ids import LetterId, RunId, StepKey, compensation_key
from headrace_core.payload import Stored
from headrace_core.run.events import RunForked
from headrace_core.run.fork import ForkEdits, ForkPlan, inherit, plan_fork
from headrace_core.run.freeze import state_hash
from headrace_core.run.state import ForkedFrom, RunState, StepState
from headrace_core.run.status import RunStatus, StepStatus
from headrace_core.workflow.plan import (
    Action,
    Effect,
    Foreach,
    OnError,
    OnFailure,
    Plan,
    StepKind,
    UsesKind,
)
from headrace_core.workflow.template import parse_expression
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide.fork import fork_run
from tests.support.run_harness import TENANT, Harness, child, plan_of, step, template

SEND = Action(UsesKind.ACTION, "mail.send", "mail.send@1", "1", Effect.WRITE)
FORK = child(7)
CHAIN = plan_of(
    step("fetch", arguments=template({"of": "${{ inputs.customer }}"})),
    step("score", ["fetch"], arguments=template({"value": "${{ steps.fetch.output }}"})),
    step("send", ["score"], uses=SEND, kind=StepKind.USES),
    outputs=template({"score": "${{ steps.score.output }}"}),
)


def begun_in(source: Harness) -> set[str]:
    return {key for key, one in source.state.steps.items() if one.status is not StepStatus.SKIPPED}


def planned(source: Harness, plan: Plan | None = None, **edits: Any) -> ForkPlan:
    after = plan or source.plan
    return plan_fork(source.state, source.plan, after, ForkEdits(**edits), begun_in(source))


def forked(
    source: Harness,
    plan: Plan | None = None,
    outputs: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    letter: str = "",
    letter_step: str = "",
    **edits: Any,
) -> Harness:
    """The new run, as the gateway and the scheduler start it."""
    vault = source.vault
    new = Harness(plan or source.plan, now_ms=source.now_ms + 60_000, vault=vault)
    new.state = RunState(FORK, TENANT)

    def reseal(stored: Stored) -> Stored:
        return vault.seal(FORK, vault.open(source.state.run_id, stored)) if stored else stored

    given = {name: new.sealed(value) for name, value in (outputs or {}).items()}
    made = planned(source, plan, outputs=set(given), **edits)
    event = RunForked(
        source=source.state.run_id,
        source_sequence=source.state.sequence,
        state_hash=state_hash(source.state),
        flow=new.plan.flow,
        version=1,
        plan=new.plan.hash,
        input=new.sealed(fields) if fields is not None else reseal(source.state.input),
        started_by="bob",
        steps=inherit(source.state, made, given, reseal),
    )
    command = cmd.ForkRun(
        run=RunId(FORK),
        tenant=TENANT,
        fork=event,
        start_key=b"k" * 32,
        fingerprint=b"f" * 32,
        key_kept_ms=60_000,
        letter=LetterId(letter),
        letter_step=StepKey(letter_step),
    )
    new.decide(lambda turn: fork_run(turn, command))
    return new


def test_a_failed_run_goes_on_from_its_last_successful_step() -> None:
    source = Harness(CHAIN).start({"customer": "ada"})
    source.succeed("fetch", {"id": 1})
    source.succeed("score", 7)
    source.fail("send")
    assert source.state.status is RunStatus.FAILED

    new = forked(source)

    assert new.kinds() == ["RunForked", "StepReady"]
    assert new.ready() == ["send"]
    assert new.opened(new.state.steps[StepKey("score")].output) == 7
    assert new.state.forked_from == ForkedFrom(source.state.run_id, source.state.sequence)
    new.succeed("send")
    assert new.state.status is RunStatus.SUCCEEDED
    assert new.opened(new.state.output) == {"score": 7}
    assert new.refolded().steps == new.state.steps


def test_the_source_stays_as_it_was() -> None:
    source = Harness(CHAIN).start({"customer": "ada"})
    source.succeed("fetch", {"id": 1})
    before = state_hash(source.state)
    forked(source)
    assert state_hash(source.state) == before


def test_what_was_open_at_the_position_starts_again() -> None:
    source = Harness(CHAIN).start({"customer": "ada"})
    source.succeed("fetch", {"id": 1})
    source.assign("score")
    new = forked(source)
    assert new.ready() == ["score"]
    assert new.state.steps[StepKey("score")].attempt == 0


def test_an_edited_output_is_taken_and_what_it_leads_to_runs_again() -> None:
    source = Harness(CHAIN).start({"customer": "ada"})
    source.succeed("fetch", {"id": 1})
    source.succeed("score", 7)
    source.succeed("send")

    new = forked(source, outputs={"fetch": {"id": 2}})

    assert new.ready() == ["score"]
    assert new.opened(new.state.steps[StepKey("fetch")].output) == {"id": 2}


def test_the_output_of_a_failed_step_can_be_given() -> None:
    source = Harness(CHAIN).start({"customer": "ada"})
    source.succeed("fetch", {"id": 1})
    source.fail("score")
    new = forked(source, outputs={"score": 9})
    assert new.ready() == ["send"]


def test_an_edited_input_runs_again_what_refers_to_it_and_all_behind_it() -> None:
    plan = plan_of(
        step("fetch", arguments=template({"of": "${{ inputs.customer }}"})),
        step("other", arguments=template({"of": "${{ inputs.currency }}"})),
        step("join", ["fetch", "other"]),
    )
    source = Harness(plan).start({"customer": "ada", "currency": "EUR"})
    for name in ("fetch", "other", "join"):
        source.succeed(name, 1)
    made = planned(source, inputs={"customer"})
    assert (made.reused, made.again) == (("other",), ("fetch", "join"))
    new = forked(source, fields={"customer": "bob", "currency": "EUR"}, inputs={"customer"})
    assert new.ready() == ["fetch"]
    assert new.opened(new.state.input)["customer"] == "bob"


def test_a_step_whose_definition_changed_runs_again_but_not_for_another_retry() -> None:
    source = Harness(CHAIN).start({"customer": "ada"})
    source.succeed("fetch", {"id": 1})
    source.succeed("score", 7)
    steps = dict(CHAIN.steps)
    steps["fetch"] = replace(steps["fetch"], timeout_ms=5)
    steps["score"] = replace(steps["score"], arguments=template({"value": 1}))
    changed = replace(CHAIN, steps=steps, hash="1" * 64)
    made = planned(source, changed)
    assert (made.reused, made.again) == (("fetch",), ("score", "send"))


def test_a_failure_that_the_flow_caught_is_an_outcome_and_stays() -> None:
    plan = plan_of(
        step("risky", on_error=OnError.CATCH),
        step("mend", ["risky.error"]),
        step("last", ["mend"]),
    )
    source = Harness(plan).start()
    source.fail("risky")
    source.succeed("mend")
    source.fail("last")
    new = forked(source)
    assert new.ready() == ["last"]
    assert new.status("risky") is StepStatus.FAILED


def test_what_a_failed_neighbour_stopped_runs_again() -> None:
    plan = plan_of(step("a"), step("b"), step("c", ["b"]), on_failure=OnFailure.CANCEL)
    source = Harness(plan).start()
    source.fail("a")
    assert source.status("b") is StepStatus.CANCELLED
    assert sorted(forked(source).ready()) == ["a", "b"]


def test_what_was_undone_runs_again() -> None:
    source = Harness(CHAIN).start({"customer": "ada"})
    source.succeed("fetch", {"id": 1})
    source.succeed("score", 7)
    undone = compensation_key(StepKey("score"))
    source.state.steps[undone] = StepState(undone, StepStatus.SUCCEEDED)
    assert planned(source).reused == ("fetch",)


def test_an_ended_fan_out_is_taken_over_with_its_items() -> None:
    foreach = Foreach(items=parse_expression("inputs.list"), alias="item")
    plan = plan_of(
        step("each", foreach=foreach),
        step("last", ["each"]),
        outputs=template({"all": "${{ steps.each.items.map(i, i.output) }}"}),
    )
    source = Harness(plan).start({"list": [1, 2]})
    source.succeed("each[0]", "x")
    source.succeed("each[1]", "y")
    source.fail("last")
    new = forked(source)
    assert new.ready() == ["last"]
    new.succeed("last")
    assert new.opened(new.state.output) == {"all": ["x", "y"]}


def test_the_plan_of_a_fork_names_effects_and_says_which_repeat() -> None:
    source = Harness(CHAIN).start({"customer": "ada"})
    source.succeed("fetch", {"id": 1})
    made = planned(source)
    assert [(one.step, one.action, one.repeats) for one in made.effects] == [
        ("send", "mail.send@1", False)
    ]
    source.succeed("score", 7)
    source.assign("send")
    [effect] = planned(source).effects
    assert effect.repeats and effect.effect == "write"


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ({"outputs": {"nowhere"}}, "no such step"),
        ({"again": {"nowhere"}}, "no such step"),
        ({"outputs": {"send"}}, "has not begun"),
        ({"outputs": {"fetch"}, "again": {"fetch"}}, "not both"),
    ],
)
def test_an_edit_that_cannot_be_made_is_refused(edits: dict[str, Any], reason: str) -> None:
    source = Harness(CHAIN).start({"customer": "ada"})
    source.succeed("fetch", {"id": 1})
    with pytest.raises(InvalidInput) as refused:
        planned(source, **edits)
    assert reason in str(refused.value.faults)
