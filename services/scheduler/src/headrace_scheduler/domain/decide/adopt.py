"""What comes to a run from outside, sealed as the run is: under its data subject's key.

A gateway seals what it sends under the tenant's key of the month, since it does not know the run.
Nothing of a data subject's run may be logged like that: erasing the subject would leave it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from headrace_core.errors import KeyErased
from headrace_core.payload import NOTHING, Stored, subject_key_of
from headrace_core.run.events import StepError
from headrace_scheduler.domain.commands import (
    CancelRun,
    CloseByRow,
    CompleteStep,
    DecideApproval,
    NoteStep,
    Outcome,
    ParkRun,
    ResumeRun,
    RunCommand,
    SignalRun,
    StartChild,
)
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.failure import INPUT_ERASED

_PAYLOAD: Mapping[type[RunCommand], str] = {
    CompleteStep: "output",
    CloseByRow: "output",
    NoteStep: "note",
    CancelRun: "reason",
    DecideApproval: "answer",
    SignalRun: "content",
}
_ERROR: Mapping[type[RunCommand], str] = {
    CompleteStep: "error",
    StartChild: "error",
    ParkRun: "incident",
}
_GONE = Rejection(
    Reason.INVALID_STATE,
    "the key of this run's data subject was erased: it takes nothing in any more, cancel it",
)


def adopted(turn: RunTurn, command: RunCommand, key: int) -> RunCommand | Rejection:
    """The command with its payloads sealed under `key`, that of its run's data subject. Where it is
    gone a cancel loses its reason and an attempt has failed; whatever else would add to the run is
    rejected."""
    try:
        return _sealed(turn, command, key)
    except KeyErased:
        if isinstance(command, CancelRun):
            return replace(command, reason=NOTHING)
        if isinstance(command, ParkRun):
            return replace(command, incident=StepError(type=command.incident.type))
        if isinstance(command, CompleteStep):
            error = StepError(type=INPUT_ERASED)
            return replace(command, outcome=Outcome.FAILED, output=NOTHING, error=error)
        return _GONE


def _sealed(turn: RunTurn, command: RunCommand, key: int) -> RunCommand:
    changes: dict[str, Any] = {}
    name = _PAYLOAD.get(type(command))
    if name is not None:
        changes[name] = _own(turn, getattr(command, name), key)
    name = _ERROR.get(type(command))
    error: StepError | None = getattr(command, name) if name is not None else None
    if name is not None and error is not None:
        changes[name] = replace(error, message=_own(turn, error.message, key))
    if isinstance(command, ResumeRun):
        changes["edits"] = tuple(
            replace(edit, value=_own(turn, edit.value, key)) for edit in command.edits
        )
    return replace(command, **changes) if changes else command


def _own(turn: RunTurn, stored: Stored, key: int) -> Stored:
    if not stored or subject_key_of(stored) == key:
        return stored
    return turn.vault.seal(turn.run_id, turn.vault.open(turn.run_id, stored))
