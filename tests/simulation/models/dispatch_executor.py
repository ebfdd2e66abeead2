"""What executors do with tasks, effect rows and calls, and how results reach the owner."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tests.simulation.models.dispatch_state import (
    ENDED,
    NOT_BEGUN,
    OUTCOMES,
    Executor,
    Move,
    Outcome,
    Phase,
    RequestStatus,
    Row,
    Rules,
    State,
    after_outcome,
)
from tests.simulation.models.explore import FAULT, PROGRESS, Broken

SECOND_TERMINAL_OUTCOME: Final = "I5 second terminal outcome"
OLD_EPOCH_BEGUN: Final = "REP attempt of an older epoch begun after a newer one was answered"


def executor_moves(state: State, rules: Rules) -> Iterator[Move]:
    for n, phase in enumerate(state.phases):
        if state.tasks_in_flight[n]:
            yield from _task_moves(state, rules, n)
        if phase in OUTCOMES:
            yield from _result_moves(state, rules, n)
        if (moves := MOVES_OF_PHASE.get(phase)) and (state.is_alive(n) or not rules.process_id):
            yield from moves(state, rules, n)


def with_phase(state: State, n: int, phase: Phase) -> State:
    return state._replace(phases=(*state.phases[:n], phase, *state.phases[n + 1 :]))


def with_row(state: State, n: int, phase: Phase, row: Row | None) -> State:
    """One conditional transaction on the effect row, and what the executor knows after it."""
    phases = (*state.phases[:n], phase, *state.phases[n + 1 :])
    return state._replace(phases=phases, row=row)


def with_request(state: State, n: int, request: RequestStatus) -> State:
    return state._replace(requests=(*state.requests[:n], request, *state.requests[n + 1 :]))


def without_task(state: State, n: int) -> State:
    tasks = state.tasks_in_flight
    return state._replace(tasks_in_flight=(*tasks[:n], False, *tasks[n + 1 :]))


def dropped(state: State, n: int) -> State:
    """The attempt is given up without a word: another one has taken its place."""
    return without_task(with_phase(state, n, "idle"), n)


def claim_of(n: int, *, tainted: bool) -> Row:
    return Row("claimed", n, live=True, tainted=tainted)


def failed_before_effect(state: State, n: int) -> State:
    return with_row(state, n, "no_effect", Row("failed_before_effect", n))


def is_my_claim(state: State, n: int) -> bool:
    return state.row is not None and state.row.status == "claimed" and state.row.attempt == n


def may_say_no_effect(state: State, rules: Rules, n: int) -> bool:
    """Only over one's own claim, and only if nobody can have called under it before."""
    if not rules.own_claim:
        return True
    row = state.row
    return row is not None and is_my_claim(state, n) and not (row.tainted and rules.taint)


def unsure(rules: Rules) -> Outcome:
    return "unknown_outcome" if rules.operation == "at_most_once" else "ambiguous"


# --- tasks and results ------------------------------------------------------------------------


def _task_moves(state: State, rules: Rules, n: int) -> Iterator[Move]:
    """Delivery does not consume a task: it may come late, again, and in any order."""
    number, _, epoch = state.attempts[n]
    process, seen = state.executors[number]
    is_idle = state.phases[n] in NOT_BEGUN and state.is_alive(n)
    if is_idle and (epoch >= seen or not rules.refuse_old):
        if epoch < seen and rules.check_old_epochs:
            raise Broken(OLD_EPOCH_BEGUN)
        first, second = state.executors
        aware = Executor(process, max(seen, epoch))
        executors = (aware, second) if number == 0 else (first, aware)
        accepted = with_phase(state, n, "accepted")._replace(executors=executors)
        if not rules.tasks_repeat:
            accepted = without_task(accepted, n)
        yield f"executor {number} accepts attempt {n + 1}", accepted, PROGRESS
    lost = without_task(state, n)
    if n == state.open_attempt and state.belief == "held":
        lost = lost._replace(belief="to_ask")
    yield f"task {n + 1} lost", lost, FAULT


