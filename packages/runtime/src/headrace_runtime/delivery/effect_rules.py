"""What may become of an effect row: the decision table of effects, without any I/O.

Model-checked as a whole in tests/simulation/models (rules and why each is needed: the negative
controls there). Every function answers (the row afterwards, or None when it stays as it is; the
answer). `effects.sql` holds the same conditions; a test compares both over all rows.

A claimant names one acceptance of one attempt by one executor process, so a row of (attempt,
claimant) is certainly one's own, and was written even if the answer to the write was lost.
"""

from dataclasses import dataclass, replace
from enum import Enum, IntEnum, auto

from headrace_core.payload import NOTHING, Stored
from headrace_core.workflow.plan_parts import Idempotency


class RowStatus(IntEnum):
    CLAIMED = 1
    DONE = 2
    FAILED_BEFORE_EFFECT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`live` is the database's word on the claim's lease at the moment of reading. A `tainted`
    claim was taken over: a call before it may still take effect."""

    status: RowStatus
    attempt: int
    claimant: str
    live: bool = False
    tainted: bool = False
    result: Stored = NOTHING

    def is_claim_of(self, attempt: int, claimant: str) -> bool:
        return self.status is RowStatus.CLAIMED and (self.attempt, self.claimant) == (
            attempt,
            claimant,
        )


class Guard(Enum):
    """What makes a second call of an operation safe."""

    KEY = auto()
    PROBE = auto()
    NONE = auto()

    @classmethod
    def of(cls, idempotency: Idempotency) -> "Guard":
        if idempotency is Idempotency.PROBE:
            return cls.PROBE
        return cls.NONE if idempotency is Idempotency.NONE else cls.KEY


class Claim(Enum):
    """What an attempt that wants to call does next."""

    CALL = auto()
    """The claim is ours and untainted."""
    CALL_AGAIN = auto()
    """Taken over; the same key makes the call safe."""
    PROBE = auto()
    """Taken over; ask the outside before any call."""
    DONE = auto()
    """The effect has happened: the stored result is the attempt's."""
    NO_EFFECT = auto()
    """This attempt was closed already: none happened and none will."""
    SUPERSEDED = auto()
    """A higher attempt has the row: this one is closed in the log, drop it."""
    WAIT = auto()
    """Somebody's claim is live."""
    UNKNOWN = auto()
    """Somebody's claim has lapsed and the outside cannot be asked."""


class Written(Enum):
    WRITTEN = auto()
    REFUSED = auto()
    """The row is not this claim any more; nothing was changed."""


class GiveUp(Enum):
    """What may be said of an attempt that ends before it claimed anything."""

    NO_EFFECT = auto()
    DONE = auto()
    SUPERSEDED = auto()
    UNSURE = auto()
    """A claim is there: ambiguous with a key or a probe, else `unknown_outcome`."""


class Close(Enum):
    """What the scheduler may say of a step that it ends without its executor's word."""

    NO_EFFECT = auto()
    UNKNOWN = auto()
    DONE = auto()


def claim(row: Row | None, attempt: int, claimant: str, guard: Guard) -> tuple[Row | None, Claim]:
    mine = Row(status=RowStatus.CLAIMED, attempt=attempt, claimant=claimant, live=True)
    if row is None:
        return mine, Claim.CALL
    if row.is_claim_of(attempt, claimant):
        return None, after_take_over(guard) if row.tainted else Claim.CALL
    if row.status is RowStatus.DONE:
        return None, Claim.DONE
    if row.attempt > attempt:
        return None, Claim.SUPERSEDED
    if row.status is RowStatus.FAILED_BEFORE_EFFECT:
        return (mine, Claim.CALL) if row.attempt < attempt else (None, Claim.NO_EFFECT)
    if row.live:
        return None, Claim.WAIT
    if guard is Guard.NONE:
        return None, Claim.UNKNOWN
    return replace(mine, tainted=True), after_take_over(guard)


def after_take_over(guard: Guard) -> Claim:
    return Claim.PROBE if guard is Guard.PROBE else Claim.CALL_AGAIN


def mark_done(
    row: Row | None, attempt: int, claimant: str, result: Stored
) -> tuple[Row | None, Written]:
    """Refused or not, whoever saw the effect happen may say so."""
    if row is None or not row.is_claim_of(attempt, claimant):
        was_mine = (
            row is not None
            and row.status is RowStatus.DONE
            and (row.attempt, row.claimant) == (attempt, claimant)
        )
        return None, Written.WRITTEN if was_mine else Written.REFUSED
    return replace(row, status=RowStatus.DONE, tainted=False, live=False, result=result), (
        Written.WRITTEN
    )


def mark_failed(row: Row | None, attempt: int, claimant: str) -> tuple[Row | None, Written]:
    """Over one's own untainted claim alone; only when it is written may "no effect" be said."""
    if row is None or not row.is_claim_of(attempt, claimant) or row.tainted:
        was_mine = (
            row is not None
            and row.status is RowStatus.FAILED_BEFORE_EFFECT
            and (row.attempt, row.claimant) == (attempt, claimant)
        )
        return None, Written.WRITTEN if was_mine else Written.REFUSED
    return replace(row, status=RowStatus.FAILED_BEFORE_EFFECT, live=False), Written.WRITTEN


def untaint(row: Row | None, attempt: int, claimant: str) -> tuple[Row | None, Written]:
    """The probe, asked after the claim was taken over, found nothing."""
    if row is None or not row.is_claim_of(attempt, claimant):
        return None, Written.REFUSED
    return (replace(row, tainted=False) if row.tainted else None), Written.WRITTEN


def renew(row: Row | None, attempt: int, claimant: str) -> tuple[Row | None, Written]:
    if row is None or not row.is_claim_of(attempt, claimant):
        return None, Written.REFUSED
    return replace(row, live=True), Written.WRITTEN


def give_up(row: Row | None, attempt: int, claimant: str) -> tuple[Row | None, GiveUp]:
    closed = _closed(row, attempt, claimant)
    if closed is not None:
        return closed, GiveUp.NO_EFFECT
    assert row is not None, "an absent row is closed"
    if row.status is RowStatus.DONE:
        return None, GiveUp.DONE
    return None, GiveUp.SUPERSEDED if row.attempt > attempt else GiveUp.UNSURE


def close(row: Row | None, attempt: int, closer: str) -> tuple[Row | None, Close]:
    """A higher attempt's closed row stays: whoever asks is fenced, and its word counts nothing."""
    closed = _closed(row, attempt, closer)
    if closed is not None:
        return closed, Close.NO_EFFECT
    assert row is not None, "an absent row is closed"
    if row.status is RowStatus.DONE:
        return None, Close.DONE
    if row.status is RowStatus.CLAIMED:
        return None, Close.UNKNOWN
    return None, Close.NO_EFFECT


def _closed(row: Row | None, attempt: int, claimant: str) -> Row | None:
    """The row closed under this number, None where it must not be."""
    if row is not None and (
        row.status is not RowStatus.FAILED_BEFORE_EFFECT or row.attempt > attempt
    ):
        return None
    return Row(status=RowStatus.FAILED_BEFORE_EFFECT, attempt=attempt, claimant=claimant)
