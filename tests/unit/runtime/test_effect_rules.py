"""Effect rows as a decision table: what the model of dispatch demands of each single change."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_core.payload import Stored
from headrace_core.workflow.plan_parts import Idempotency
from headrace_runtime.delivery import effect_rules as rules
from headrace_runtime.delivery.effect_rules import (
    Claim,
    Close,
    GiveUp,
    Guard,
    Row,
    RowStatus,
    Written,
)

N = 2
ME, OTHER = "exec-1/1", "exec-2/1"
RESULT = Stored(b"result")
C, D, F = RowStatus.CLAIMED, RowStatus.DONE, RowStatus.FAILED_BEFORE_EFFECT


def row(
    status: RowStatus,
    attempt: int,
    claimant: str = OTHER,
    *,
    live: bool = False,
    tainted: bool = False,
) -> Row:
    return Row(status=status, attempt=attempt, claimant=claimant, live=live, tainted=tainted)


def all_rows() -> Iterator[Row | None]:
    yield None
    for attempt in (1, 2, 3):
        for claimant in (ME, OTHER):
            yield row(D, attempt, claimant)
            yield row(F, attempt, claimant)
            for live in (True, False):
                for tainted in (True, False):
                    yield row(C, attempt, claimant, live=live, tainted=tainted)


ROWS = list(all_rows())


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (None, Claim.CALL),
        (row(F, N - 1), Claim.CALL),
        (row(F, N), Claim.NO_EFFECT),
        (row(F, N + 1), Claim.SUPERSEDED),
        (row(C, N + 1, live=True), Claim.SUPERSEDED),
        (row(C, N + 1), Claim.SUPERSEDED),
        (row(C, N - 1, live=True), Claim.WAIT),
        (row(C, N, live=True), Claim.WAIT),
        (row(D, N - 1), Claim.DONE),
        (row(D, N + 1), Claim.DONE),
    ],
)
def test_what_a_claim_finds_is_the_same_for_every_guard(
    found: Row | None, answer: Claim, guard: Guard
) -> None:
    after, given_answer = rules.claim(found, N, ME, guard)
    assert given_answer is answer
    assert (after is not None) == (answer is Claim.CALL)
    if after is not None:
        assert after == row(C, N, ME, live=True)


@pytest.mark.parametrize("attempt", [N - 1, N])
@pytest.mark.parametrize("tainted", [True, False])
@pytest.mark.parametrize(
    ("guard", "answer"),
    [(Guard.KEY, Claim.CALL_AGAIN), (Guard.PROBE, Claim.PROBE), (Guard.NONE, Claim.UNKNOWN)],
)
def test_a_lapsed_claim_is_taken_over_tainted_or_not_touched(
    guard: Guard, answer: Claim, attempt: int, *, tainted: bool
) -> None:
    after, given_answer = rules.claim(row(C, attempt, tainted=tainted), N, ME, guard)
    assert given_answer is answer
    expected = None if guard is Guard.NONE else row(C, N, ME, live=True, tainted=True)
    assert after == expected


@pytest.mark.parametrize("guard", [Guard.KEY, Guard.PROBE])
@pytest.mark.parametrize("live", [True, False])
def test_a_claim_whose_answer_was_lost_is_read_as_made(guard: Guard, *, live: bool) -> None:
    for before in (None, row(F, 1), row(C, 1)):
        after, answer = rules.claim(before, N, ME, guard)
        assert after is not None
        lost = Row(status=C, attempt=N, claimant=ME, live=live, tainted=after.tainted)
        assert rules.claim(lost, N, ME, guard) == (None, answer)


@pytest.mark.parametrize("found", ROWS)
def test_only_the_holder_writes_the_end_of_its_claim(found: Row | None) -> None:
    mine = found is not None and found.is_claim_of(N, ME)
    done, _ = rules.mark_done(found, N, ME, RESULT)
    failed, _ = rules.mark_failed(found, N, ME)
    assert (done is not None) == mine
    assert (failed is not None) == (mine and found is not None and not found.tainted)
    if done is not None:
        assert (done.status, done.result, done.tainted) == (D, RESULT, False)


@pytest.mark.parametrize("found", ROWS)
def test_no_effect_is_said_only_under_ones_own_closed_number(found: Row | None) -> None:
    after, word = rules.give_up(found, N, ME)
    now = after or found
    if word is GiveUp.NO_EFFECT:
        assert now is not None and now.status is F and now.attempt == N
    _, written = rules.mark_failed(found, N, ME)
    if written is Written.WRITTEN:
        now = rules.mark_failed(found, N, ME)[0] or found
        assert now is not None and now.status is F and (now.attempt, now.claimant) == (N, ME)


@pytest.mark.parametrize("found", ROWS)
def test_a_claim_is_never_closed_by_another_than_its_holder(found: Row | None) -> None:
    for change in (rules.give_up, rules.close):
        after, _ = change(found, N, OTHER)
        if found is not None and found.status is not F:
            assert after is None


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (None, Close.NO_EFFECT),
        (row(F, N - 1), Close.NO_EFFECT),
        (row(F, N), Close.NO_EFFECT),
        (row(C, N, live=True), Close.UNKNOWN),
        (row(C, N - 1), Close.UNKNOWN),
        (row(D, N), Close.DONE),
    ],
)
def test_the_scheduler_reads_a_verdict_out_of_the_row(found: Row | None, word: Close) -> None:
    after, given_word = rules.close(found, N, "scheduler")
    assert given_word is word
    if word is Close.NO_EFFECT:
        assert after == row(F, N, "scheduler")
        assert rules.claim(after, N, ME, Guard.KEY) == (None, Claim.NO_EFFECT)
    else:
        assert after is None


def test_a_probe_that_found_nothing_makes_the_claim_an_ordinary_one() -> None:
    claimed, answer = rules.claim(row(C, 1), N, ME, Guard.PROBE)
    assert answer is Claim.PROBE and claimed is not None and claimed.tainted
    assert rules.mark_failed(claimed, N, ME) == (None, Written.REFUSED)
    clean, written = rules.untaint(claimed, N, ME)
    assert written is Written.WRITTEN and clean is not None
    assert rules.mark_failed(clean, N, ME)[1] is Written.WRITTEN
    assert rules.untaint(clean, N, OTHER) == (None, Written.REFUSED)


def test_a_lapsed_claim_can_be_renewed_unless_somebody_took_it() -> None:
    assert rules.renew(row(C, N, ME), N, ME) == (row(C, N, ME, live=True), Written.WRITTEN)
    taken, _ = rules.claim(row(C, N, ME), N + 1, OTHER, Guard.KEY)
    assert rules.renew(taken, N, ME) == (None, Written.REFUSED)


@pytest.mark.parametrize(
    ("idempotency", "guard"),
    [
        (Idempotency.NONE, Guard.NONE),
        (Idempotency.HEADER, Guard.KEY),
        (Idempotency.NATURAL, Guard.KEY),
        (Idempotency.PROBE, Guard.PROBE),
    ],
)
def test_an_operations_descriptor_says_what_guards_it(
    idempotency: Idempotency, guard: Guard
) -> None:
    assert Guard.of(idempotency) is guard


Change = Callable[[Row | None], tuple[Row | None, object]]


def changes(attempt: int, claimant: str) -> list[Change]:
    return [
        *(lambda row, g=guard: rules.claim(row, attempt, claimant, g) for guard in Guard),
        lambda row: rules.mark_done(row, attempt, claimant, RESULT),
        lambda row: rules.mark_failed(row, attempt, claimant),
        lambda row: rules.untaint(row, attempt, claimant),
        lambda row: rules.renew(row, attempt, claimant),
        lambda row: rules.give_up(row, attempt, claimant),
        lambda row: rules.close(row, attempt, "scheduler"),
    ]


LAPSE = -1
steps = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([ME, OTHER]), st.integers(LAPSE, 8)),
    max_size=20,
)


@given(steps)
def test_whatever_happens_a_row_never_goes_back(history: list[tuple[int, str, int]]) -> None:
    found: Row | None = None
    for attempt, claimant, number in history:
        if number == LAPSE:
            if found is not None:
                found = row(found.status, found.attempt, found.claimant, tainted=found.tainted)
            continue
        after, _ = changes(attempt, claimant)[number](found)
        if after is None:
            continue
        if found is not None:
            assert after.attempt >= found.attempt, "attempts only grow"
            assert found.status is not D, "done is final"
            if found.status is C and after.status is F:
                assert found.is_claim_of(after.attempt, after.claimant) and not found.tainted
            if found.status is C and not found.is_claim_of(after.attempt, after.claimant):
                assert not found.live and after.tainted, "only a lapsed claim changes hands"
        found = after


@given(st.sampled_from(ROWS), st.integers(1, 3), st.sampled_from([ME, OTHER]), st.integers(0, 8))
def test_a_change_that_is_repeated_answers_the_same_and_changes_nothing_more(
    found: Row | None, attempt: int, claimant: str, number: int
) -> None:
    change = changes(attempt, claimant)[number]
    after, answer = change(found)
    again, answer_again = change(after or found)
    assert answer_again == answer
    assert (again or after or found) == (after or found)
