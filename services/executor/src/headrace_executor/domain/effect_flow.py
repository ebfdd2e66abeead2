"""What an attempt with an outside effect does next, and what may be said of it.

The rows themselves are decided by `headrace_runtime.delivery.effect_rules`; this is the attempt's
side of the same model: its claim, its call, the seven words of the far side, its own word. FAILED
and CANCELLED promise that nothing happened and nothing will, so they are said only after
`failed_before_effect` was committed under the attempt's own number.
"""

from enum import Enum, auto
from typing import NamedTuple, assert_never

from headrace_core.workflow.plan_parts import Action, Effect, Idempotency
from headrace_runtime.delivery.effect_rules import Claim, GiveUp, Guard, Row, RowStatus
from headrace_worker.messages import Outcome


class Word(Enum):
    """How one call ended, as the far side says it; SILENCE where nothing was said."""

    SUCCESS = auto()
    RETRY = auto()
    RATE_LIMITED = auto()
    AUTH_EXPIRED = auto()
    PERMANENT = auto()
    UNKNOWN_OUTCOME = auto()
    CANCELLED = auto()
    SILENCE = auto()


class Say(NamedTuple):
    """The attempt's word; `stored` takes output from the row instead of the call."""

    outcome: Outcome
    stored: bool = False


class Next(Enum):
    """What follows a claim that does not end the attempt."""

    CALL = auto()
    WAIT = auto()


class Settle(Enum):
    """What is written to the row once the call is over."""

    DONE = auto()
    FAILED = auto()
    """If that is refused, the row is read again: see `after_refusal`."""
    RELEASE = auto()
    """The claim stays, and its lease ends now: a repeat under the same key need not wait."""
    KEEP = auto()


STORED = Say(Outcome.SUCCEEDED, stored=True)


def needs_row(action: Action) -> bool:
    """Whether a call changes something outside. Reading is repeated at will."""
    return action.effect in (Effect.WRITE, Effect.DESTRUCTIVE)


def guard_of(idempotency: Idempotency) -> Guard:
    """PROBE counts as no guard: the contract with connectors has no call that only looks, so such
    an operation is called at most once."""
    guard = Guard.of(idempotency)
    return Guard.NONE if guard is Guard.PROBE else guard


def takes_key(action: Action) -> bool:
    return needs_row(action) and guard_of(action.idempotency) is Guard.KEY


def unsure(guard: Guard) -> Outcome:
    """The effect may have happened."""
    return Outcome.UNKNOWN if guard is Guard.NONE else Outcome.AMBIGUOUS


def outcome_of(word: Word, *, may_have_acted: bool, action: Action) -> Outcome:
    """What the end of a call means for its attempt, before the row has its say."""
    if word is Word.SUCCESS:
        return Outcome.SUCCEEDED
    if not needs_row(action):
        return Outcome.CANCELLED if word is Word.CANCELLED else Outcome.FAILED
    if word is Word.UNKNOWN_OUTCOME:
        return Outcome.UNKNOWN
    if may_have_acted:
        return unsure(guard_of(action.idempotency))
    return Outcome.CANCELLED if word is Word.CANCELLED else Outcome.FAILED


def cut_off(action: Action, *, begun: bool, cancelled: bool) -> Outcome:
    """The word on a call that was given up: its time was over, or nobody wants it any more."""
    if begun and needs_row(action):
        return unsure(guard_of(action.idempotency))
    return Outcome.CANCELLED if cancelled else Outcome.FAILED


def after_claim(claim: Claim, guard: Guard) -> Next | Say:
    match claim:
        case Claim.CALL | Claim.CALL_AGAIN:
            return Next.CALL
        case Claim.WAIT:
            return Next.WAIT
        case Claim.DONE:
            return STORED
        case Claim.NO_EFFECT:
            return Say(Outcome.CANCELLED)
        case Claim.UNKNOWN:
            return Say(Outcome.UNKNOWN)
        case Claim.SUPERSEDED:
            # A record has closed this attempt: whatever is said is rejected, and acknowledged.
            return Say(unsure(guard))
        case Claim.PROBE:
            raise AssertionError("no claim is made with a probe: see guard_of")
        case _:
            assert_never(claim)


def after_call(outcome: Outcome) -> Settle:
    match outcome:
        case Outcome.SUCCEEDED:
            return Settle.DONE
        case Outcome.FAILED | Outcome.CANCELLED:
            return Settle.FAILED
        case Outcome.AMBIGUOUS:
            return Settle.RELEASE
        case Outcome.UNKNOWN:
            return Settle.KEEP
        case _:
            assert_never(outcome)


def after_refusal(row: Row | None, guard: Guard) -> Say:
    """The call had no effect, but the claim was taken over, or had been: an earlier call of the
    step may have one, unless its row says that it is done."""
    if row is not None and row.status is RowStatus.DONE:
        return STORED
    return Say(unsure(guard))


def after_give_up(word: GiveUp, wanted: Outcome, guard: Guard) -> Say:
    """The attempt ends without a call of its own, and would say `wanted`."""
    match word:
        case GiveUp.NO_EFFECT:
            return Say(wanted)
        case GiveUp.DONE:
            return STORED
        case GiveUp.UNSURE | GiveUp.SUPERSEDED:
            return Say(unsure(guard))
        case _:
            assert_never(word)
