"""Approvals: one row per step that asked a person, until it is decided or ends without."""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass

from headrace_core.ids import StepKey
from headrace_core.payload import NOTHING, Stored
from headrace_core.run import events as ev

OPEN = ""


@dataclass(slots=True)
class ApprovalRow:
    """`decision` is empty while open, then the decider's word, or `expired`, `failed`,
    `cancelled` for an approval whose step ended without one. Request and answer are sealed."""

    step: StepKey
    requested_ms: int
    request: Stored
    expires_at_ms: int | None = None
    decision: str = OPEN
    closed_ms: int | None = None
    answer: Stored = NOTHING


Approvals = MutableMapping[StepKey, ApprovalRow]


def project(
    open_approvals: Approvals, events: Iterable[ev.RunEvent], time_ms: int
) -> list[ApprovalRow]:
    """Take the events of one turn; answers the rows that changed. Closed ones leave the map."""
    changed: list[ApprovalRow] = []
    for event in events:
        match event:
            case ev.ApprovalRequested():
                row = ApprovalRow(event.step, time_ms, event.request, event.expires_at_ms)
                open_approvals[event.step] = row
            case ev.ApprovalEscalated():
                row = open_approvals.get(event.step)
                if row is not None:
                    row.request = event.request
            case ev.ApprovalDecided():
                row = _close(open_approvals, event.step, event.decision, time_ms)
                if row is not None:
                    row.answer = event.answer
            case ev.StepSucceeded() | ev.StepFailed() | ev.StepCancelled():
                row = _close(open_approvals, event.step, _word(event), time_ms)
            case _:
                continue
        if row is not None:
            changed.append(row)
    return changed


def _word(event: ev.StepSucceeded | ev.StepFailed | ev.StepCancelled) -> str:
    match event:
        case ev.StepSucceeded():
            return event.port or "expired"
        case ev.StepFailed():
            return "failed"
        case ev.StepCancelled():
            return "cancelled"


def _close(
    open_approvals: Approvals, step: StepKey, decision: str, time_ms: int
) -> ApprovalRow | None:
    row = open_approvals.pop(step, None)
    if row is not None:
        row.decision, row.closed_ms = decision, time_ms
    return row
