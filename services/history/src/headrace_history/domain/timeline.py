"""The timeline of a run: per step its attempts and waits, with their durations.

Unlike the state it keeps what is over: every attempt with its executor and end, every wait with
its kind, and items of a fan-out after they have ended.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace_core.ids import ExecutorId, RunId, StepKey, item_key
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
    match event:
        case ev.StepReady():
            _ready(_step(steps, event.step), time_ms)
        case ev.ItemsRefilled():
            for index in range(event.first, event.first + event.count):
                _ready(_step(steps, item_key(event.step, index)), time_ms)
        case ev.StepAssigned():
            _assigned(_step(steps, event.step), event, time_ms)
        case ev.StepWaiting():
            _waits(_step(steps, event.step), event.kind.text, time_ms, event.due_ms, event.child)
        case ev.ItemsExpanded():
            _waits(_step(steps, event.step), "items", time_ms)
        case ev.ApprovalRequested():
            _waits(_step(steps, event.step), "approval", time_ms, event.expires_at_ms)
        case ev.StepRetryScheduled():
            _retried(_step(steps, event.step), event, time_ms)
        case ev.StepSucceeded():
            _end(_step(steps, event.step), "succeeded", time_ms, event.usage)
        case ev.StepFailed():
            step = _step(steps, event.step)
            _end(step, "failed", time_ms, event.usage, event.error.type)
        case ev.StepCancelled():
            _end(_step(steps, event.step), "cancelled", time_ms, event.usage)
        case ev.StepSkipped():
            _end(_step(steps, event.step), "skipped", time_ms, None)
        case _:
            pass


def _step(steps: Timeline, key: StepKey) -> StepTimeline:
    step = steps.get(key)
    if step is None:
        step = steps[key] = StepTimeline(key)
    return step


def _ready(step: StepTimeline, time_ms: int) -> None:
    _end_wait(step, time_ms)
    step.queued_from_ms = time_ms
    if step.ready_ms is None:
        step.ready_ms = time_ms


def _assigned(step: StepTimeline, event: ev.StepAssigned, time_ms: int) -> None:
    queued_ms = time_ms - step.queued_from_ms
    step.attempts.append(Attempt(event.attempt, event.executor, time_ms, queued_ms))


def _waits(
    step: StepTimeline,
    kind: str,
    time_ms: int,
    due_ms: int | None = None,
    child: RunId | None = None,
) -> None:
    _end_wait(step, time_ms)
    step.waits.append(Wait(kind, time_ms, due_ms=due_ms, child=child))


def _end_wait(step: StepTimeline, time_ms: int) -> None:
    if step.waits and step.waits[-1].until_ms is None:
        step.waits[-1].until_ms = time_ms


def _retried(step: StepTimeline, event: ev.StepRetryScheduled, time_ms: int) -> None:
    outcome = "retried" if event.counted else "lost"
    _end_attempt(step, outcome, time_ms, event.usage, event.error.type)
    _waits(step, "backoff", time_ms, event.due_ms)


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
