"""Runs that only wait are kept as frozen bytes and wake with nothing lost."""

from headrace_core.ids import RunId
from headrace_core.run.freeze import freeze_run
from headrace_core.run.state import RunState
from headrace_core.workflow.plan import StepKind
from headrace_core.workflow.plan_parts import Wait
from headrace_scheduler.app.open_runs import OpenRuns
from tests.support.run_harness import RUN, Harness, plan_of, step


def sleeper() -> RunState:
    nap = step("nap", kind=StepKind.WAIT, wait=Wait(for_ms=5_000))
    return Harness(plan_of(nap)).start({"a": 1}).state


def test_a_sleeping_run_wakes_as_it_was() -> None:
    run = sleeper()
    frozen = freeze_run(run)
    runs = OpenRuns([run])
    runs.let_sleep(RUN, frozen)
    assert len(runs) == 1 and RUN in runs and not runs.awake()
    woken = runs.get(RUN)
    assert woken is not None and woken is not run
    assert freeze_run(woken) == frozen
    assert runs.get(RUN) is woken, "it stays awake: a change must not be lost"


def test_a_run_that_an_executor_works_on_stays_awake() -> None:
    run = Harness(plan_of(step("work"))).start()
    run.assign("work")
    runs = OpenRuns([run.state])
    runs.let_sleep(RUN, freeze_run(run.state))
    assert runs.get(RUN) is run.state


def test_looking_at_sleeping_runs_wakes_none() -> None:
    runs = OpenRuns([sleeper()])
    runs.let_sleep(RUN, freeze_run(sleeper()))
    assert [run.run_id for run in runs.asleep()] == [RUN]
    assert not runs.awake() and len(runs) == 1


def test_a_run_can_be_taken_out_asleep_or_awake() -> None:
    runs = OpenRuns([sleeper()])
    runs.let_sleep(RUN, freeze_run(sleeper()))
    taken = runs.pop(RUN)
    assert taken is not None and taken.run_id == RUN
    assert not len(runs) and runs.pop(RUN) is None and runs.get(RunId("other")) is None


def test_a_sleeping_run_takes_a_fraction_of_its_frozen_bytes() -> None:
    runs = OpenRuns([sleeper()])
    frozen = freeze_run(sleeper())
    runs.let_sleep(RUN, frozen)
    kept = runs.kept_bytes(RUN)
    assert kept is not None and kept < len(frozen) / 2
