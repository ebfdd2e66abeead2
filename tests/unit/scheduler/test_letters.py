"""Dead letters: which failure makes one, and what is decided of it."""

import pytest

from headrace_core.ids import RunId, StepKey, is_letter_id, letter_id
from headrace_core.partition.events import DeadLetterDiscarded, DeadLetterReplayed, StartKeyed
from headrace_core.payload import NOTHING
from headrace_core.run.events import DeadLetterAdded
from headrace_core.run.status import Repair, RunStatus
from headrace_core.workflow.plan import (
    Action,
    Effect,
    Fallback,
    OnError,
    OnFailure,
    PlanStep,
    UsesKind,
)
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide.discard_letter import discard_letter
from headrace_scheduler.domain.decision import PartitionTurn, Reason
from tests.support.flow_run import compiled
from tests.support.run_harness import RUN, TENANT, Harness, plan_of, step
from tests.unit.scheduler.test_forks import FORK, forked

POST = Action(UsesKind.ACTION, "http.post", "http.post@1", "1", Effect.WRITE)
GET = Action(UsesKind.ACTION, "http.get", "http.get@1", "1", Effect.READ)
PAY = StepKey("pay")


def letters(run: Harness) -> list[DeadLetterAdded]:
    return [event for event in run.events if isinstance(event, DeadLetterAdded)]


def failed(pay: PlanStep, *others: PlanStep, on_failure: OnFailure = OnFailure.DRAIN) -> Harness:
    run = Harness(plan_of(pay, *others, on_failure=on_failure)).start()
    run.fail(pay.id, "http.400")
    return run


def test_a_call_that_changes_something_and_fails_for_good_is_a_dead_letter() -> None:
    run = failed(step("pay", uses=POST))
    [letter] = letters(run)
    assert run.kinds()[-3:] == ["StepFailed", "DeadLetterAdded", "RunFailed"]
    assert (letter.step, letter.attempt, letter.operation) == ("pay", 1, "http.post@1")
    assert letter.error.type == "http.400"
    assert letter.letter == letter_id(RUN, PAY, 1) and is_letter_id(letter.letter)


def test_an_attempt_that_is_tried_again_is_none_and_the_last_one_is_one() -> None:
    flow = (
        "flow: v1\nname: pay\nsteps:\n"
        "  pay: {uses: http.post@1, with: {url: 'https://example.com'},\n"
        "    retry: {max_attempts: 2}}\n"
    )
    run = Harness(compiled(flow)).start()
    run.fail("pay", "http.503")
    assert letters(run) == []
    run.now_ms = due_ms = run.state.steps[PAY].due_ms or 0
    fire = cmd.FireTimer(run=RUN, step=PAY, kind=cmd.TimerKind.STEP_DUE, due_ms=due_ms)
    assert run.when(fire) is None
    run.fail("pay", "http.503")
    assert [letter.attempt for letter in letters(run)] == [2]


@pytest.mark.parametrize(
    "taken",
    [
        step("pay", uses=GET),
        step("pay", uses=POST, on_error=OnError.CATCH),
        step("pay", uses=POST, fallback=(Fallback(uses=GET),)),
    ],
    ids=["it only reads", "the definition catches it", "a fallback is tried"],
)
def test_what_changes_nothing_or_is_taken_over_is_none(taken: PlanStep) -> None:
    assert letters(failed(taken)) == []


def test_a_fallback_that_fails_too_is_the_letter() -> None:
    pay = step("pay", uses=POST, fallback=(Fallback(uses=POST),))
    run = failed(pay)
    assert letters(run) == []
    run.fail("pay", "http.400")
    assert [letter.attempt for letter in letters(run)] == [2]


def test_an_error_edge_takes_the_failure_over() -> None:
    flow = (
        "flow: v1\nname: pay\nsteps:\n"
        "  pay: {uses: http.post@1, with: {url: 'https://example.com'}, on_error: catch}\n"
        "  tell: {needs: [pay.error], uses: data.echo@1, with: {value: 1}}\n"
    )
    run = Harness(compiled(flow)).start()
    run.fail("pay", "http.400")
    assert letters(run) == [] and run.state.status is RunStatus.RUNNING