def _result_moves(state: State, rules: Rules, n: int) -> Iterator[Move]:
    """The executor keeps and repeats its result until an acknowledgement comes."""
    outcome = state.phases[n]
    assert outcome in ("success", "no_effect", "ambiguous", "unknown_outcome")
    if n == state.open_attempt:
        for after in after_outcome(state, rules, outcome):
            yield f"result {n + 1} {outcome} accepted -> {after.step}", after, PROGRESS
        forgotten = with_phase(state, n, "forgotten")
        if not rules.durable_ack and state.epoch > 1:
            yield "fenced owner acknowledges what it did not record", forgotten, PROGRESS
        if not rules.ack_epoch and state.attempts[n].epoch > 1:
            yield "fenced owner acknowledges what it does not know", forgotten, PROGRESS
        if not rules.keep:
            yield "executor forgets after sending", forgotten, PROGRESS
        return
    yield f"result {n + 1} rejected and acknowledged", with_phase(state, n, "idle"), PROGRESS
    if not rules.fold_open:
        if state.step in ENDED:
            raise Broken(SECOND_TERMINAL_OUTCOME)
        for after in after_outcome(state, rules, outcome):
            yield f"late result {n + 1} {outcome} accepted -> {after.step}", after, PROGRESS


# --- phases of an attempt ---------------------------------------------------------------------


def _accepted(state: State, rules: Rules, n: int) -> Iterator[Move]:
    yield from _end_before_effect(state, rules, n)
    row, who = state.row, f"attempt {n + 1}"
    first_claim = with_row(state, n, "claimed", claim_of(n, tainted=False))
    if not rules.claim_first and state.requests[n] == "none":
        calling = with_request(with_phase(state, n, "called"), n, "in_flight")
        yield f"{who} calls without a claim", calling, PROGRESS
    elif row is None:
        yield f"{who} claims", first_claim, PROGRESS
    elif row.status == "done":
        if rules.use_done:
            yield f"{who} finds done", with_phase(state, n, "success"), PROGRESS
        else:
            yield f"{who} claims over done", first_claim, PROGRESS
    elif row.status == "failed_before_effect":
        if row.attempt < n or not rules.row_order:
            yield f"{who} claims", first_claim, PROGRESS
        elif row.attempt == n:
            yield f"{who} finds its row closed", with_phase(state, n, "no_effect"), PROGRESS
        else:
            yield f"{who} is superseded", dropped(state, n), PROGRESS
    elif row.attempt == n and rules.own_number_is_mine:
        yield f"{who} takes the claim for its own", with_phase(state, n, "claimed"), PROGRESS
    elif row.attempt > n and rules.row_order:
        yield f"{who} is superseded", dropped(state, n), PROGRESS
    elif not row.live or not rules.wait_live:
        yield _lapsed_claim(state, rules, n)


def _end_before_effect(state: State, rules: Rules, n: int) -> Iterator[Move]:
    """A bad template, a refused connection, a cancel: the attempt ends without a call."""
    row, who = state.row, f"attempt {n + 1}"
    if not rules.verdict_in_row:
        silent = with_phase(state, n, "no_effect")
        yield f"{who} ends before its effect, row untouched", silent, PROGRESS
    elif row is None or (row.status == "failed_before_effect" and row.attempt <= n):
        yield f"{who} writes failed_before_effect", failed_before_effect(state, n), PROGRESS
    elif row.status == "claimed" and row.attempt < n:
        ended = with_phase(state, n, unsure(rules))
        yield f"{who} ends, an older claim is there", ended, PROGRESS


