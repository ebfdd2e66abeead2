"""What a flow's steps come to, computed without the engine: the design's brute-force check of
joins, extended by time and by `cancelled`.

Independent on purpose: nothing here is shared with what it is compared to.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

Definition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step does if it runs: its last status (skipped where its `when` does not hold), the
    port it takes, and how long it takes."""

    status: str
    port: str = ""
    takes_ms: int = 0


def ports(step: Definition) -> list[str]:
    if "switch" in step:
        return [case["port"] for case in step["switch"]]
    return ["approved", "rejected", "expired"] if "approval" in step else []


def edges(step: Definition) -> Iterator[tuple[str, str]]:
    for need in step.get("needs", []):
        source, _, port = need.partition(".")
        yield source, port


def decide(join: Any, found: list[str]) -> str:
    """run | skip | wait; once it is not `wait`, a later edge cannot change it."""
    if not found:
        return "run"
    active, undecided = found.count("active"), found.count("undecided")
    bad = found.count("dead") + found.count("broken")
    if join == "all":
        if bad or found.count("skipped"):
            return "skip"
        return "run" if active == len(found) else "wait"
    if join == "any" or isinstance(join, dict):
        least = 1 if join == "any" else cast("dict[str, int]", join)["at_least"]
        if active >= least:
            return "run"
        return "skip" if active + undecided < least else "wait"
    if join == "settled":
        if bad:
            return "skip"
        return "wait" if undecided else "run" if active else "skip"
    return "wait" if undecided else "run"


@dataclass(slots=True)
class Reference:
    """`on_failure` is drain or cancel; `cancelled_at_ms` is when somebody cancels the run."""

    steps: Definition
    outcomes: Mapping[str, Outcome]
    on_failure: str = "drain"
    cancelled_at_ms: int | None = None
    ended: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    _running: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    _failed: bool = False

    def finals(self) -> dict[str, tuple[str, str]]:
        """Status and port of every step."""
        self._settle(0)
        while self._running:
            now_ms, step = heapq.heappop(self._running)
            if self.cancelled_at_ms is not None and self.cancelled_at_ms <= now_ms:
                self._cancel_all(step)
                break
            self._end(step)
            self._settle(now_ms)
        return self.ended

    def _settle(self, now_ms: int) -> None:
        while self._settle_once(now_ms):
            pass

    def _settle_once(self, now_ms: int) -> bool:
        running = {step for _, step in self._running}
        for name, step in self.steps.items():
            if name in self.ended or name in running:
                continue
            found = [self._edge(source, port) for source, port in edges(step)]
            decision = decide(step.get("join", "all"), found)
            if decision == "wait":
                continue
            outcome = self.outcomes[name]
            if decision == "skip" or outcome.status == "skipped" or self._stops(name):
                self.ended[name] = ("skipped", "")
            elif outcome.takes_ms:
                heapq.heappush(self._running, (now_ms + outcome.takes_ms, name))
            else:
                self._end(name)
            return True
        return False

    def _end(self, name: str) -> None:
        outcome = self.outcomes[name]
        self.ended[name] = (outcome.status, outcome.port)
        uncaught = outcome.status == "failed" and self.steps[name].get("on_error") != "catch"
        if not uncaught or self._failed:
            return
        self._failed = True
        for _, step in list(self._running):
            if self._stops(step):
                self.ended[step] = ("cancelled", "")
        self._running = [one for one in self._running if one[1] not in self.ended]
        heapq.heapify(self._running)

    def _cancel_all(self, popped: str) -> None:
        for name in (popped, *(step for _, step in self._running)):
            self.ended[name] = ("cancelled", "")
        for name in self.steps:
            self.ended.setdefault(name, ("skipped", ""))

    def _edge(self, source: str, port: str) -> str:
        if source not in self.ended:
            return "undecided"
        status, taken = self.ended[source]
        if status == "skipped":
            return "skipped"
        if port == "error":
            return "active" if status == "failed" else "dead"
        if status == "cancelled":
            return "broken"
        if status == "failed":
            return "dead" if self.steps[source].get("on_error") == "catch" else "broken"
        return "active" if port in ("", taken) else "dead"

    def _stops(self, name: str) -> bool:
        """Whether a failure has stopped this step: all but what is there for failures."""
        return self._failed and self.on_failure == "cancel" and not self._protected(name)

    def _protected(self, name: str) -> bool:
        step = self.steps[name]
        behind_error = any(port == "error" for _, port in edges(step))
        if step.get("join") == "always" or behind_error:
            return True
        return any(self._protected(source) for source, _ in edges(step))
