"""The timeline of a run: per step its attempts and waits, with their durations.

Unlike the state it keeps what is over: every attempt with its executor and end, every wait with
its kind, and items of a fan-out after they have ended.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from headrace_core.ids import (
    ExecutorId,
    RunId,
    StepKey,
    compensation_key,
    item_key,
    pass_key,
)
from headrace_core.run import events as ev
from headrace_core.run.replay import StoredTurn


@dataclass(slots=True)
class Attempt:
    """`outcome` is empty while open, else succeeded, failed, retried, lost or cancelled."""

    number: int
    executor: ExecutorId
    assigned_ms: int
    queued_ms: int
    ended_ms: int | None = None
    outcome: str = ""
    error_type: str = ""
    usage: ev.Usage | None = None


@dataclass(slots=True)
class Wait:
    kind: str
    from_ms: int
    until_ms: int | None = None
    due_ms: int | None = None
    child: RunId | None = None


@dataclass(slots=True)
class StepTimeline:
    """`outcome` is the step's terminal status, empty before."""

    step: StepKey
    ready_ms: int | None = None
    ended_ms: int | None = None
    outcome: str = ""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    waits: list[Wait] = field(default_factory=list[Wait])
    queued_from_ms: int = 0


Timeline = dict[StepKey, StepTimeline]


def timeline_of(turns: Iterable[StoredTurn], until: int | None = None) -> Timeline:
    """In the order in which the log first names the steps; `until` as in replay."""
    steps: Timeline = {}
    for turn in turns:
        events = turn.events
        if until is not None:
            if turn.sequence > until:
                break
            events = events[: until - turn.sequence + 1]
        for event in events:
            _take(steps, event, turn.time_ms)
    return steps


def _take(steps: Timeline, event: ev.RunEvent, time_ms: int) -> None:
    take = _TAKES.get(type(event))
    if take is not None:
        key: StepKey = cast(Any, event).step
        take(_step(steps, key), event, time_ms)
    elif isinstance(event, ev.ItemsRefilled):
        for index in range(event.first, event.first + event.count):
            _ready(_step(steps, item_key(event.step, index)), event, time_ms)
    elif isinstance(event, ev.StepCompensating):
        _ready(_step(steps, compensation_key(event.step)), event, time_ms)
    if isinstance(event, ev.PassStarted):
        _ready(_step(steps, pass_key(event.step, event.number)), event, time_ms)


def _step(steps: Timeline, key: StepKey) -> StepTimeline:
    step = steps.get(key)
    if step is None:
        step = steps[key] = StepTimeline(key)
    return step


def _ready(step: StepTimeline, event: ev.RunEvent, time_ms: int) -> None:
    _end_wait(step, time_ms)
    step.queued_from_ms = time_ms
    if step.ready_ms is None:
        step.ready_ms = time_ms


def _assigned(step: StepTimeline, event: ev.StepAssigned, time_ms: int) -> None:
    queued_ms = time_ms - step.queued_from_ms
    step.attempts.append(Attempt(event.attempt, event.executor, time_ms, queued_ms))


def _waiting(step: StepTimeline, event: ev.StepWaiting, time_ms: int) -> None:
    _end_wait(step, time_ms)
    step.waits.append(Wait(event.kind.text, time_ms, due_ms=event.due_ms, child=event.child))


def _expanded(step: StepTimeline, event: ev.ItemsExpanded, time_ms: int) -> None:
    _end_wait(step, time_ms)
    step.waits.append(Wait("items", time_ms))


def _approval(step: StepTimeline, event: ev.ApprovalRequested, time_ms: int) -> None:
    _end_wait(step, time_ms)
    step.waits.append(Wait("approval", time_ms, due_ms=event.expires_at_ms))


def _group_opened(step: StepTimeline, event: ev.GroupOpened, time_ms: int) -> None:
    _end_wait(step, time_ms)
    step.waits.append(Wait("steps", time_ms, due_ms=event.due_ms))


def _pass_started(step: StepTimeline, event: ev.PassStarted, time_ms: int) -> None:
    _end_wait(step, time_ms)
    step.waits.append(Wait("pass", time_ms))


def _retried(step: StepTimeline, event: ev.StepRetryScheduled, time_ms: int) -> None:
    outcome = "retried" if event.counted else "lost"
    _end_attempt(step, outcome, time_ms, event.usage, event.error.type)
    _end_wait(step, time_ms)
    step.waits.append(Wait("backoff", time_ms, due_ms=event.due_ms))


def _succeeded(step: StepTimeline, event: ev.StepSucceeded, time_ms: int) -> None:
    if event.error is not None:
        # The step has recovered; its last attempt has not.
        _end_attempt(step, "failed", time_ms, event.usage, event.error.type)
    _end(step, "succeeded", time_ms, event.usage)


def _failed(step: StepTimeline, event: ev.StepFailed, time_ms: int) -> None:
    _end(step, "failed", time_ms, event.usage, event.error.type)


def _cancelled(step: StepTimeline, event: ev.StepCancelled, time_ms: int) -> None:
    _end(step, "cancelled", time_ms, event.usage)


def _skipped(step: StepTimeline, event: ev.StepSkipped, time_ms: int) -> None:
    _end(step, "skipped", time_ms, None)


def _repaired(step: StepTimeline, event: ev.StepRepaired, time_ms: int) -> None:
    step.ended_ms, step.outcome = None, ""


def _end_wait(step: StepTimeline, time_ms: int) -> None:
    if step.waits and step.waits[-1].until_ms is None:
        step.waits[-1].until_ms = time_ms


def _end_attempt(
    step: StepTimeline, outcome: str, time_ms: int, usage: ev.Usage | None, error_type: str
) -> None:
    if not step.attempts or step.attempts[-1].ended_ms is not None:
        return
    attempt = step.attempts[-1]
    attempt.ended_ms, attempt.outcome = time_ms, outcome
    attempt.usage, attempt.error_type = usage, error_type


def _end(
    step: StepTimeline, outcome: str, time_ms: int, usage: ev.Usage | None, error_type: str = ""
) -> None:
    _end_attempt(step, outcome, time_ms, usage, error_type)
    _end_wait(step, time_ms)
    step.ended_ms, step.outcome = time_ms, outcome


_TAKES: Mapping[type[ev.RunEvent], Callable[[StepTimeline, Any, int], None]] = {
    ev.StepReady: _ready,
    ev.StepAssigned: _assigned,
    ev.StepWaiting: _waiting,
    ev.ItemsExpanded: _expanded,
    ev.GroupOpened: _group_opened,
    ev.PassStarted: _pass_started,
    ev.ApprovalRequested: _approval,
    ev.StepRetryScheduled: _retried,
    ev.StepSucceeded: _succeeded,
    ev.StepFailed: _failed,
    ev.StepCancelled: _cancelled,
    ev.StepSkipped: _skipped,
    ev.StepRepaired: _repaired,
}
