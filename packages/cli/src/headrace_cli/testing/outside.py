"""What a flow meets outside of itself, as the engine asks for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headrace_core.ids import RunId, StepKey
from headrace_core.workflow.plan import Action


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at something outside. `number` counts the attempts of this step, or of this
    item, from 1 and on over the passes of a `repeat`; `item` is the item's key. `arguments` are
    what `with` gave; of a sub-flow they are its inputs."""

    run: RunId
    flow: str
    step: StepKey
    item: str | None
    number: int
    action: Action
    arguments: Any

    @property
    def place(self) -> str:
        return without_passes(self.step)


def without_passes(key: str) -> str:
    """`done#2` is `done` again."""
    return _PASS.sub("", key)


_PASS = re.compile("#[0-9]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """The attempt's end, `after_ms` on: an output, or an error if `error_type` is not empty.
    `ambiguous` leaves open whether it has had an effect."""

    output: Any = None
    error_type: str = ""
    message: str = ""
    after_ms: int = 0
    retry_after_ms: int = 0
    ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's word on an approval, `after_ms` after it was asked for."""

    decision: str
    answer: Mapping[str, Any]
    after_ms: int = 0


class Outside(Protocol):
    def reply(self, call: Call) -> Reply | None:
        """None where nobody said what comes back."""
        ...

    def decision(self, flow: str, step: StepKey) -> Decision | None:
        """None while nobody decides."""
        ...
