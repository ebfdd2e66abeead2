"""A protocol to check: as designed, or with one rule off.

The numbers of states are those of the models with which the protocols were designed. They are
deterministic; one that changes says that the model is no longer the same, so look before you
change it: a model changes only together with the text of the protocol.
"""

from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.simulation.models.explore import Model

# About a second, which is where the marker begins.
SLOW_ABOVE_STATES: Final = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A protocol that must hold; `sometimes` must have happened, or the model shows too little."""

    name: str
    model: Model[Any]
    states: int
    sometimes: tuple[str, ...] = ()

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        return [pytest.mark.slow] if self.states > SLOW_ABOVE_STATES else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Control(Rule):
    """A protocol with one rule off, which must break in this way after so many states."""

    breaks: str
    expanded: int | None = None