def _lapsed_claim(state: State, rules: Rules, n: int) -> Move:
    who = f"attempt {n + 1}"
    tainted, untainted = claim_of(n, tainted=True), claim_of(n, tainted=False)
    label = f"{who} takes over the lapsed claim"
    match rules.operation:
        case "keyed":
            return label, with_row(state, n, "claimed", tainted), PROGRESS
        case "probed":
            if not rules.probe:
                unprobed = with_row(state, n, "claimed", untainted)
                return f"{who} takes over without a probe", unprobed, PROGRESS
            if rules.probe_after_claim:
                return label, with_row(state, n, "must_probe", tainted), PROGRESS
            found: Phase = "success" if state.effects else "probed_unclaimed"
            return f"{who} probes before it claims", with_phase(state, n, found), PROGRESS
        case "at_most_once":
            if rules.none_unknown:
                unknown = with_phase(state, n, "unknown_outcome")
                return f"{who} finds a lapsed claim", unknown, PROGRESS
            return label, with_row(state, n, "claimed", tainted), PROGRESS


def _probed_unclaimed(state: State, rules: Rules, n: int) -> Iterator[Move]:
    """Control only: the probe came first, the claim comes now."""
    row = state.row
    if row is not None and row.status == "claimed" and not row.live and row.attempt < n:
        claimed = with_row(state, n, "claimed", claim_of(n, tainted=False))
        yield f"attempt {n + 1} takes over after its probe", claimed, PROGRESS


def _must_probe(state: State, rules: Rules, n: int) -> Iterator[Move]:
    row, who = state.row, f"attempt {n + 1}"
    if row is None or not is_my_claim(state, n):
        yield f"{who} has lost its claim", dropped(state, n), PROGRESS
        return
    if state.effects:
        yield f"{who} probes: found", with_row(state, n, "success", Row("done", n)), PROGRESS
    else:
        sure = with_row(state, n, "claimed", row._replace(tainted=False))
        yield f"{who} probes: not found", sure, PROGRESS
    if rules.taint:
        yield f"{who} gives up, claim stays", with_phase(state, n, "ambiguous"), PROGRESS
    else:
        yield f"{who} writes failed_before_effect", failed_before_effect(state, n), PROGRESS


def _claimed(state: State, rules: Rules, n: int) -> Iterator[Move]:
    row, who, mine = state.row, f"attempt {n + 1}", is_my_claim(state, n)
    may_call = not rules.is_timed or (mine and row is not None and row.live)
    if may_call and (state.requests[n] == "none" or not rules.process_id):
        called = with_request(with_phase(state, n, "called"), n, "in_flight")
        yield f"{who} calls", called, PROGRESS
    if may_say_no_effect(state, rules, n):
        yield f"{who} writes failed_before_effect", failed_before_effect(state, n), PROGRESS
    elif mine:
        yield f"{who} gives up, claim stays", with_phase(state, n, "ambiguous"), PROGRESS
    else:
        yield f"{who} has lost its claim", dropped(state, n), PROGRESS


def _called(state: State, rules: Rules, n: int) -> Iterator[Move]:
    request, who = state.requests[n], f"attempt {n + 1}"
    if request == "applied":
        written = is_my_claim(state, n) or not rules.claim_first
        done = with_row(state, n, "success", Row("done", n) if written else state.row)
        yield f"{who} writes done", with_request(done, n, "over"), PROGRESS
    elif request == "rejected":
        answered = with_request(state, n, "over")
        if may_say_no_effect(state, rules, n) or not rules.claim_first:
            closed = failed_before_effect(answered, n)
            yield f"{who} was rejected, failed_before_effect", closed, PROGRESS
        else:
            open_ended = with_phase(answered, n, "ambiguous")
            yield f"{who} was rejected, not its own first claim", open_ended, PROGRESS
    yield f"{who} gives up waiting", with_phase(state, n, unsure(rules)), PROGRESS


MOVES_OF_PHASE: Final[Mapping[Phase, Callable[[State, Rules, int], Iterator[Move]]]] = {
    "accepted": _accepted,
    "probed_unclaimed": _probed_unclaimed,
    "must_probe": _must_probe,
    "claimed": _claimed,
    "called": _called,
}
