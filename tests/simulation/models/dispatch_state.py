"""The state of the dispatch model, its rules, and what two equal futures have in common."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from tests.simulation.models.explore import Move as MoveOf

Outcome = Literal["success", "no_effect", "ambiguous", "unknown_outcome"]
StepStatus = Literal["ready", "assigned", "succeeded", "failed", "unknown", "cancelled"]
# "held": the executor runs the attempt; "to_ask": the owner must ask; "missing": it has said no
Belief = Literal["none", "held", "to_ask", "missing"]
# an outcome as phase: the executor keeps this result until it is acknowledged
Phase = (
    Literal["idle", "accepted", "must_probe", "probed_unclaimed", "claimed", "called", "forgotten"]
    | Outcome
)
# "over": nobody waits for the answer any more, and none comes
RequestStatus = Literal["none", "in_flight", "applied", "rejected", "over"]

OUTCOMES: Final = frozenset({"success", "no_effect", "ambiguous", "unknown_outcome"})
ENDED: Final = frozenset({"succeeded", "failed", "unknown", "cancelled"})
CACHED_PARTS_MAX: Final = 65_536
ANSWERED: Final = frozenset({"applied", "rejected"})
NOT_BEGUN: Final = frozenset({"idle", "forgotten"})


class Attempt(NamedTuple):
    """What the record of an assignment says."""

    executor: int
    process: int
    epoch: int


class Executor(NamedTuple):
    process: int = 0
    epoch_seen: int = 0


Attempts = tuple[Attempt, ...]
Executors = tuple[Executor, Executor]


class Row(NamedTuple):
    """The step's effect row. `live`: its lease has not lapsed; `tainted`: claimed over a lapse."""

    status: Literal["claimed", "done", "failed_before_effect"]
    attempt: int
    live: bool = False
    tainted: bool = False


class Verdict(NamedTuple):
    """What a row transaction of the owner has found, but which is not yet in the log."""

    attempt: int
    outcome: Outcome


class State(NamedTuple):
    """Everything per attempt is a tuple with the attempt's index, which is its number less one."""

    epoch: int = 1
    step: StepStatus = "ready"
    attempts: Attempts = ()
    is_cancelled: bool = False
    belief: Belief = "none"
    verdict: Verdict | None = None
    tasks_in_flight: tuple[bool, ...] = ()
    phases: tuple[Phase, ...] = ()
    executors: Executors = (Executor(), Executor())
    row: Row | None = None
    effects: int = 0
    requests: tuple[RequestStatus, ...] = ()
    crashes_left: int = 0

    @property
    def open_attempt(self) -> int | None:
        return len(self.attempts) - 1 if self.step == "assigned" else None

    def is_alive(self, attempt: int) -> bool:
        """Whether the process that the attempt was assigned to still runs."""
        executor, process, _ = self.attempts[attempt]
        return self.executors[executor].process == process


