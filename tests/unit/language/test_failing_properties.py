"""Retry, fallback, `on_error` and joins, decided, against what knows nothing of events."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_core.ids import StepKey
from headrace_core.run.events import StepAssigned, StepRetryScheduled
from headrace_core.run.status import RUN_TERMINAL, RunStatus, StepStatus
from headrace_core.workflow.plan import Fallback, Jitter, OnError, PlanStep, RetryPolicy
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.effects import SetTimer
from tests.simulation.world.shapes import random_flow
from tests.support.run_harness import ECHO, RUN, Harness, plan_of, step, template

GOOD = ""
ERRORS = ("http.503", "network", "http.404", "auth", "expr.error")
NEVER = ("http.404", "auth", "expr.error")
NOT_TOLD = template("${{ inputs.nothing.at.all }}")


@dataclass(frozen=True)
class Expected:
    """`calls` names for each attempt the entry that was called, 0 for the step's own action."""

    calls: tuple[int, ...]
    status: StepStatus
    recovered: bool
    error: str


def expected(one: PlanStep, outcomes: Sequence[str]) -> Expected:
    left, calls, error = list(outcomes), list[int](), ""
    for entry, fallback in enumerate((None, *one.fallback)):
        if fallback is not None and fallback.uses is None:
            if fallback.output is NOT_TOLD:
                continue
            return Expected(tuple(calls), StepStatus.SUCCEEDED, True, error)
        policy = fallback.retry if fallback is not None else one.retry
        for _ in range(policy.max_attempts):
            calls.append(entry)
            error = left.pop(0) if left else GOOD
            if error == GOOD:
                return Expected(tuple(calls), StepStatus.SUCCEEDED, False, "")
            wanted = not policy.on or error in policy.on
            if error in NEVER or error in policy.not_on or not wanted:
                break
    if one.on_error is OnError.OUTPUT and one.on_error_output is not NOT_TOLD:
        return Expected(tuple(calls), StepStatus.SUCCEEDED, True, error)
    if one.on_error is OnError.OUTPUT:
        error = "expr.error"
    return Expected(tuple(calls), StepStatus.FAILED, False, error)


some_errors = st.lists(st.sampled_from(ERRORS), max_size=2, unique=True).map(tuple)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 4),
    initial_ms=st.sampled_from([0, 100]),
    jitter=st.sampled_from(list(Jitter)),
    on=some_errors,
    not_on=some_errors,
)
REPLACEMENTS = (Fallback(output=template(1)), Fallback(output=NOT_TOLD))
HANDLINGS = (
    (OnError.FAIL, None),
    (OnError.CATCH, None),
    (OnError.OUTPUT, template(2)),
    (OnError.OUTPUT, NOT_TOLD),
)


@st.composite
def steps(draw: st.DrawFn) -> PlanStep:
    entries: list[Fallback] = []
    for is_call in draw(st.lists(st.booleans(), max_size=3)):
        if is_call:
            entries.append(Fallback(uses=ECHO, retry=draw(policies)))
        else:
            entries.append(draw(st.sampled_from(REPLACEMENTS)))
    on_error, output = draw(st.sampled_from(HANDLINGS))
    return step(
        "a",
        retry=draw(policies),
        fallback=tuple(entries),
        on_error=on_error,
        on_error_output=output,
    )


scripts = st.lists(st.sampled_from([GOOD, *ERRORS, *ERRORS]), max_size=14)


def ended(one: PlanStep, outcomes: Sequence[str], lost: Sequence[bool] = ()) -> Harness:
    """The run with these words of executors; `lost` says before which an executor is lost."""
    run, left, losses = Harness(plan_of(one)).start({}), list(outcomes), list(lost)
    while run.state.status not in RUN_TERMINAL:
        if not run.ready():
            timer = [found for found in run.effects if isinstance(found, SetTimer)][-1]
            run.now_ms = timer.due_ms
            fire = cmd.FireTimer(run=RUN, step=timer.step, kind=timer.kind, due_ms=timer.due_ms)
            assert run.when(fire) is None
        elif losses and losses.pop(0):
            attempt = run.assign("a")
            run.when(cmd.LoseAttempt(run=RUN, step=attempt.step, attempt=attempt.attempt))
        elif word := (left.pop(0) if left else GOOD):
            run.fail("a", word)
        else:
            run.succeed("a")
    return run


def calls_of(run: Harness) -> tuple[int, ...]:
    """The entry of each attempt that was not lost, read from the log alone."""
    calls, entry = list[int](), 0
    for event in run.events:
        if isinstance(event, StepAssigned):
            calls.append(entry)
        elif isinstance(event, StepRetryScheduled):
            entry = event.fallback
            if not event.counted:
                calls.pop()
    return tuple(calls)


@given(steps(), scripts)
def test_a_step_does_what_its_definition_says_with_every_word_of_executors(
    one: PlanStep, outcomes: Sequence[str]
) -> None:
    run = ended(one, outcomes)
    state = run.state.steps[StepKey("a")]
    error = state.error.type if state.error is not None else ""
    assert Expected(calls_of(run), state.status, state.recovered, error) == expected(one, outcomes)


@given(steps(), scripts)
def test_a_run_fails_if_and_only_if_a_failure_was_not_handled(
    one: PlanStep, outcomes: Sequence[str]
) -> None:
    run = ended(one, outcomes)
    failed = run.status("a") is StepStatus.FAILED and one.on_error is not OnError.CATCH
    assert run.state.status is (RunStatus.FAILED if failed else RunStatus.SUCCEEDED)
    assert run.refolded() == run.state


@given(steps(), scripts, st.lists(st.booleans(), max_size=6))
def test_lost_executors_change_nothing_but_the_number_of_attempts(
    one: PlanStep, outcomes: Sequence[str], lost: Sequence[bool]
) -> None:
    with_losses, without = ended(one, outcomes, lost), ended(one, outcomes)
    assert calls_of(with_losses) == calls_of(without)
    assert with_losses.status("a") is without.status("a")
    attempts = with_losses.state.steps[StepKey("a")].attempt
    assert attempts >= without.state.steps[StepKey("a")].attempt


def statuses_by_order(seed: int, order: int) -> tuple[RunStatus, dict[str, StepStatus]]:
    """A random graph's end when whatever is open goes on in this random order."""
    flow, chance = random_flow(random.Random(seed), seed, None), random.Random(order)
    run = Harness(flow.plan).start({"list": [1, 2, 3], "no": False})
    while run.state.status not in RUN_TERMINAL:
        ready = run.ready()
        timers = [one for one in run.effects if isinstance(one, SetTimer)]
        if ready and (not timers or chance.random() < 0.7):
            key = StepKey(chance.choice(ready))
            attempt = run.state.steps[key].attempt + 1
            if flow.answer(RUN, key, attempt) is not None:
                run.fail(key)
            else:
                run.succeed(key)
        else:
            for timer in sorted(timers, key=lambda one: one.due_ms):
                run.now_ms = max(run.now_ms, timer.due_ms)
                run.when(
                    cmd.FireTimer(run=RUN, step=timer.step, kind=timer.kind, due_ms=timer.due_ms)
                )
    assert run.state.status is flow.outcome
    assert run.refolded() == run.state
    return run.state.status, {key: one.status for key, one in run.state.steps.items()}


@pytest.mark.parametrize("seed", range(60))
def test_every_order_in_which_steps_go_on_leads_to_the_same_end(seed: int) -> None:
    first = statuses_by_order(seed, 0)
    assert all(statuses_by_order(seed, order) == first for order in range(1, 5))
