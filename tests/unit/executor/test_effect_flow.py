"""The decision table of effects at the executor: every combination, and what it promises."""

import asyncio
import itertools
from dataclasses import dataclass

import pytest

from headrace_core.payload import NOTHING, Stored
from headrace_core.workflow.plan_parts import Action, Effect, Idempotency
from headrace_executor.app.effects import Effects, Ruled
from headrace_executor.app.limits import Limits
from headrace_executor.domain import effect_flow as flow
from headrace_executor.domain.effect_flow import Next, Say, Settle, Word
from headrace_runtime.delivery.effect_rules import Claim, GiveUp, Guard, Row, RowStatus
from headrace_runtime.delivery.effects import EffectKey
from headrace_worker.messages import Outcome
from tests.support.attempts import QUICK, action, attempt, task
from tests.support.effect_rows import RowsInMemory
from tests.support.run_harness import plan_of, step

S, F, A, U, C = (
    Outcome.SUCCEEDED,
    Outcome.FAILED,
    Outcome.AMBIGUOUS,
    Outcome.UNKNOWN,
    Outcome.CANCELLED,
)
READS = (Effect.NONE, Effect.READ)
WRITES = (Effect.WRITE, Effect.DESTRUCTIVE)
KEYED = (Idempotency.HEADER, Idempotency.NATURAL)
AT_MOST_ONCE = (Idempotency.NONE, Idempotency.PROBE)
GUARDS = (Guard.KEY, Guard.NONE)

# Word: (reads, keyed untouched, keyed perhaps acted, at most once untouched, perhaps acted)
WORDS = {
    Word.SUCCESS: (S, S, S, S, S),
    Word.RETRY: (F, F, A, F, U),
    Word.RATE_LIMITED: (F, F, A, F, U),
    Word.AUTH_EXPIRED: (F, F, A, F, U),
    Word.PERMANENT: (F, F, A, F, U),
    Word.UNKNOWN_OUTCOME: (F, U, U, U, U),
    Word.CANCELLED: (C, C, A, C, U),
    Word.SILENCE: (F, F, A, F, U),
}
ACTIONS = [action("x.y", effect, how) for effect in Effect for how in Idempotency]


def column(of: Action, *, acted: bool) -> int:
    if of.effect in READS:
        return 0
    return (1 if of.idempotency in KEYED else 3) + acted


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("of", ACTIONS, ids=lambda of: f"{of.effect}-{of.idempotency}")
@pytest.mark.parametrize("word", Word)
def test_each_word_of_the_far_side_has_its_outcome(word: Word, of: Action, acted: bool) -> None:
    said = flow.outcome_of(word, may_have_acted=acted, action=of)
    assert said is WORDS[word][column(of, acted=acted)]


@pytest.mark.parametrize(
    ("begun", "cancelled"), list(itertools.product([False, True], [False, True]))
)
@pytest.mark.parametrize("of", ACTIONS, ids=lambda of: f"{of.effect}-{of.idempotency}")
def test_a_call_that_is_cut_off_promises_nothing_once_it_had_begun(
    of: Action, begun: bool, cancelled: bool
) -> None:
    if begun and of.effect in WRITES:
        expected = A if of.idempotency in KEYED else U
    else:
        expected = C if cancelled else F
    assert flow.cut_off(of, begun=begun, cancelled=cancelled) is expected


def test_a_key_is_given_to_what_changes_something_and_takes_it() -> None:
    for of in ACTIONS:
        assert flow.needs_row(of) == (of.effect in WRITES)
        assert flow.takes_key(of) == (of.effect in WRITES and of.idempotency in KEYED)


def test_what_can_only_be_probed_is_called_at_most_once() -> None:
    assert {how: flow.guard_of(how) for how in Idempotency} == {
        Idempotency.NONE: Guard.NONE,
        Idempotency.HEADER: Guard.KEY,
        Idempotency.NATURAL: Guard.KEY,
        Idempotency.PROBE: Guard.NONE,
    }


