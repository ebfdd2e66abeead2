"""`cancel_others`: the first that are enough go on, and the others are not needed any more."""

import pytest

from headrace_core.ids import StepKey
from headrace_core.run.events import StepCancelled, StepStopRequested
from headrace_core.run.freeze import freeze_run, thaw_run
from headrace_core.run.status import RunStatus
from headrace_core.workflow.plan import Plan
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Rejection
from headrace_scheduler.domain.effects import CancelAttempt, CloseRow, SetTimer
from headrace_scheduler.domain.recovery import effects_of_run
from tests.support.flow_run import FlowRun, compiled
from tests.support.run_harness import RUN

READS = """
  fast: {uses: http.get@1, with: {url: "https://a.example"}}
  slow: {uses: http.get@1, with: {url: "https://b.example"}}
"""
WRITES = READS.replace("http.get", "http.post")
USE = "  use: {needs: [fast, slow], join: any, cancel_others: true, set: {got: 1}}\n"


def flow(steps: str, more: str = "") -> Plan:
    return compiled(f"flow: v1\nname: race\n{more}\nsteps:\n{steps}")


def begun(steps: str, more: str = "") -> FlowRun:
    return FlowRun(flow(steps, more)).begin()


def stopped(run: FlowRun) -> list[tuple[str, str]]:
    return [(one.step, one.by) for one in run.events if isinstance(one, StepStopRequested)]


def says(run: FlowRun, given: cmd.CompleteStep, outcome: cmd.Outcome) -> Rejection | None:
    said = cmd.CompleteStep(
        run=RUN, step=given.step, attempt=given.attempt, token=given.token, outcome=outcome
    )
    return run.when(said)


def test_the_first_to_succeed_cancels_the_others_and_the_run_succeeds() -> None:
    run = begun(READS + USE)
    slow = run.assign("slow")
    run.succeed("fast")
    assert run.statuses() == {"fast": "succeeded", "slow": "cancelled", "use": "succeeded"}
    assert run.state.status is RunStatus.SUCCEEDED
    assert stopped(run) == [("slow", "use")]
    assert [one for one in run.effects if isinstance(one, CancelAttempt)] == [
        CancelAttempt(RUN, slow.step, 1, run.state.steps[slow.step].executor)
    ]
    assert run.refolded() == run.state


def test_what_waits_and_what_has_not_begun_is_cancelled_too() -> None:
    run = begun("""
  first: {uses: worker.x@1}
  before: {uses: worker.x@1}
  later: {needs: [before], uses: worker.x@1}
  sleep: {wait: {for: 1h}}
  ask: {approval: {assignees: [ann]}}
  use: {needs: [first, later, sleep, ask], join: any, cancel_others: true, set: {}}
""")
    run.succeed("first")
    statuses = run.statuses()
    assert [statuses[name] for name in ("later", "sleep", "ask")] == ["cancelled"] * 3
    assert statuses["before"] == "ready", "it is no source of the step that went on"
    run.succeed("before")
    assert run.status("later").text == "cancelled"
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.refolded() == run.state


def test_enough_of_several_cancel_the_rest() -> None:
    sources = "".join(f"  {name}: {{uses: worker.x@1}}\n" for name in "abcd")
    needs = "needs: [a, b, c, d], join: {at_least: 2}, cancel_others: true, set: {}"
    run = begun(f"{sources}  use: {{{needs}}}\n")
    run.succeed("c")
    assert stopped(run) == []
    run.succeed("a")
    assert run.statuses() == {
        "a": "succeeded",
        "b": "cancelled",
        "c": "succeeded",
        "d": "cancelled",
        "use": "succeeded",
    }


def test_what_a_cancelled_source_led_to_is_skipped() -> None:
    run = begun(
        READS
        + USE
        + """
  after: {needs: [slow], set: {}}
  handle: {needs: [slow.error], set: {}}
"""
    )
    run.succeed("fast")
    assert run.statuses()["after"] == run.statuses()["handle"] == "skipped"
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_call_with_an_effect_says_itself_how_it_ended() -> None:
    run = begun(WRITES + USE)
    slow = run.assign("slow")
    run.succeed("fast")
    assert run.statuses()["slow"] == "running"
    assert run.statuses()["use"] == "succeeded", "nobody waits for it"
    assert run.state.status is RunStatus.RUNNING
    says(run, slow, cmd.Outcome.CANCELLED)
    assert run.statuses()["slow"] == "cancelled"
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_source_that_succeeds_all_the_same_has_succeeded() -> None:
    run = begun(WRITES + USE)
    slow = run.assign("slow")
    run.succeed("fast")
    says(run, slow, cmd.Outcome.SUCCEEDED)
    assert run.statuses() == {"fast": "succeeded", "slow": "succeeded", "use": "succeeded"}
    assert run.kinds().count("StepStopRequested") == 1