def test_each_item_that_fails_is_a_letter_of_its_own_although_the_step_tolerates_it() -> None:
    flow = (
        "flow: v1\nname: pay\nsteps:\n"
        "  pay: {uses: http.post@1, foreach: {in: '[1, 2, 3]', as: x, tolerate: {failures: 2}},\n"
        "    with: {url: 'https://example.com'}}\n"
    )
    run = Harness(compiled(flow)).start()
    run.fail("pay[0]", "http.400")
    run.succeed("pay[1]")
    run.fail("pay[2]", "http.400")
    assert [letter.step for letter in letters(run)] == ["pay[0]", "pay[2]"]
    assert run.state.status is RunStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("repair", "kind"),
    [
        (Repair.RETRY, DeadLetterReplayed),
        (Repair.SKIP, DeadLetterDiscarded),
    ],
)
def test_the_repair_of_a_suspended_run_decides_its_letter(
    repair: Repair, kind: type[object]
) -> None:
    run = failed(step("pay", uses=POST), on_failure=OnFailure.SUSPEND)
    [letter] = letters(run)
    edit = cmd.StepEdit(step=PAY, repair=repair, value=NOTHING)
    assert run.when(cmd.ResumeRun(run=RUN, tenant=TENANT, resumed_by="ann", edits=(edit,))) is None
    [decision] = [one for one in run.partition_events if isinstance(one, kind)]
    assert getattr(decision, "letter", None) == letter.letter
    if isinstance(decision, DeadLetterReplayed):
        assert (decision.as_run, decision.replayed_by) == (RUN, "ann")


def test_a_letter_that_is_replayed_and_fails_again_is_another_letter() -> None:
    run = failed(step("pay", uses=POST), on_failure=OnFailure.SUSPEND)
    assert run.when(cmd.ResumeRun(run=RUN, tenant=TENANT, resumed_by="ann")) is None
    run.fail("pay", "http.400")
    first, second = letters(run)
    assert first.letter != second.letter
    replayed = [one for one in run.partition_events if isinstance(one, DeadLetterReplayed)]
    assert [one.letter for one in replayed] == [first.letter]


def test_a_fork_that_replays_a_letter_says_so_in_the_record_of_its_start() -> None:
    source = failed(step("pay", uses=POST))
    [letter] = letters(source)
    run = forked(source, again={"pay"}, letter=letter.letter, letter_step=PAY)
    keyed, replayed = run.partition_events
    assert isinstance(keyed, StartKeyed) and isinstance(replayed, DeadLetterReplayed)
    assert (replayed.letter, replayed.run, replayed.as_run) == (letter.letter, RUN, FORK)


def test_a_letter_is_discarded_once_and_not_after_a_replay() -> None:
    run = failed(step("pay", uses=POST))
    [letter] = letters(run)
    command = cmd.DiscardLetter(
        letter=letter.letter,
        tenant=TENANT,
        run=RUN,
        step=PAY,
        discarded_by="ann",
        reason=NOTHING,
        start_key=b"l" * 32,
        fingerprint=b"discard",
        key_kept_ms=60_000,
    )
    turn = PartitionTurn(run.partition, run.now_ms, 8)
    assert discard_letter(turn, command) is None
    turn.commit()
    keyed, discarded = turn.partition_events
    assert isinstance(keyed, StartKeyed) and isinstance(discarded, DeadLetterDiscarded)
    again = discard_letter(PartitionTurn(run.partition, run.now_ms, 8), command)
    assert again is not None and again.reason is Reason.REPEATED
    assert again.run == RunId(letter.letter)
    replay = cmd.DiscardLetter(
        letter=letter.letter,
        tenant=TENANT,
        run=RUN,
        step=PAY,
        discarded_by="bob",
        reason=NOTHING,
        start_key=b"l" * 32,
        fingerprint=b"replay",
        key_kept_ms=60_000,
    )
    other = discard_letter(PartitionTurn(run.partition, run.now_ms, 8), replay)
    assert other is not None and other.reason is Reason.KEY_REUSED
