"""Breadth-first exploration of a small model: every reachable state, shortest traces, liveness.

A run that finds nothing is a proof for the model's bounds, not a sample. The order of exploration
depends only on the order of a model's moves, so the number of states at which a violation is met
is as reproducible as the number of all reachable states.
"""

import gc
from collections.abc import Generator, Hashable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

State = TypeVar("State", bound=Hashable)

# (what happens, the state after it, whether it is a fault). Faults are what no protocol may count
# on, nor ever needs: losses, crashes, wrong suspicions. Plain tuples, because a model makes
# millions of them.
Move: TypeAlias = tuple[str, State, bool]
PROGRESS: Final = False
FAULT: Final = True

LIVENESS: Final = "LIVENESS from here on the goal is out of reach"
STATES_MAX: Final = 1_500_000


class Broken(Exception):
    """A rule of the protocol is broken, by a state or by a move out of it."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind} {detail}".rstrip())
        self.kind = kind


class Model(Protocol[State]):
    """What is explored. All methods are pure; states are immutable."""

    @property
    def initial(self) -> State: ...

    def moves(self, state: State) -> Iterable[Move[State]]:
        """Yield all that can happen next, always in the same order; may raise `Broken`."""
        ...

    def check(self, state: State) -> None:
        """Raise `Broken` if the state violates an invariant."""
        ...

    def is_goal(self, state: State) -> bool:
        """Whether nothing is left to do. It must stay reachable without another fault.

        A model of safety alone calls every state a goal.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """What was found; `trace` leads from the initial state to the violation, in as few moves as
    possible. After a violation `states` and `expanded` tell how far the exploration had come."""

    states: int
    expanded: int
    labels: frozenset[str]
    violation: Broken | None = None
    trace: tuple[str, ...] = ()

    @property
    def kind(self) -> str | None:
        return None if self.violation is None else self.violation.kind

    def __str__(self) -> str:
        story = " > ".join(self.trace) or "at once"
        return f"{self.states} states, {self.violation or 'no violation'}: {story}"


class _Explorer(Generic[State]):
    """The states met so far, in order of discovery, and how each was first reached."""

    def __init__(self, model: Model[State]) -> None:
        self.model = model
        self.states = [model.initial]
        self.index_of = {model.initial: 0}
        self.reached_by: list[tuple[int, str]] = [(-1, "")]
        self.reached_without_fault_from: list[list[int]] = [[]]
        self.labels: set[str] = set()

    def run(self, states_max: int) -> Exploration:
        expanded = 0
        while expanded < len(self.states):
            try:
                self.expand(expanded)
            except Broken as broken:
                return self.result(expanded + 1, broken, expanded)
            expanded += 1
            if len(self.states) > states_max:
                raise RuntimeError(f"more than {states_max} states: the model is not small")
        stuck = self.first_without_a_way_to_a_goal()
        if stuck is not None:
            return self.result(expanded, Broken(LIVENESS), stuck)
        return self.result(expanded)

    def expand(self, index: int) -> None:
        state = self.states[index]
        self.model.check(state)
        # A list: a state out of which a move breaks a rule adds none of its moves.
        for label, after, is_fault in list(self.model.moves(state)):
            self.labels.add(label)
            found = self.index_of.setdefault(after, len(self.states))
            if found == len(self.states):
                self.states.append(after)
                self.reached_by.append((index, label))
                self.reached_without_fault_from.append([])
            if not is_fault:
                self.reached_without_fault_from[found].append(index)

    def first_without_a_way_to_a_goal(self) -> int | None:
        """Walk back from all goals over the moves that are no faults."""
        live = bytearray(map(self.model.is_goal, self.states))
        waiting = [index for index, is_live in enumerate(live) if is_live]
        while waiting:
            for before in self.reached_without_fault_from[waiting.pop()]:
                if not live[before]:
                    live[before] = True
                    waiting.append(before)
        stuck = live.find(False)
        return None if stuck < 0 else stuck

    def result(self, expanded: int, broken: Broken | None = None, at: int = 0) -> Exploration:
        return Exploration(
            states=len(self.states),
            expanded=expanded,
            labels=frozenset(self.labels),
            violation=broken,
            trace=tuple(self.trace(at)),
        )

    def trace(self, index: int) -> list[str]:
        path: list[str] = []
        while index > 0:
            index, label = self.reached_by[index]
            path.append(label)
        return path[::-1]


@contextmanager
def _collector_paused() -> Generator[None]:
    # States form no cycles; walking over all of them again and again is a good part of the time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def explore(model: Model[State], states_max: int = STATES_MAX) -> Exploration:
    """Visit every reachable state, or stop at the first violation.

    Raises:
        RuntimeError: the model has more than `states_max` states.
    """
    with _collector_paused():
        return _Explorer(model).run(states_max)