@pytest.mark.parametrize("outcome", [cmd.Outcome.UNKNOWN, cmd.Outcome.AMBIGUOUS])
def test_an_unknown_outcome_of_what_is_not_needed_does_not_fail_the_run(
    outcome: cmd.Outcome,
) -> None:
    run = begun(WRITES + USE)
    slow = run.assign("slow")
    run.succeed("fast")
    says(run, slow, outcome)
    assert run.error_of("slow")[0] == "unknown_outcome"
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.refolded() == run.state


def fire(run: FlowRun, timer: SetTimer) -> Rejection | None:
    return run.when(cmd.FireTimer(run=RUN, step=timer.step, kind=timer.kind, due_ms=timer.due_ms))


def test_after_the_grace_the_row_of_a_source_that_says_nothing_decides() -> None:
    run = begun(WRITES + USE)
    run.assign("slow")
    run.succeed("fast")
    [grace] = [
        one
        for one in run.effects
        if isinstance(one, SetTimer) and one.kind is cmd.TimerKind.CANCEL_GRACE
    ]
    assert fire(run, grace) is not None, "a timer is never early"
    run.now_ms = grace.due_ms
    assert fire(run, grace) is None
    close = CloseRow(RUN, StepKey("slow"), 1, 0)
    assert run.effects[-1] == close
    run.when(cmd.CloseByRow(run=RUN, step=close.step, attempt=1, verdict=cmd.RowVerdict.NO_EFFECT))
    assert run.statuses()["slow"] == "cancelled"
    assert fire(run, grace) is not None
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_lost_attempt_of_what_is_not_needed_is_not_made_again() -> None:
    run = begun(WRITES + USE)
    run.assign("slow")
    run.succeed("fast")
    run.when(cmd.LoseAttempt(run=RUN, step=StepKey("slow"), attempt=1))
    assert run.effects[-1] == CloseRow(RUN, StepKey("slow"), 1, 0)
    assert run.ready() == []


def test_a_fan_out_ends_with_its_open_items() -> None:
    run = begun("""
  fast: {uses: worker.x@1}
  many:
    foreach: {in: '[1, 2, 3]', as: one, max_parallel: 2}
    uses: worker.x@1
  use: {needs: [fast, many], join: any, cancel_others: true, set: {}}
""")
    run.succeed("many[0]")
    run.succeed("fast")
    assert run.statuses() == {"fast": "succeeded", "many": "cancelled", "use": "succeeded"}
    assert [one.step for one in run.events if isinstance(one, StepCancelled)] == [
        "many[1]",
        "many[2]",
        "many",
    ]
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.refolded() == run.state


def test_a_group_ends_with_its_steps_and_a_race_can_stand_in_a_group() -> None:
    run = begun("""
  fast: {uses: worker.x@1}
  both:
    group:
      a: {uses: worker.x@1}
      b: {needs: [a], uses: worker.x@1}
  use: {needs: [fast, both], join: any, cancel_others: true, set: {}}
""")
    run.succeed("fast")
    assert run.statuses() == {"fast": "succeeded", "both": "cancelled", "use": "succeeded"}
    inner = begun(f"""
  both:
    group:
{READS.replace("  ", "      ")}
      use: {{needs: [fast, slow], join: any, cancel_others: true, set: {{}}}}
""")
    inner.succeed("both/slow")
    assert inner.status("both/fast").text == "cancelled"
    assert inner.state.status is RunStatus.SUCCEEDED
    assert inner.refolded() == inner.state


def test_a_condition_that_does_not_hold_is_asked_after_the_others_are_cancelled() -> None:
    run = begun(READS + USE.replace("set:", "when: 'false', set:"))
    run.succeed("fast")
    assert run.statuses() == {"fast": "succeeded", "slow": "cancelled", "use": "skipped"}


def test_a_new_owner_knows_what_is_not_needed_any_more() -> None:
    run = begun(WRITES + USE)
    run.assign("slow")
    run.succeed("fast")
    taken = thaw_run(freeze_run(run.state))
    assert taken == run.state
    successor = FlowRun(run.plan, now_ms=run.now_ms, state=taken, vault=run.vault)
    successor.when(cmd.ContinueRun(run=RUN))
    assert [type(one) for one in successor.effects] == [CancelAttempt]
    [grace] = list(effects_of_run(taken, run.plan))
    assert isinstance(grace, SetTimer)
    assert grace.kind is cmd.TimerKind.CANCEL_GRACE
