"""Dead letters: one row each, and what was decided of it.

A letter and its decision may stand in different partitions, and be read in any order: what is
written of one leaves the other as it is, and writing it again changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from headrace_core.ids import LetterId, PlanHash, RunId, StepKey, TenantId
from headrace_core.partition.events import DeadLetterReplayed, LetterDecision
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import DeadLetterAdded, StepError
from headrace_history.domain.projections.runs import RunRow
from headrace_history.domain.turns import Digest

OPEN, REPLAYED, DISCARDED = "open", "replayed", "discarded"
STATUSES = (OPEN, REPLAYED, DISCARDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """`as_run` is where a replayed letter's call is tried again; `reason` is sealed under the run
    that the letter is about."""

    tenant: TenantId
    letter: LetterId
    status: str
    decided_ms: int
    decided_by: str
    as_run: RunId | None = None
    reason: Stored = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRow:
    """The error's message is sealed under the run's key."""

    letter: LetterId
    run: RunId
    step: StepKey
    attempt: int
    flow: str
    version: int
    plan: PlanHash
    operation: str
    error: StepError
    added_ms: int
    decided: Decided | None = None


def letters_of(row: RunRow, digest: Digest, time_ms: int) -> Iterator[LetterRow]:
    """What one turn of the run adds."""
    for event in digest.marks:
        if isinstance(event, DeadLetterAdded):
            yield LetterRow(
                letter=event.letter,
                run=row.run,
                step=event.step,
                attempt=event.attempt,
                flow=row.flow,
                version=row.version,
                plan=row.plan,
                operation=event.operation,
                error=event.error,
                added_ms=time_ms,
            )


def decided(event: LetterDecision, time_ms: int) -> Decided:
    if isinstance(event, DeadLetterReplayed):
        return Decided(
            tenant=event.tenant,
            letter=event.letter,
            status=REPLAYED,
            decided_ms=time_ms,
            decided_by=event.replayed_by,
            as_run=event.as_run,
        )
    return Decided(
        tenant=event.tenant,
        letter=event.letter,
        status=DISCARDED,
        decided_ms=time_ms,
        decided_by=event.discarded_by,
        reason=event.reason,
    )
