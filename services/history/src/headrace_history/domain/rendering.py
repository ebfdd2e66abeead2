"""Runs, states and events as the API shows them: plain documents with opened payloads.

A payload's JSON is passed on as text, never parsed. What may not or cannot be shown is an object
with one `$` key that says why. Steps marked sensitive are masked unless asked otherwise.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from headrace_core.errors import KeyErased, PayloadTampered
from headrace_core.ids import DAY_MS, RunId, StepKey, name_of, step_path
from headrace_core.lanes import worker_lane
from headrace_core.payload import BlobMissingHere, Stored, Vault
from headrace_core.run.events import EdgeTaken, Parent, StepError, Usage
from headrace_core.run.state import FanOutView, RunView, StepView
from headrace_core.run.status import CancelCause, StepStatus
from headrace_history.domain.projections.letters import OPEN, LetterRow
from headrace_history.domain.projections.runs import RunRow
from headrace_history.domain.projections.usage import UsageDelta, UsageKey
from headrace_history.domain.timeline import Attempt, StepTimeline, Timeline, Wait

Document = dict[str, object]
"""JSON-like; leaves may also be JsonText."""

MASKED: Document = {"$masked": "the step is marked sensitive"}
ERASED: Document = {"$erased": "the key of this payload was destroyed"}
UNREADABLE: Document = {"$unreadable": "the bytes are not what was sealed for this run"}
LOST: Document = {"$lost": "the content is not in the blob store"}
LARGE: Document = {"$large": "not shown here; an export of the run contains it"}


@dataclass(frozen=True, slots=True)
class JsonText:
    """A value that is JSON already."""

    text: bytes


@dataclass(slots=True)
class Payloads:
    """Opens the payloads of one run, but not those of `sensitive` steps (None: of any step).

    References whose content is not at hand are shown as large and gathered in `missing`: fetch
    them and render again, with those that cannot be had in `lost`. What is above `bytes_max` in
    all is shown as large too.
    """

    run: RunId
    vault: Vault
    sensitive: AbstractSet[str] | None = frozenset()
    lost: AbstractSet[Stored] = frozenset()
    bytes_max: int = 8 << 20
    missing: list[Stored] = field(default_factory=list[Stored])

    def show(self, stored: Stored) -> object:
        if not stored:
            return None
        if stored in self.lost:
            return LOST
        if self.bytes_max < 0:
            return LARGE
        try:
            text = self.vault.open(self.run, stored)
            self.bytes_max -= len(text)
            return JsonText(text) if self.bytes_max >= 0 else LARGE
        except BlobMissingHere:
            self.missing.append(stored)
            return LARGE
        except KeyErased:
            return ERASED
        except PayloadTampered:
            return UNREADABLE

    def show_of_step(self, step: StepKey, stored: Stored) -> object:
        if not stored:
            return None
        return MASKED if self.hides(step) else self.show(stored)

    def hides(self, step: StepKey) -> bool:
        """A sensitive group hides what is inside of it."""
        if not self.sensitive:
            return self.sensitive is None
        path = step_path(step)
        return any("/".join(path[:depth]) in self.sensitive for depth in range(1, len(path) + 1))


def time_text(time_ms: int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds; null for no time, which state also writes as 0."""
    if not time_ms:
        return None
    seconds, rest_ms = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ms:03d}Z"


def row_document(row: RunRow) -> Document:
    """A run in a list: no payloads, no steps."""
    return {
        "id": row.run,
        "flow": row.flow,
        "version": row.version,
        "status": row.status.text,
        "trigger": row.trigger,
        "started_by": row.started_by,
        "priority": row.priority,
        "parent": {"run": row.parent, "step": row.parent_step} if row.parent else None,
        "started_at": time_text(row.started_ms),
        "ended_at": time_text(row.ended_ms),
        "duration_ms": row.ended_ms - row.started_ms if row.ended_ms else None,
        "error_type": row.error_type or None,
        "failed_step": row.failed_step,
        "sequence": row.sequence,
        "counts": {
            "attempts": row.attempts,
            "succeeded": row.succeeded,
            "failed": row.failed,
            "skipped": row.skipped,
            "cancelled": row.cancelled,
        },
    }


