"""The seven words in which every attempt ends, shared with the scheduler and the breakers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Word(StrEnum):
    SUCCESS = "success"
    RETRY = "retry"
    """May pass by itself. If the outside may have acted, a repeat under the same key is safe."""
    RATE_LIMITED = "rate_limited"
    """Refused before anything was done; `retry_after_ms` says how long to wait, if it is known."""
    AUTH_EXPIRED = "auth_expired"
    """Credentials are missing, wrong or expired: somebody must renew them."""
    PERMANENT = "permanent"
    """Nothing was done and no repeat helps."""
    UNKNOWN_OUTCOME = "unknown_outcome"
    """The outside may have acted, cannot be asked, and a repeat is not known to be safe."""
    CANCELLED = "cancelled"


_NEVER_ACTED = frozenset({Word.RATE_LIMITED, Word.AUTH_EXPIRED, Word.PERMANENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Made by the functions below. `error_type` is dotted, as `retry.on` of a flow matches it."""

    word: Word
    output: Any = None
    error_type: str = ""
    error_message: str = ""
    retry_after_ms: int = 0
    may_have_acted: bool = False

    def __post_init__(self) -> None:
        assert (self.word is Word.SUCCESS) != bool(self.error_type), "an error has a type"
        assert not (self.may_have_acted and self.word in _NEVER_ACTED), (
            f"{self.word} says that nothing was done"
        )

    @classmethod
    def success(cls, output: Any) -> "Outcome":
        """`output` is JSON in Python's types."""
        return cls(word=Word.SUCCESS, output=output)

    @classmethod
    def retry(
        cls, error_type: str, message: str, *, retry_after_ms: int = 0, may_have_acted: bool = False
    ) -> "Outcome":
        return cls(
            word=Word.RETRY,
            error_type=error_type,
            error_message=message,
            retry_after_ms=retry_after_ms,
            may_have_acted=may_have_acted,
        )

    @classmethod
    def rate_limited(cls, error_type: str, message: str, retry_after_ms: int = 0) -> "Outcome":
        return cls(
            word=Word.RATE_LIMITED,
            error_type=error_type,
            error_message=message,
            retry_after_ms=retry_after_ms,
        )

    @classmethod
    def auth_expired(cls, error_type: str, message: str) -> "Outcome":
        return cls(word=Word.AUTH_EXPIRED, error_type=error_type, error_message=message)

    @classmethod
    def permanent(cls, error_type: str, message: str) -> "Outcome":
        return cls(word=Word.PERMANENT, error_type=error_type, error_message=message)

    @classmethod
    def unknown(cls, message: str) -> "Outcome":
        return cls(
            word=Word.UNKNOWN_OUTCOME,
            error_type="unknown_outcome",
            error_message=message,
            may_have_acted=True,
        )

    @classmethod
    def cancelled(cls, message: str, *, may_have_acted: bool) -> "Outcome":
        return cls(
            word=Word.CANCELLED,
            error_type="cancelled",
            error_message=message,
            may_have_acted=may_have_acted,
        )
