"""The names that an expression sees, built the same way by scheduler, executor and history.

Lazy: only what the references name is asked of the source, so only those payloads are opened. A
fault of the source (BlobMissingHere, PayloadError) passes through.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, cast

from headrace_core.workflow.plan import Plan
from headrace_core.workflow.references import ROOTS, References, StepReference
from headrace_core.workflow.template import JsonValue

_ROOTS = frozenset(ROOTS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ErrorValue:
    """`error` of a step that failed: the dotted type and the opened message."""

    type: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class ItemValue:
    """Outcome of one item of a fan-out; a status alone is enough where only counts are read."""

    status: str
    output: JsonValue = None
    error: ErrorValue | None = None


@dataclass(frozen=True, slots=True)
class StepValue:
    """What a step came to, opened as far as the reference asked. `items` is None for a step that
    is no fan-out; otherwise it holds one entry per item in input order, at least their statuses."""

    status: str
    output: JsonValue = None
    error: ErrorValue | None = None
    items: Sequence[ItemValue] | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run without opening anything; `trigger` is the id of its trigger."""

    id: str
    tenant: str
    started_at_ms: int
    scheduled_at_ms: int | None = None
    trigger: str = ""


class ValueSource(Protocol):
    """Opened values of one run; every answer is decoded JSON (dicts, lists, scalars)."""

    def run(self) -> RunFacts: ...

    def input(self) -> JsonValue: ...

    def step(self, reference: StepReference) -> StepValue:
        """Open `output`, `error` and `items` only where the reference says so."""
        ...

    def items(self, wanted: frozenset[str]) -> Mapping[str, JsonValue]:
        """By alias the items evaluated for, one of each fan-out around; only those `wanted`."""
        ...


def build_names(plan: Plan, references: References, source: ValueSource) -> dict[str, JsonValue]:
    names: dict[str, JsonValue] = {}
    wanted = references.names
    if references.steps:
        names["steps"] = {
            reference.step: _step(reference, source.step(reference))
            for reference in references.steps
        }
    if "inputs" in wanted:
        names["inputs"] = source.input() or {}
    if "vars" in wanted:
        names["vars"] = dict(cast(Mapping[str, JsonValue], plan.vars))
    if "run" in wanted:
        names["run"] = _run(source.run())
    if "trigger" in wanted:
        names["trigger"] = {"id": source.run().trigger}
    if wanted - _ROOTS:
        names.update(source.items(wanted))
    return names


def time_text(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds; `timestamp(...)` of an expression reads it."""
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _run(facts: RunFacts) -> JsonValue:
    scheduled = facts.scheduled_at_ms
    return {
        "id": facts.id,
        "tenant": facts.tenant,
        "started_at": time_text(facts.started_at_ms),
        "scheduled_at": None if scheduled is None else time_text(scheduled),
    }


def _step(reference: StepReference, value: StepValue) -> JsonValue:
    members: dict[str, JsonValue] = {"status": value.status}
    if reference.output:
        members["output"] = value.output
    if reference.error:
        members["error"] = _error(value.error)
    if reference.items:
        members["items"] = None if value.items is None else [_item(one) for one in value.items]
    members["counts"] = None if value.items is None else _counts(value.items)
    return members


def _item(item: ItemValue) -> JsonValue:
    return {"status": item.status, "output": item.output, "error": _error(item.error)}


def _counts(items: Sequence[ItemValue]) -> JsonValue:
    counts = {"total": len(items), "succeeded": 0, "failed": 0, "cancelled": 0}
    for item in items:
        if item.status in counts:
            counts[item.status] += 1
    return counts


def _error(error: ErrorValue | None) -> JsonValue:
    return None if error is None else {"type": error.type, "message": error.message}
