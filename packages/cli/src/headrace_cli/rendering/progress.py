"""Live progress: events in, lines out; a line per change of a step.

Items of a fan-out get no lines of their own, unless they fail: their step says every tenth how
far it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import (
    duration_text,
    error_text,
    hint_of,
    payload_text,
    printable,
    time_ms,
    time_of_day,
)
from headrace_core.ids import StepKey, step_of

TIME_COLUMNS = 9
STEP_COLUMNS = 20
_RUN_ENDS = {"RunSucceeded": "succeeded", "RunFailed": "failed", "RunCancelled": "cancelled"}


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
    style: Style
    outcome: str = ""
    sequence: int = 0
    _started_ms: int | None = None
    _items: dict[str, _Items] = field(default_factory=dict[str, _Items])
    _begun: dict[str, int] = field(default_factory=dict[str, int])

    def take(self, event: Mapping[str, Any]) -> list[str]:
        """The lines for one event; an event that was taken before gives none."""
        if event["sequence"] <= self.sequence:
            return []
        self.sequence = event["sequence"]
        at_ms = time_ms(event["time"]) or 0
        if self._started_ms is None:
            self._started_ms = at_ms
        step = event.get("step") or ""
        if not step or event["kind"] in _RUN_ENDS:
            return self._of_run(event, at_ms)
        name, index = step_of(StepKey(step))
        if index is not None and name in self._items:
            return self._of_item(name, step, event, at_ms)
        return self._of_step(step, event, at_ms)

    def _of_run(self, event: Mapping[str, Any], at_ms: int) -> list[str]:
        kind = event["kind"]
        if kind in _RUN_ENDS:
            self.outcome = _RUN_ENDS[kind]
            return [self._line(at_ms, "run", self.outcome, error_text(event.get("error")))]
        if kind == "RunParked":
            self.outcome = "suspended"
            return [self._line(at_ms, "run", self.outcome, error_text(event["incident"]))]
        if kind == "RunStarted":
            return [self._line(at_ms, "run", "running", f"{event['flow']}@{event['version']}")]
        if kind == "RunCancelRequested":
            return [self._line(at_ms, "run", "cancelling", event["cause"].replace("_", " "))]
        return []

    def _of_step(self, step: str, event: Mapping[str, Any], at_ms: int) -> list[str]:
        kind = event["kind"]
        match kind:
            case "StepReady":
                self._begun.setdefault(step, at_ms)
                return []
            case "StepAssigned":
                attempt = f"attempt {event['attempt']}" if event["attempt"] > 1 else ""
                return [self._line(at_ms, step, "running", attempt)]
            case "StepRetryScheduled":
                again = f"{error_text(event['error'])}; again at {time_of_day(event['due_at'])}"
                return [self._line(at_ms, step, "retried" if event["counted"] else "lost", again)]
            case "ItemsExpanded":
                self._items[step] = _Items(event["count"])
                return [self._line(at_ms, step, "running", f"{event['count']} items")]
            case "StepNoted":
                return [self._line(at_ms, step, "running", self._payload(event["note"]))]
            case "StepWaiting" | "ApprovalRequested":
                return [self._line(at_ms, step, "waiting", self._waiting(step, event))]
            case "ApprovalDecided":
                return [self._line(at_ms, step, event["decision"], self._payload(event["answer"]))]
            case "StepSucceeded" | "StepFailed" | "StepCancelled" | "StepSkipped":
                return [self._ended(step, event, at_ms)]
            case _:
                return []

    def _of_item(self, name: str, item: str, event: Mapping[str, Any], at_ms: int) -> list[str]:
        kind = event["kind"]
        if kind not in ("StepSucceeded", "StepFailed", "StepCancelled"):
            return []
        items = self._items[name]
        items.ended += 1
        lines: list[str] = []
        if kind == "StepFailed":
            items.failed += 1
            lines.append(self._line(at_ms, item, "failed", error_text(event["error"])))
        tenths = items.ended * 10 // max(1, items.count)
        if tenths > items.said_tenths:
            items.said_tenths = tenths
            failed = f", {items.failed} failed" if items.failed else ""
            done = f"{items.ended} of {items.count} items{failed}"
            lines.append(self._line(at_ms, name, "running", done))
        return lines

    def _ended(self, step: str, event: Mapping[str, Any], at_ms: int) -> str:
        outcome = event["kind"].removeprefix("Step").lower()
        begun_ms = self._begun.get(step)
        remarks = [duration_text(at_ms - begun_ms)] if begun_ms is not None else []
        if event.get("reason"):
            remarks = [event["reason"].replace("_", " ")]
        if event.get("port"):
            remarks.append(f"port {event['port']}")
        if event.get("recovered"):
            remarks.append("recovered")
        if event.get("error"):
            remarks.append(error_text(event["error"]))
        return self._line(at_ms, step, outcome, "; ".join(remarks))

    def _waiting(self, step: str, event: Mapping[str, Any]) -> str:
        if event["kind"] == "ApprovalRequested":
            return f"for approval: headrace approve {self.run} {step} [--reject]"
        child = f" {event['child']}" if event.get("child") else ""
        due = f" until {time_of_day(event['due_at'])}" if event.get("due_at") else ""
        return f"for {event['waiting']}{child}{due}"

    def _payload(self, value: Any) -> str:
        return "" if hint_of(value) else payload_text(value, self.style, 60)

    def _line(self, at_ms: int, step: str, status: str, remark: str) -> str:
        elapsed = duration_text(at_ms - (self._started_ms or at_ms))
        head = f"{elapsed:>{TIME_COLUMNS}}  {printable(step):{STEP_COLUMNS}}  "
        word = self.style.paint(status, f"{status:9}")
        room = max(20, self.style.width - len(head) - 11)
        return f"{head}{word}  {self.style.shorten(printable(remark), room)}".rstrip()
