"""What owners of the partition do: claims, assignments, suspicion, verdicts by the row, cancel."""

from collections.abc import Iterator
from typing import Final

from tests.simulation.models.dispatch_state import (
    NOT_BEGUN,
    OUTCOMES,
    Attempt,
    Belief,
    Move,
    Outcome,
    Row,
    Rules,
    State,
    Verdict,
    after_outcome,
)
from tests.simulation.models.explore import FAULT, PROGRESS, Broken

ASSIGNED_AFTER_CANCEL: Final = "I4 assigned after cancel"
TASK_OF_A_VOID_RECORD: Final = "I8 a task was accepted whose record is void"


def scheduler_moves(state: State, rules: Rules) -> Iterator[Move]:
    """All moves of the current owner, and of a fenced one what it can still do to the row."""
    undecided = state.step in ("ready", "assigned")
    if undecided and state.epoch < rules.claims:
        belief: Belief = "to_ask" if state.step == "assigned" else "none"
        claimed = state._replace(epoch=state.epoch + 1, verdict=None, belief=belief)
        yield "new owner claims", claimed, FAULT
    if state.step == "ready":
        yield from _assign(state, rules)
    yield from _ask_executors(state)
    if rules.lost_rule:
        yield from _declare_lost(state, rules)
        yield from _ask_the_row(state, rules)
    if state.verdict is not None:
        for after in after_outcome(state, rules, state.verdict.outcome):
            yield f"verdict appended -> {after.step}", after, PROGRESS
    if undecided and rules.close_in_row:
        yield from _fenced_owner_closes_the_row(state)
    if undecided and rules.may_cancel and not state.is_cancelled:
        yield "cancel", _cancelled(state, rules), FAULT


def _assign(state: State, rules: Rules) -> Iterator[Move]:
    made = len(state.attempts)
    if made < rules.max_attempts and not (state.is_cancelled and rules.no_assign_cancelled):
        if state.is_cancelled:
            raise Broken(ASSIGNED_AFTER_CANCEL)
        # The first attempt may as well go to executor 0: the two are alike.
        for number in (0, 1) if made else (0,):
            attempt = Attempt(number, state.executors[number].process, state.epoch)
            after = state._replace(
                step="assigned",
                belief="held",
                verdict=None,
                attempts=(*state.attempts, attempt),
                tasks_in_flight=(*state.tasks_in_flight, True),
                phases=(*state.phases, "idle"),
                requests=(*state.requests, "none"),
            )
            yield f"attempt {made + 1} assigned to executor {number}", after, PROGRESS
    has_unaware = any(executor.epoch_seen < state.epoch for executor in state.executors)
    if not rules.record_first and state.epoch > 1 and has_unaware:
        raise Broken(TASK_OF_A_VOID_RECORD)


def _ask_executors(state: State) -> Iterator[Move]:
    """The owner announces its epoch; an answer also says which attempts are open there."""
    open_attempt = state.open_attempt
    for number, executor in enumerate(state.executors):
        is_here = open_attempt is not None and state.attempts[open_attempt].executor == number
        if executor.epoch_seen >= state.epoch and not (is_here and state.belief == "to_ask"):
            continue
        belief = state.belief
        if open_attempt is not None and is_here:
            has_begun = state.phases[open_attempt] not in NOT_BEGUN
            belief = "held" if state.is_alive(open_attempt) and has_begun else "missing"
        answered = executor._replace(epoch_seen=state.epoch)
        first, second = state.executors
        executors = (answered, second) if number == 0 else (first, answered)
        label = f"executor {number} answers epoch {state.epoch}"
        yield label, state._replace(executors=executors, belief=belief), PROGRESS


def _is_surely_lost(state: State, attempt: int) -> bool:
    return state.belief == "missing" or not state.is_alive(attempt)


def _declare_lost(state: State, rules: Rules) -> Iterator[Move]:
    """Suspicion may be wrong at any time: the executor may only be slow. Then it is a fault."""
    n = state.open_attempt
    if n is None or len(state.attempts) >= rules.max_attempts or state.is_cancelled:
        return
    phase = state.phases[n]
    late = "" if phase == "idle" else ", it still runs"
    if phase in OUTCOMES:
        late = ", its result waits"
    after = state._replace(step="ready", belief="none", verdict=None)
    yield f"attempt {n + 1} declared lost{late}", after, not _is_surely_lost(state, n)


def _ask_the_row(state: State, rules: Rules) -> Iterator[Move]:
    """Lost for good, deadline, cancel grace: the row decides, then its verdict is appended."""
    n = state.open_attempt
    if n is None and state.step == "ready" and state.is_cancelled and state.attempts:
        n = len(state.attempts) - 1
    if n is None or state.verdict is not None:
        return
    is_fault = not (state.is_cancelled or _is_surely_lost(state, n))
    row = state.row
    if row is None or row.status == "failed_before_effect":
        closed = Row("failed_before_effect", n) if rules.close_in_row else row
        label = "owner closes the row" if rules.close_in_row else "owner reads no claim"
        yield label, state._replace(row=closed, verdict=Verdict(n, "no_effect")), is_fault
        return
    # An ambiguous verdict is always true and done is final: to read and to append is one move.
    outcome: Outcome = "unknown_outcome" if rules.operation == "at_most_once" else "ambiguous"
    if row.status == "done":
        outcome = "success"
    for after in after_outcome(state, rules, outcome):
        yield f"owner reads the row {row.status}, appends -> {after.step}", after, is_fault


def _fenced_owner_closes_the_row(state: State) -> Iterator[Move]:
    """A row transaction that an owner had decided on before it was fenced."""
    row = state.row
    for n, attempt in enumerate(state.attempts):
        if attempt.epoch < state.epoch and (
            row is None or (row.status == "failed_before_effect" and row.attempt < n)
        ):
            closed = state._replace(row=Row("failed_before_effect", n))
            yield "fenced owner closes the row", closed, FAULT


def _cancelled(state: State, rules: Rules) -> State:
    """A step that was never assigned ends at once; any other one waits for its last attempt."""
    after = state._replace(is_cancelled=True, verdict=None)
    if state.step == "ready" and (not state.attempts or not rules.close_in_row):
        return after._replace(step="cancelled")
    return after
