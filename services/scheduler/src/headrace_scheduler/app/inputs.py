"""Inputs on their way into the loop, and the answers on their way out."""

from dataclasses import dataclass
from typing import Protocol

from headrace_scheduler.domain.commands import Command
from headrace_scheduler.domain.decision import Rejection


class Answer(Protocol):
    """Who sent the input hears of it at most once, and only what is durable."""

    def accepted(self, partition: int, offset: int) -> None: ...

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None: ...

    def unavailable(self, partition: int) -> None:
        """The partition was lost before the outcome was durable: ask its owner again."""
        ...


@dataclass(frozen=True, slots=True)
class Input:
    partition: int
    command: Command
    answer: Answer | None = None