Move = MoveOf[State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The protocol as designed, and the bounds of the model; a control turns one rule off."""

    # keyed: takes our key, the world applies a key once; probed: can be asked; else neither
    operation: Literal["keyed", "probed", "at_most_once"]
    claims: int = 3
    max_attempts: int = 2
    crashes: int = 1
    may_cancel: bool = True
    is_timed: bool = False  # a claim lapses only when no request of its holder can take effect
    tasks_repeat: bool = True

    row_order: bool = True  # a claim is for an attempt above the row's, never over a higher one's
    verdict_in_row: bool = True  # an executor says "no effect" only after it has written so
    close_in_row: bool = True  # the owner ends a started step only after it has closed the row
    taint: bool = (
        True  # a claim over a lapsed one never becomes failed_before_effect, unless probed
    )
    own_claim: bool = True  # failed_before_effect is written only over one's own claim
    claim_first: bool = True  # no call before the claim is committed
    wait_live: bool = True  # a live claim is waited for
    probe: bool = True
    probe_after_claim: bool = True
    none_unknown: bool = True  # at most once: a lapsed claim is an unknown outcome
    same_key: bool = True  # all attempts of a step call with one key
    use_done: bool = True  # a row that is done is the result
    process_id: bool = True  # an attempt is for one process; a restarted executor has another id
    own_number_is_mine: bool = False  # a row claimed under my number counts as my claim
    refuse_old: bool = True  # executors refuse tasks below the highest epoch that they have seen
    record_first: bool = True  # a task leaves in the wake of its accepted record
    fold_open: bool = True  # the fold takes results of open attempts only
    durable_ack: bool = True  # a result is acknowledged when a record of it is accepted
    ack_epoch: bool = True  # an acknowledgement of an older epoch than the task's is ignored
    no_assign_cancelled: bool = True
    lost_rule: bool = True  # an attempt that nobody reports is declared lost
    keep: bool = True  # an executor keeps a result until it is acknowledged
    check_old_epochs: bool = True  # whether to report an attempt begun for an older epoch


def after_outcome(state: State, rules: Rules, outcome: Outcome) -> list[State]:
    """Where the step may be after its open attempt has ended so, by one accepted record."""
    more = len(state.attempts) < rules.max_attempts and not state.is_cancelled
    steps: tuple[StepStatus, ...]
    match outcome:
        case "success":
            steps = ("succeeded",)
        case "unknown_outcome":
            steps = ("unknown",)
        case "ambiguous":
            steps = ("ready",) if more else ("unknown",)
        case "no_effect":
            steps = ("ready", "failed") if more else ("failed",)
            if state.is_cancelled:
                steps = ("cancelled",)
    return [state._replace(step=step, belief="none", verdict=None) for step in steps]


def normalised(state: State, rules: Rules) -> State:
    """Drop what can no longer matter, so that equal futures are one state."""
    is_over = state.step in ENDED
    attempts, executors = state.attempts, state.executors
    tasks, phases, requests = _per_attempt_what_matters(
        attempts,
        executors,
        state.tasks_in_flight,
        state.phases,
        state.requests,
        state.open_attempt,
        rules.fold_open,
    )
    if is_over:
        attempts, executors = _without_epochs(attempts, executors)
    elif rules.record_first and rules.ack_epoch:
        attempts, executors = _with_epochs_that_matter(
            state.epoch, attempts, executors, tasks, state.open_attempt
        )
    # After the end nothing is decided; late tasks may still be accepted, and nobody refuses them.
    return State(
        0 if is_over else state.epoch,
        state.step,
        attempts,
        not is_over and state.is_cancelled,
        "none" if is_over else state.belief,
        None if is_over else state.verdict,
        tasks,
        phases,
        executors,
        state.row,
        state.effects,
        requests,
        state.crashes_left,
    )


# Cached, because few combinations of these parts make up the many states.
@lru_cache(maxsize=CACHED_PARTS_MAX)
def _per_attempt_what_matters(
    attempts: Attempts,
    executors: Executors,
    tasks_in_flight: tuple[bool, ...],
    phases: tuple[Phase, ...],
    requests: tuple[RequestStatus, ...],
    open_attempt: int | None,
    fold_open: bool,
) -> tuple[tuple[bool, ...], tuple[Phase, ...], tuple[RequestStatus, ...]]:
    tasks, kept_phases, kept_requests = list(tasks_in_flight), list(phases), list(requests)
    for n, (executor, process, _) in enumerate(attempts):
        is_alive = executors[executor].process == process
        phase, request = phases[n], requests[n]
        if not is_alive:
            tasks[n] = False
        is_awaited = is_alive and phase == "called"
        if request == "over" or (request in ANSWERED and not is_awaited):
            kept_requests[n] = "none"
        # a closed attempt's result is acknowledged; what is left is a repeated task
        if n != open_attempt and (phase == "forgotten" or (fold_open and phase in OUTCOMES)):
            kept_phases[n] = "idle"
    return tuple(tasks), tuple(kept_phases), tuple(kept_requests)


@lru_cache(maxsize=CACHED_PARTS_MAX)
def _without_epochs(attempts: Attempts, executors: Executors) -> tuple[Attempts, Executors]:
    first, second = executors
    return (
        tuple(Attempt(executor, process, 0) for executor, process, _ in attempts),
        (Executor(first.process), Executor(second.process)),
    )


@lru_cache(maxsize=CACHED_PARTS_MAX)
def _with_epochs_that_matter(
    epoch_now: int,
    attempts: Attempts,
    executors: Executors,
    tasks_in_flight: tuple[bool, ...],
    open_attempt: int | None,
) -> tuple[Attempts, Executors]:
    """The highest epoch seen matters only against older tasks in flight; the epoch of an attempt
    only for its task, and as "older than now"."""
    kept_executors = list(executors)
    for number, (process, seen) in enumerate(executors):
        if seen >= epoch_now:
            continue
        older = [
            attempt.epoch
            for attempt, in_flight in zip(attempts, tasks_in_flight, strict=True)
            if in_flight and attempt.executor == number and attempt.epoch < epoch_now
        ]
        if not any(epoch >= seen for epoch in older):
            kept_executors[number] = Executor(process, epoch_now)
        elif seen and min(older) >= seen:
            kept_executors[number] = Executor(process, 0)
    kept_attempts = tuple(
        attempt._replace(epoch=0)
        if not tasks_in_flight[n] and (attempt.epoch < epoch_now or n != open_attempt)
        else attempt
        for n, attempt in enumerate(attempts)
    )
    return kept_attempts, (kept_executors[0], kept_executors[1])
