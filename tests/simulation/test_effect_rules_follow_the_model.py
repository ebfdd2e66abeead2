"""The decision table of effect rows moves a row exactly as the checked model does."""

from collections.abc import Iterator

import pytest

from headrace_core.payload import NOTHING
from headrace_runtime.delivery import effect_rules as rules
from headrace_runtime.delivery.effect_rules import Claim, GiveUp, Guard, RowStatus
from tests.simulation.models.dispatch_executor import MOVES_OF_PHASE
from tests.simulation.models.dispatch_state import (
    Attempt,
    Phase,
    RequestStatus,
    Row,
    Rules,
    State,
)

ATTEMPTS = 3
RULES = {
    Guard.KEY: Rules(operation="keyed"),
    Guard.PROBE: Rules(operation="probed"),
    Guard.NONE: Rules(operation="at_most_once"),
}
End = tuple[Row | None, Phase]


def claimant(attempt: int) -> str:
    return f"acceptance of {attempt}"


def table_row(row: Row | None) -> rules.Row | None:
    """The model numbers attempts from 0 and knows a claim's holder by its attempt."""
    if row is None:
        return None
    return rules.Row(
        status=RowStatus[row.status.upper()],
        attempt=row.attempt,
        claimant=claimant(row.attempt),
        live=row.live,
        tainted=row.tainted,
    )


def model_rows() -> Iterator[Row | None]:
    yield None
    for attempt in range(ATTEMPTS):
        yield Row("done", attempt)
        yield Row("failed_before_effect", attempt)
        for live in (True, False):
            for tainted in (True, False):
                yield Row("claimed", attempt, live, tainted)


def same(ours: rules.Row | None, model: Row | None) -> bool:
    """The lease of a row that is closed says nothing, in either."""
    return table_row(model) == ours


def model_ends(
    row: Row | None, n: int, phase: Phase, guard: Guard, request: RequestStatus = "none"
) -> set[End]:
    phases: list[Phase] = ["idle"] * ATTEMPTS
    phases[n] = phase
    requests: list[RequestStatus] = ["none"] * ATTEMPTS
    requests[n] = request
    state = State(
        step="assigned",
        attempts=tuple(Attempt(0, 0, 1) for _ in range(ATTEMPTS)),
        tasks_in_flight=(False,) * ATTEMPTS,
        phases=tuple(phases),
        requests=tuple(requests),
        row=row,
    )
    moves = MOVES_OF_PHASE[phase](state, RULES[guard], n)
    return {(after.row, after.phases[n]) for _, after, _ in moves}


CLAIM_PHASES: dict[Claim, Phase] = {
    Claim.CALL: "claimed",
    Claim.CALL_AGAIN: "claimed",
    Claim.PROBE: "must_probe",
    Claim.DONE: "success",
    Claim.NO_EFFECT: "no_effect",
    Claim.SUPERSEDED: "idle",
    Claim.UNKNOWN: "unknown_outcome",
}


def unsure(guard: Guard) -> Phase:
    return "unknown_outcome" if guard is Guard.NONE else "ambiguous"


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("n", range(ATTEMPTS))
def test_an_accepted_attempt_meets_every_row_as_in_the_model(guard: Guard, n: int) -> None:
    for row in model_rows():
        found = table_row(row)
        # Another acceptance of the same number is another's claim; see `effect_rules`.
        mine = f"{claimant(n)}, again" if row and row.attempt == n else claimant(n)
        expected = model_ends(row, n, "accepted", guard)
        after, claim = rules.claim(found, n, mine, guard)
        if claim is not Claim.WAIT:
            assert any(
                phase == CLAIM_PHASES[claim] and _moved_alike(found, after, row, model)
                for model, phase in expected
            ), (row, claim, expected)
        after, word = rules.give_up(found, n, mine)
        if word is GiveUp.NO_EFFECT:
            assert any(
                phase == "no_effect" and model == Row("failed_before_effect", n)
                for model, phase in expected
            )
            assert after is not None and after.attempt == n
        elif word is GiveUp.UNSURE and row is not None and row.attempt < n:
            assert (row, unsure(guard)) in expected
        says_no_effect = word is GiveUp.NO_EFFECT or claim is Claim.NO_EFFECT
        assert says_no_effect == any(phase == "no_effect" for _, phase in expected)


def _moved_alike(
    before: rules.Row | None, after: rules.Row | None, row: Row | None, model: Row | None
) -> bool:
    if after is None:
        return model == row and before == table_row(row)
    renamed = rules.Row(
        status=after.status,
        attempt=after.attempt,
        claimant=claimant(after.attempt),
        live=after.live,
        tainted=after.tainted,
    )
    return same(renamed, model)


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("n", range(ATTEMPTS))
def test_whoever_has_claimed_ends_its_claim_as_in_the_model(guard: Guard, n: int) -> None:
    for row in model_rows():
        found, mine = table_row(row), claimant(n)
        ends = model_ends(row, n, "claimed", guard)
        failed, _ = rules.mark_failed(found, n, mine)
        assert (failed is not None) == any(phase == "no_effect" for _, phase in ends)
        if failed is not None:
            assert any(same(failed, model) for model, phase in ends if phase == "no_effect")
        applied = model_ends(row, n, "called", guard, "applied")
        done, _ = rules.mark_done(found, n, mine, NOTHING)
        written = [model for model, phase in applied if phase == "success"]
        assert any(same(done or found, model) for model in written)


@pytest.mark.parametrize("n", range(ATTEMPTS))
def test_a_probe_that_finds_nothing_cleans_the_claim_as_in_the_model(n: int) -> None:
    for row in model_rows():
        ends = model_ends(row, n, "must_probe", Guard.PROBE)
        after, _ = rules.untaint(table_row(row), n, claimant(n))
        cleaned = [model for model, phase in ends if phase == "claimed"]
        if row is not None and row.status == "claimed" and row.attempt == n:
            assert any(same(after or table_row(row), model) for model in cleaned)
        else:
            assert after is None and not cleaned
