"""The explorer itself: a model check is worth what its explorer finds."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.simulation.models.explore import FAULT, LIVENESS, PROGRESS, Broken, Move, explore


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts up by one or two; at `trap` it can be led astray, to where only a fault leads back."""

    last: int = 10
    forbidden: int | None = None
    forbidden_move: int | None = None
    trap: int | None = None

    @property
    def initial(self) -> int:
        return 0

    def is_goal(self, state: int) -> bool:
        return state == self.last

    def check(self, state: int) -> None:
        if state == self.forbidden:
            raise Broken("forbidden", f"({state})")

    def moves(self, state: int) -> Iterator[Move[int]]:
        if state < 0:
            yield "is led back", 0, FAULT
        for added in (1, 2):
            if 0 <= state <= self.last - added:
                yield f"adds {added}", state + added, PROGRESS
        if state == self.forbidden_move:
            raise Broken("forbidden move")
        if state == self.trap:
            yield "is led astray", -1, FAULT


def test_every_reachable_state_and_label_is_found() -> None:
    found = explore(Counter(last=10))
    assert (found.states, found.expanded, found.violation) == (11, 11, None)
    assert found.labels == {"adds 1", "adds 2"}


def test_a_violation_comes_with_a_shortest_trace() -> None:
    found = explore(Counter(forbidden=4))
    assert found.kind == "forbidden"
    assert found.trace == ("adds 2", "adds 2")
    assert str(found) == "6 states, forbidden (4): adds 2 > adds 2"


def test_a_state_whose_move_breaks_a_rule_adds_no_state() -> None:
    found = explore(Counter(forbidden_move=2))
    assert found.kind == "forbidden move"
    assert (found.states, found.trace) == (4, ("adds 2",))


def test_a_state_from_which_only_a_fault_leads_to_the_goal_is_a_violation() -> None:
    found = explore(Counter(trap=1))
    assert found.kind == LIVENESS
    assert found.trace == ("adds 1", "is led astray")


def test_a_model_that_is_not_small_is_refused() -> None:
    with pytest.raises(RuntimeError, match="more than 5 states"):
        explore(Counter(last=1000), states_max=5)
