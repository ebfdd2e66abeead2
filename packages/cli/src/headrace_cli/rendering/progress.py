"""Live progress: events in, changes of the run and its steps out.

Items of a fan-out, and what is inside of them, have no changes of their own, unless they fail or
ask somebody: their step says how far it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import (
    due_text,
    error_text,
    hint_of,
    payload_text,
    printable,
    time_ms,
)
from headrace_core.ids import StepKey, compensation_key, enclosing_items, item_of

RUN = "run"
"""Stands in the place of a step where the run itself changes."""
NOTE_COLUMNS = 60
_PLAIN = Style()
_RUN_ENDS = {
    "RunSucceeded": "succeeded",
    "RunFailed": "failed",
    "RunCancelled": "cancelled",
    "RunCompensated": "compensated",
}
_OF_RUN = frozenset({*_RUN_ENDS, "RunSuspended", "RunCompensating"})
"""They may name the step that led to them."""

_ENDS = ("StepSucceeded", "StepFailed", "StepCancelled")
_WORTH_A_LINE = ("StepFailed", "ApprovalRequested", "ApprovalDecided")
"""Of an item, and of what is inside of one."""


@dataclass(frozen=True, slots=True)
class Change:
    """`took_ms` is set where a step ended that had begun. What `is_minor` is for a table that shows
    the newest state, and not worth a line of its own."""

    at_ms: int
    step: str
    status: str
    remark: str = ""
    took_ms: int | None = None
    is_minor: bool = False


@dataclass(slots=True)
class _Items:
    count: int
    ended: int = 0
    failed: int = 0
    said_tenths: int = 0


@dataclass(slots=True)
class Progress:
    """`outcome` is the run's status once it has ended or is suspended, empty before."""

    run: str
    outcome: str = ""
    sequence: int = 0
    started_ms: int = 0
    _items: dict[str, _Items] = field(default_factory=dict[str, _Items])
    _begun: dict[str, int] = field(default_factory=dict[str, int])

    def take(self, event: Mapping[str, Any]) -> list[Change]:
        """What one event changes; an event that was taken before changes nothing."""
        if event["sequence"] <= self.sequence:
            return []
        self.sequence = event["sequence"]
        at_ms = time_ms(event["time"]) or 0
        self.started_ms = self.started_ms or at_ms
        step = event.get("step") or ""
        if not step or event["kind"] in _OF_RUN:
            return list(self._of_run(event, at_ms))
        item = item_of(StepKey(step))
        if item is not None and item[0] in self._items and event["kind"] in _ENDS:
            return list(self._of_item(item[0], step, event, at_ms))
        one_of_many = any(True for _ in enclosing_items(StepKey(step)))
        if one_of_many and event["kind"] not in _WORTH_A_LINE:
            return []
        return list(self._of_step(step, event, at_ms))

    def _of_run(self, event: Mapping[str, Any], at_ms: int) -> Iterator[Change]:
        kind = event["kind"]
        if kind in _RUN_ENDS:
            self.outcome = _RUN_ENDS[kind]
            yield Change(at_ms, RUN, self.outcome, error_text(event.get("error")))
        elif kind in ("RunParked", "RunSuspended"):
            self.outcome = "suspended"
            yield Change(at_ms, RUN, self.outcome, error_text(event["incident"]))
        elif kind == "RunResumed" and event.get("resumed_by"):
            self.outcome = ""
            yield Change(at_ms, RUN, "running", f"resumed by {event['resumed_by']}")
        elif kind == "RunCompensating":
            yield Change(at_ms, RUN, "compensating", error_text(event["error"]))
        elif kind == "RunStarted":
            begun = "queued" if event.get("limit_key") else "running"
            yield Change(at_ms, RUN, begun, f"{event['flow']}@{event['version']}")
        elif kind == "RunForked":
            origin = f"{event['flow']}@{event['version']}, forked from {event['source']}"
            yield Change(at_ms, RUN, "queued" if event.get("limit_key") else "running", origin)
        elif kind == "RunAdmitted":
            yield Change(at_ms, RUN, "running", "its turn has come")
        elif kind == "RunCancelRequested":
            by_key = event["cause"] == "concurrency"
            why = _payload(event["reason"]) if by_key else event["cause"].replace("_", " ")
            yield Change(at_ms, RUN, "cancelling", why)

    def _of_step(self, step: str, event: Mapping[str, Any], at_ms: int) -> Iterator[Change]:
        match event["kind"]:
            case "StepReady":
                self._begun.setdefault(step, at_ms)
                yield Change(at_ms, step, "ready", is_minor=True)
            case "StepCompensating":
                undo = compensation_key(StepKey(step))
                self._begun.setdefault(undo, at_ms)
                yield Change(at_ms, undo, "ready", is_minor=True)
            case "StepAssigned":
                attempt = f"attempt {event['attempt']}" if event["attempt"] > 1 else ""
                yield Change(at_ms, step, "running", attempt)
            case "StepRetryScheduled":
                due = due_text(event["due_at"], at_ms)
                again = f"{error_text(event['error'])}; again at {due}"
                yield Change(at_ms, step, "retried" if event["counted"] else "lost", again)
            case "ItemsExpanded":
                self._begun.setdefault(step, at_ms)
                self._items[step] = _Items(event["count"])
                yield Change(at_ms, step, "running", f"{event['count']} items")
            case "StepRepaired":
                self._begun.pop(step, None)
                yield Change(at_ms, step, "repaired", _repair_text(event))
            case "StepNoted":
                yield Change(at_ms, step, "running", _payload(event["note"]))
            case "StepWaiting" | "ApprovalRequested":
                self._begun.setdefault(step, at_ms)
                yield Change(at_ms, step, "waiting", self._waiting(step, event, at_ms))
            case "ApprovalEscalated":
                yield Change(at_ms, step, "waiting", self._escalated(step, event))
            case "ApprovalDecided" | "SignalReceived" | "EventReceived":
                yield Change(at_ms, step, *_word_from_outside(event))
            case "StepSucceeded" | "StepFailed" | "StepCancelled" | "StepSkipped":
                yield self._ended(step, event, at_ms)
            case _:
                yield from self._of_whole(step, event, at_ms)

    def _of_whole(self, step: str, event: Mapping[str, Any], at_ms: int) -> Iterator[Change]:
        """Of a step that consists of passes or of steps."""
        match event["kind"]:
            case "PassStarted":
                self._begun.setdefault(step, at_ms)
                yield Change(at_ms, step, "running", f"pass {event['number']}")
            case "GroupOpened":
                yield Change(at_ms, step, "running", is_minor=True)
            case "StepStopRequested":
                why = f"{event['by']} goes on without it" if event.get("by") else ""
                yield Change(at_ms, step, "cancelling", why or error_text(event.get("error")))
            case _:
                return

    def _of_item(
        self, name: str, item: str, event: Mapping[str, Any], at_ms: int
    ) -> Iterator[Change]:
        items = self._items[name]
        items.ended += 1
        if event["kind"] == "StepFailed":
            items.failed += 1
            yield Change(at_ms, item, "failed", error_text(event["error"]))
        tenths = items.ended * 10 // max(1, items.count)
        is_new, items.said_tenths = tenths > items.said_tenths, tenths
        failed = f", {items.failed} failed" if items.failed else ""
        done = f"{items.ended} of {items.count} items{failed}"
        yield Change(at_ms, name, "running", done, is_minor=not is_new)

    def _ended(self, step: str, event: Mapping[str, Any], at_ms: int) -> Change:
        outcome = event["kind"].removeprefix("Step").lower()
        begun_ms = self._begun.get(step)
        remarks: list[str] = []
        if event.get("reason"):
            remarks.append(event["reason"].replace("_", " "))
        items = self._items.get(step)
        if items is not None:
            remarks.append(f"{items.count - items.failed} of {items.count} items")
        if event.get("port"):
            remarks.append(f"port {event['port']}")
        if event.get("recovered"):
            remarks.append("recovered")
        if event.get("error"):
            remarks.append(error_text(event["error"]))
        took_ms = None if begun_ms is None or outcome == "skipped" else at_ms - begun_ms
        return Change(at_ms, step, outcome, "; ".join(remarks), took_ms)

    def _escalated(self, step: str, event: Mapping[str, Any]) -> str:
        request = cast("dict[str, Any]", event["request"] or {})
        added: list[Any] = request.get("added") or []
        who = printable(", ".join(map(str, added))) if added else "more people"
        return f"escalated to {who}: headrace approve {self.run} {step} [--reject]"

    def _waiting(self, step: str, event: Mapping[str, Any], at_ms: int) -> str:
        if event["kind"] == "ApprovalRequested":
            return f"for approval: headrace approve {self.run} {step} [--reject]"
        child = f" {event['child']}" if event.get("child") else ""
        due = f" until {due_text(event['due_at'], at_ms)}" if event.get("due_at") else ""
        return f"for {event['waiting']}{child}{due}"


def _repair_text(event: Mapping[str, Any]) -> str:
    edited = f" {_payload(event['input'])}" if event.get("input") is not None else ""
    return f"{event['repair']} by {event['repaired_by']}{edited}"


def _word_from_outside(event: Mapping[str, Any]) -> tuple[str, str]:
    match event["kind"]:
        case "ApprovalDecided":
            return event["decision"], _payload(event["answer"])
        case "SignalReceived":
            return "received", f"signal by {event['sent_by']}"
        case _:
            return "received", event["event"]


def _payload(value: Any) -> str:
    return "" if hint_of(value) else payload_text(value, _PLAIN, NOTE_COLUMNS)
