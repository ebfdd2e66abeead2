"""Dispatch of one step: assignments, tasks, effect rows, results, acknowledgements, cancel.

One partition, one step, up to three ownership claims, two executors, two or three attempts.

What is abstracted, and why nothing is lost by it
* The log is the fenced log of `log_fencing`: an append of the current epoch is accepted at the
  moment it lands, one of an older epoch is void and never acted upon. So a fenced owner has no
  state here: it is any older epoch. It can only let what it queued leave late (a task stays in
  flight as long as it likes) and run row transactions that it had decided on.
* Tasks are sent in an accepted record's wake and then are in flight until lost; delivery does not
  consume them. A crash of the owner before sending is a loss.
* A result is delivered straight from the executor's memory: a crash of the sender commutes with an
  acceptance in the log. An acknowledgement of a closed attempt is valid for ever, so it can arrive
  whenever the attempt is closed.
* Suspicion may be wrong at any time: an open attempt may be declared lost although its executor is
  only slow.
* The lease of an effect row may lapse at any time although its holder is only slow. In a timed
  model a claim lapses only when no request of its holder can still take effect, and the holder
  calls only under a live claim.
* The outside world applies a request, rejects it, or never sees it, any time after it was sent,
  whoever has crashed.

The invariants are those of the project's documentation: I4 no assignment after cancel; I5 one
accepted result per attempt, one terminal outcome per step; I6 and I7 at most one effect, succeeded
means one effect, failed or cancelled means none, now or later; I8 every accepted task was assigned
to that executor's process in an accepted record of that epoch. Besides: a result is forgotten only
when its attempt is closed in the log (RES), and an executor that has answered an epoch never begins
an attempt of an older one (REP). Liveness: without another fault the step can still end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.simulation.models.dispatch_executor import (
    OLD_EPOCH_BEGUN,
    SECOND_TERMINAL_OUTCOME,
    executor_moves,
    with_request,
)
from tests.simulation.models.dispatch_scheduler import (
    ASSIGNED_AFTER_CANCEL,
    TASK_OF_A_VOID_RECORD,
    scheduler_moves,
)
from tests.simulation.models.dispatch_state import (
    ENDED,
    Executor,
    Move,
    Phase,
    Rules,
    State,
    normalised,
)
from tests.simulation.models.explore import FAULT, PROGRESS, Broken

__all__ = [
    "ASSIGNED_AFTER_CANCEL",
    "EFFECT_DENIED",
    "OLD_EPOCH_BEGUN",
    "RESULT_GIVEN_UP",
    "SECOND_TERMINAL_OUTCOME",
    "SUCCESS_WITHOUT_EFFECT",
    "TASK_OF_A_VOID_RECORD",
    "TWO_EFFECTS",
    "Dispatch",
    "Rules",
]

TWO_EFFECTS: Final = "I6/I7 two effects"
SUCCESS_WITHOUT_EFFECT: Final = "I6/I7 succeeded without an effect"
EFFECT_DENIED: Final = "I7 reported as without effect, but the effect happened"
RESULT_GIVEN_UP: Final = "RES result given up before it was recorded"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The model to explore."""

    rules: Rules

    @property
    def initial(self) -> State:
        return State(crashes_left=self.rules.crashes)

    def is_goal(self, state: State) -> bool:
        return state.step in ENDED

    def check(self, state: State) -> None:
        if state.effects > 1:
            raise Broken(TWO_EFFECTS)
        if state.step == "succeeded" and not state.effects:
            raise Broken(SUCCESS_WITHOUT_EFFECT)
        if state.step in ("failed", "cancelled") and state.effects:
            raise Broken(EFFECT_DENIED, f"(the step is {state.step})")
        if state.step == "assigned" and state.phases[-1] == "forgotten":
            raise Broken(RESULT_GIVEN_UP)

    def moves(self, state: State) -> Iterator[Move]:
        for moves in (scheduler_moves, executor_moves, world_moves):
            for label, after, is_fault in moves(state, self.rules):
                yield label, normalised(after, self.rules), is_fault


def world_moves(state: State, rules: Rules) -> Iterator[Move]:
    """Time, the outside world, crashes."""
    row = state.row
    if row is not None and row.status == "claimed" and row.live:
        is_held = rules.is_timed and state.requests[row.attempt] == "in_flight"
        if not is_held:
            yield "claim lapses", state._replace(row=row._replace(live=False)), PROGRESS
    for n, request in enumerate(state.requests):
        if request == "in_flight":
            yield f"request {n + 1} takes effect", _with_effect(state, rules, n), PROGRESS
            yield f"request {n + 1} is rejected", with_request(state, n, "rejected"), PROGRESS
            yield f"request {n + 1} is lost", with_request(state, n, "over"), FAULT
        elif request in ("applied", "rejected"):
            yield f"response {n + 1} is lost", with_request(state, n, "over"), FAULT
    if state.crashes_left:
        for number in (0, 1):
            if any(attempt.executor == number for attempt in state.attempts):
                yield f"executor {number} crashes", _crashed(state, rules, number), FAULT


def _with_effect(state: State, rules: Rules, n: int) -> State:
    is_known_key = rules.operation == "keyed" and rules.same_key and state.effects > 0
    effects = state.effects if is_known_key else state.effects + 1
    return with_request(state, n, "applied")._replace(effects=effects)


def _crashed(state: State, rules: Rules, number: int) -> State:
    """All that the process knew is gone; its requests may still be on their way."""
    process = state.executors[number].process
    phases: tuple[Phase, ...] = tuple(
        "idle" if attempt.executor == number and attempt.process == process else phase
        for attempt, phase in zip(state.attempts, state.phases, strict=True)
    )
    belief = state.belief
    n = state.open_attempt
    if n is not None and state.attempts[n].executor == number and not rules.process_id:
        belief = "to_ask"
    reborn = Executor(process + 1 if rules.process_id else process, 0)
    first, second = state.executors
    return state._replace(
        phases=phases,
        executors=(reborn, second) if number == 0 else (first, reborn),
        belief=belief,
        crashes_left=state.crashes_left - 1,
    )
