"""Events as the API and live subscribers see them: {sequence, time, kind, ...}.

Field by field from the event itself, so that a new kind needs no code here: sealed bytes are
opened, times become text, enums their names.
"""

from collections.abc import Iterator
from dataclasses import fields
from enum import IntEnum
from typing import cast

from headrace_core.ids import StepKey
from headrace_core.payload import Stored
from headrace_core.run.events import (
    EdgeTaken,
    InheritedStep,
    Parent,
    RunEvent,
    StepError,
    Usage,
)
from headrace_core.run.replay import StoredTurn
from headrace_history.domain.rendering import (
    Document,
    Payloads,
    edge_documents,
    error_document,
    metering_document,
    parent_document,
    time_text,
)

_TIME_SUFFIX = "_ms"
_NAMES = {"kind": "waiting"}
"""StepWaiting's own kind, under the name that a run's document has for it."""


def event_documents(
    turn: StoredTurn, payloads: Payloads, after_sequence: int = 0
) -> Iterator[Document]:
    """The turn's events with a number above `after_sequence`, in order."""
    for sequence, event in enumerate(turn.events, turn.sequence):
        if sequence > after_sequence:
            yield event_document(sequence, turn.time_ms, event, payloads)


def event_document(sequence: int, time_ms: int, event: RunEvent, payloads: Payloads) -> Document:
    document: Document = {
        "sequence": sequence,
        "time": time_text(time_ms),
        "kind": type(event).__name__,
    }
    step = StepKey(getattr(event, "step", None) or "")
    for item in fields(event):
        value = getattr(event, item.name)
        name = _NAMES.get(item.name, item.name)
        if name.endswith(_TIME_SUFFIX):
            name = f"{name.removesuffix(_TIME_SUFFIX).removesuffix('_at')}_at"
            value = time_text(value)
        document[name] = _shown(step, value, payloads)
    return document


def _inherited(step: InheritedStep, payloads: Payloads) -> Document:
    """Without the payloads of items, as in a run's document."""
    items = step.items
    return {
        "step": step.step,
        "status": step.status.text,
        "output": payloads.show_of_step(step.step, step.output),
        "error": step.error and error_document(step.step, step.error, payloads),
        "port": step.port or None,
        "skip_reason": step.skip_reason and step.skip_reason.text,
        "items": items and {"count": items.count},
        "ended_at": time_text(step.ended_ms),
        "edited": step.edited,
    }


def _shown(step: StepKey, value: object, payloads: Payloads) -> object:
    match value:
        case bytes():
            return payloads.show_of_step(step, Stored(value))
        case StepError():
            return error_document(step, value, payloads)
        case Usage():
            return metering_document(value)
        case Parent():
            return parent_document(value)
        case tuple() if value and isinstance(value[0], InheritedStep):
            return [_inherited(one, payloads) for one in cast("tuple[InheritedStep, ...]", value)]
        case tuple():
            return edge_documents(cast("tuple[EdgeTaken, ...]", value))
        case IntEnum():
            return value.name.lower()
        case _:
            return value