@pytest.mark.parametrize(
    ("claim", "keyed", "at_most_once"),
    [
        (Claim.CALL, Next.CALL, Next.CALL),
        (Claim.CALL_AGAIN, Next.CALL, Next.CALL),
        (Claim.WAIT, Next.WAIT, Next.WAIT),
        (Claim.DONE, flow.STORED, flow.STORED),
        (Claim.NO_EFFECT, Say(C), Say(C)),
        (Claim.UNKNOWN, Say(U), Say(U)),
        (Claim.SUPERSEDED, Say(A), Say(U)),
    ],
)
def test_a_claims_answer_leads_on_or_ends_the_attempt(
    claim: Claim, keyed: Next | Say, at_most_once: Next | Say
) -> None:
    assert flow.after_claim(claim, Guard.KEY) == keyed
    assert flow.after_claim(claim, Guard.NONE) == at_most_once


def test_a_probe_is_never_asked_for() -> None:
    for guard in GUARDS:
        with pytest.raises(AssertionError, match="probe"):
            flow.after_claim(Claim.PROBE, guard)


def test_the_row_hears_of_every_end_of_a_call() -> None:
    assert {outcome: flow.after_call(outcome) for outcome in Outcome} == {
        S: Settle.DONE,
        F: Settle.FAILED,
        C: Settle.FAILED,
        A: Settle.RELEASE,
        U: Settle.KEEP,
    }


@pytest.mark.parametrize("wanted", [F, C])
@pytest.mark.parametrize(
    ("word", "keyed", "at_most_once"),
    [
        (GiveUp.NO_EFFECT, None, None),
        (GiveUp.DONE, flow.STORED, flow.STORED),
        (GiveUp.UNSURE, Say(A), Say(U)),
        (GiveUp.SUPERSEDED, Say(A), Say(U)),
    ],
)
def test_an_attempt_without_a_call_says_what_it_wants_only_with_its_row_closed(
    word: GiveUp, keyed: Say | None, at_most_once: Say | None, wanted: Outcome
) -> None:
    assert flow.after_give_up(word, wanted, Guard.KEY) == (keyed or Say(wanted))
    assert flow.after_give_up(word, wanted, Guard.NONE) == (at_most_once or Say(wanted))


def test_a_refused_failure_is_what_the_row_says_of_the_step() -> None:
    for row in (None, *rows()):
        done = row is not None and row.status is RowStatus.DONE
        assert flow.after_refusal(row, Guard.KEY) == (flow.STORED if done else Say(A))
        assert flow.after_refusal(row, Guard.NONE) == (flow.STORED if done else Say(U))


# The whole flow over every row that an attempt may find, by the real rules of rows.

MINE, RESULT = 5, Stored(b"an earlier attempt's result")
PLAN = plan_of(step("pay"))
TASK = task(attempt("pay", MINE), PLAN)
AT = EffectKey.of(TASK.attempt.tenant, TASK.attempt.run, TASK.attempt.step)
DONE_NOW = Stored(b"this call's result")


def rows() -> list[Row | None]:
    found: list[Row | None] = [None]
    for status, number in itertools.product(RowStatus, (MINE - 1, MINE, MINE + 1)):
        result = RESULT if status is RowStatus.DONE else NOTHING
        claimed = status is RowStatus.CLAIMED
        for live, tainted in itertools.product([False, True], repeat=2):
            if claimed or not (live or tainted):
                found.append(
                    Row(
                        status=status,
                        attempt=number,
                        claimant="another",
                        live=live,
                        tainted=tainted,
                        result=result,
                    )
                )
    return found


@dataclass(slots=True)
class Seen:
    """What came of one attempt: its word, whether it called, and the row then and now."""

    ruled: Ruled
    called_under: Row | None
    row: Row | None