def run_document(
    state: RunView,
    payloads: Payloads,
    timeline: Timeline,
    tasks: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Document:
    """A run in full, at whatever event `state` and `timeline` end. `tasks` are the workers' tasks
    that steps call, by fallback: a ready step then says in which lane it waits."""
    parent, forked = state.parent, state.forked_from
    return {
        "id": state.run_id,
        "flow": state.flow,
        "version": state.version,
        "plan": state.plan,
        "status": state.status.text,
        "trigger": state.trigger,
        "started_by": state.started_by,
        "priority": state.priority,
        "parent": parent and parent_document(parent),
        "forked_from": forked and {"run": forked.run, "sequence": forked.sequence},
        "started_at": time_text(state.started_ms),
        "scheduled_at": time_text(state.scheduled_at_ms),
        "timeout_at": time_text(state.timeout_at_ms),
        "ended_at": time_text(state.ended_ms),
        "duration_ms": state.ended_ms - state.started_ms if state.ended_ms else None,
        "cancel": _cancel(state.cancel, state.cancel_requested_ms),
        "input": payloads.show(state.input),
        "output": payloads.show(state.output),
        "error": _run_error(state, payloads),
        "resumed": _resumed(state),
        "usage": consumed(timeline),
        "sequence": state.sequence,
        "time": time_text(state.time_ms),
        "steps": {
            key: _step(step, payloads, timeline.get(key)) | _waiting_for(state.tenant, step, tasks)
            for key, step in state.steps.items()
        },
    }


def parent_document(parent: Parent) -> Document:
    shown: Document = {"run": parent.run, "step": parent.step, "attempt": parent.attempt}
    return {**shown, "detached": True} if parent.detached else shown


def _waiting_for(tenant: str, step: StepView, tasks: Mapping[str, Sequence[str]]) -> Document:
    called = tasks.get(name_of(step.key))
    if step.status is not StepStatus.READY or called is None or not called[step.fallback]:
        return {}
    return {"waiting_for": worker_lane(tenant, called[step.fallback])}


def _cancel(cause: CancelCause | None, requested_ms: int) -> Document | None:
    if cause is None:
        return None
    return {"cause": cause.name.lower(), "requested_at": time_text(requested_ms)}


def _resumed(state: RunView) -> Document | None:
    """The last end of a suspension."""
    if not state.resumed_ms:
        return None
    return {"by": state.resumed_by, "at": time_text(state.resumed_ms)}


def _run_error(state: RunView, payloads: Payloads) -> Document | None:
    if state.error is None:
        return None
    step = state.failed_step
    hidden = step is not None and payloads.hides(step)
    message = MASKED if hidden else payloads.show(state.error.message)
    return {"type": state.error.type, "message": message, "step": step}


def _step(step: StepView, payloads: Payloads, timeline: StepTimeline | None) -> Document:
    shown: Document = {"inherited": True} if step.inherited else {}
    shown |= {
        "status": step.status.text,
        "attempt": step.attempt,
        "ready_at": time_text(step.first_ready_ms),
        "ended_at": time_text(step.ended_ms),
        "output": payloads.show_of_step(step.key, step.output),
        "error": step.error and error_document(step.key, step.error, payloads),
        "edges": edge_documents(step.edges),
        "attempts": [_attempt(attempt) for attempt in timeline.attempts] if timeline else [],
        "waits": [_wait(wait) for wait in timeline.waits] if timeline else [],
    }
    _add_particulars(shown, step, payloads)
    _add_what_people_did(shown, step, payloads)
    _add_parts(shown, step, payloads)
    return shown


def _add_what_people_did(shown: Document, step: StepView, payloads: Payloads) -> None:
    if step.repaired:
        shown["repaired"] = step.repaired
    if step.input:
        shown["edited_input"] = payloads.show_of_step(step.key, step.input)
    if step.approval:
        shown["approval"] = payloads.show_of_step(step.key, step.approval)
    if step.escalated:
        shown["escalated"] = step.escalated


def _add_particulars(shown: Document, step: StepView, payloads: Payloads) -> None:
    """Fields that only some steps have are left out of the others."""
    if step.status is StepStatus.WAITING:
        shown["waiting"] = step.waiting.text
        shown["due_at"] = time_text(step.due_ms)
    if step.status is StepStatus.RUNNING:
        shown["executor"] = step.executor
    if step.port:
        shown["port"] = step.port
    if step.recovered:
        shown["recovered"] = True
    if step.skip_reason is not None:
        shown["skip_reason"] = step.skip_reason.text
    if step.child is not None:
        shown["child"] = step.child
    if step.fallback:
        shown["fallback"] = step.fallback
    if step.event:
        shown["event"] = step.event
    if step.notes:
        shown["notes"] = [payloads.show_of_step(step.key, note) for note in step.notes]


def _add_parts(shown: Document, step: StepView, payloads: Payloads) -> None:
    """How far the items, passes or steps are that a step consists of."""
    if step.passes is not None:
        shown["passes"] = step.passes.number
    if step.group is not None:
        shown["steps"] = {"decided": len(step.group.members), "ended": step.group.ended}
    if step.fan_out is not None:
        shown["items"] = _fan_out(step.key, step.fan_out, payloads)


def _fan_out(step: StepKey, fan_out: FanOutView, payloads: Payloads) -> Document:
    return {
        "count": fan_out.count,
        "opened": fan_out.cursor,
        "succeeded": fan_out.succeeded,
        "failed": fan_out.failed,
        "cancelled": fan_out.cancelled,
        "errors": [
            {"index": index, **error_document(step, outcome.error, payloads)}
            for index, outcome in enumerate(fan_out.outcomes)
            if outcome is not None and outcome.error is not None
        ][:ITEM_ERRORS_MAX],
    }


ITEM_ERRORS_MAX = 20
"""Errors of items shown with a fan-out; the events have all of them."""


def error_document(step: StepKey, error: StepError, payloads: Payloads) -> Document:
    return {"type": error.type, "message": payloads.show_of_step(step, error.message)}


def letter_document(row: LetterRow, payloads: Payloads | None = None) -> Document:
    """In a list, which is without `payloads`, only the type of the error."""
    decided = row.decided
    document: Document = {
        "id": row.letter,
        "status": decided.status if decided else OPEN,
        "run": row.run,
        "flow": row.flow,
        "version": row.version,
        "step": row.step,
        "attempt": row.attempt,
        "operation": row.operation,
        "error_type": row.error.type,
        "added_at": time_text(row.added_ms),
        "decided_at": time_text(decided.decided_ms) if decided else None,
        "decided_by": decided.decided_by if decided else None,
        "as_run": decided.as_run if decided else None,
    }
    if payloads is not None:
        document["error"] = error_document(row.step, row.error, payloads)
        document["reason"] = payloads.show(decided.reason) if decided else None
    return document


def edge_documents(edges: Sequence[EdgeTaken]) -> list[Document]:
    return [
        {
            "source": edge.source,
            "port": edge.port or None,
            "state": edge.state.name.lower(),
        }
        for edge in edges
    ]


def _attempt(attempt: Attempt) -> Document:
    return {
        "number": attempt.number,
        "executor": attempt.executor,
        "queued_ms": attempt.queued_ms,
        "assigned_at": time_text(attempt.assigned_ms),
        "ended_at": time_text(attempt.ended_ms),
        "duration_ms": _duration_ms(attempt.assigned_ms, attempt.ended_ms),
        "outcome": attempt.outcome or None,
        "error_type": attempt.error_type or None,
        "usage": attempt.usage and metering_document(attempt.usage),
    }


def consumed(timeline: Timeline) -> list[Document]:
    """What all attempts of the run consumed, by model; also those of items that have ended."""
    totals: dict[str, UsageDelta] = {}
    for step in timeline.values():
        for attempt in step.attempts:
            if attempt.usage is not None:
                totals.setdefault(attempt.usage.model, UsageDelta()).add(attempt.usage)
    return [
        {
            "model": model,
            "calls": total.calls,
            "input_tokens": total.input_tokens,
            "output_tokens": total.output_tokens,
            "cost_micros": total.cost_micros,
        }
        for model, total in sorted(totals.items())
    ]


def metering_document(usage: Usage) -> Document:
    return {
        "model": usage.model,
        "prompt_hash": usage.prompt_hash or None,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_micros": usage.cost_micros,
        "duration_ms": usage.duration_ms,
    }


def _wait(wait: Wait) -> Document:
    return {
        "kind": wait.kind,
        "from": time_text(wait.from_ms),
        "until": time_text(wait.until_ms),
        "due_at": time_text(wait.due_ms),
        "duration_ms": _duration_ms(wait.from_ms, wait.until_ms),
        "child": wait.child,
    }


def _duration_ms(from_ms: int, until_ms: int | None) -> int | None:
    return None if until_ms is None else until_ms - from_ms


def usage_document(usage: Mapping[UsageKey, UsageDelta], from_ms: int, to_ms: int) -> Document:
    """Days are whole: the first and the last may reach beyond the times asked for."""
    return {
        "from": time_text(from_ms),
        "to": time_text(to_ms),
        "rows": [
            {
                "day": f"{datetime.fromtimestamp(key.day * DAY_MS // 1000, UTC):%Y-%m-%d}",
                "flow": key.flow,
                "model": key.model or None,
                **asdict(delta),
            }
            for key, delta in usage.items()
        ],
    }