async def attempted(before: Row | None, guard: Guard, ends: Outcome, taken_over: bool) -> Seen:
    """The call, if there is one, ends so; `taken_over`: the claim is another's by then."""
    store = RowsInMemory({} if before is None else {AT: before})
    effect = Effects(store, lambda: "me", QUICK).of(TASK, guard)

    async def lapses() -> None:
        await store.until("claim", 2)
        if AT in store.rows:
            store.lapse(AT)

    lapsing = asyncio.create_task(lapses())
    ruled = await effect.claim(Limits(0))
    lapsing.cancel()
    if ruled is not None:
        return Seen(ruled, None, store.rows.get(AT))
    under = store.rows[AT]
    if taken_over:
        store.rows[AT] = Row(
            status=RowStatus.CLAIMED, attempt=MINE + 1, claimant="next", live=True, tainted=True
        )
    ruled = await effect.settle(ends, DONE_NOW)
    return Seen(ruled, under, store.rows[AT])


@pytest.mark.parametrize("taken_over", [False, True])
@pytest.mark.parametrize(
    ("guard", "ends"),
    [(guard, ends) for guard in GUARDS for ends in Outcome if guard is Guard.KEY or ends is not A],
)
async def test_no_row_lets_an_attempt_promise_too_much(
    guard: Guard, ends: Outcome, taken_over: bool
) -> None:
    for before in rows():
        seen = await attempted(before, guard, ends, taken_over)
        check(before, seen, guard, ends, taken_over)


def check(before: Row | None, seen: Seen, guard: Guard, ends: Outcome, taken_over: bool) -> None:
    said, row = seen.ruled.say, seen.row
    if seen.called_under is not None:
        under = seen.called_under
        assert under.is_claim_of(MINE, "me"), "nothing is called but under the own claim"
        assert before is None or before.status is not RowStatus.DONE, "done once is done"
        if before is not None and before.status is RowStatus.CLAIMED:
            assert under.tainted and guard is Guard.KEY, "a repeat needs the same key"
    if said.outcome in (F, C):
        assert row is not None and row.status is RowStatus.FAILED_BEFORE_EFFECT
        assert row.attempt == MINE, "no effect is said only with the own row closed"
    if said.stored:
        assert seen.ruled.result == RESULT
    elif said.outcome is S:
        assert seen.called_under is not None and ends is S
    if said.outcome is A:
        assert guard is Guard.KEY
    if ends is U and seen.called_under is not None:
        assert said.outcome is U, "what is unknown stays so"
    if said.outcome is A and row is not None and row.is_claim_of(MINE, "me") and ends is A:
        assert not row.live, "a repeat under the same key need not wait"
    if said.outcome is S and row is not None and not taken_over:
        assert row.status is RowStatus.DONE


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("wanted", [F, C])
@pytest.mark.parametrize("asked_before", [False, True])
async def test_an_attempt_that_ends_before_its_call_closes_its_row_or_is_unsure(
    guard: Guard, wanted: Outcome, asked_before: bool
) -> None:
    for before in rows():
        store = RowsInMemory({} if before is None else {AT: before})
        effect = Effects(store, lambda: "me", QUICK).of(TASK, guard)
        if asked_before:
            # The statement landed, its answer did not come, and then the time was up.
            store.away = 1
            limits = Limits(0)
            claiming = asyncio.create_task(effect.claim(limits))
            await store.until("claim")
            claiming.cancel()
            await asyncio.gather(claiming, return_exceptions=True)
            if before is None:
                mine = Row(status=RowStatus.CLAIMED, attempt=MINE, claimant="me", live=True)
                store.rows[AT] = mine
        ruled = await effect.end_without_call(wanted)
        row = store.rows[AT]
        if ruled.say.outcome is wanted:
            assert (row.status, row.attempt) == (RowStatus.FAILED_BEFORE_EFFECT, MINE)
        elif ruled.say.stored:
            assert before is not None and before.status is RowStatus.DONE
            assert ruled.result == RESULT
        else:
            assert ruled.say.outcome is flow.unsure(guard)
            assert row == before, "another's row is left as it is"
