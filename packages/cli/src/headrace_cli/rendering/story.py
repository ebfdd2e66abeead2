"""Why a step ran, waits, was skipped or failed: told from the events of its run alone. Pure.

Events are documents as the API gives them. A kind that is not known here is told by its name, so
that a newer log still reads.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from headrace_cli.rendering.values import clock_text, error_text, json_line, time_ms
from headrace_cli.rendering.values import duration_text as duration_words

Event = Mapping[str, Any]

PENDING, READY, RUNNING, WAITING = "pending", "ready", "running", "waiting"
_STATUS: Mapping[str, str] = {
    "StepReady": READY,
    "StepAssigned": RUNNING,
    "StepWaiting": WAITING,
    "StepRetryScheduled": WAITING,
    "ApprovalRequested": WAITING,
    "ApprovalEscalated": WAITING,
    "StepRepaired": PENDING,
    "ItemsExpanded": WAITING,
    "StepSucceeded": "succeeded",
    "StepFailed": "failed",
    "StepSkipped": "skipped",
    "StepCancelled": "cancelled",
}
_ENDS = ("StepSucceeded", "StepFailed", "StepSkipped", "StepCancelled")
COMPENSATING = "StepCompensating"
_UPSTREAM = ("upstream_skipped", "upstream_failed", "upstream_cancelled")


@dataclass(frozen=True, slots=True)
class Story:
    """`because` is the answer in one sentence. `edges` say what each `needs` entry came to,
    `roots` where a skip began, `history` what happened to the step, with its times."""

    step: str
    status: str
    because: str
    edges: tuple[str, ...]
    roots: tuple[str, ...]
    history: tuple[tuple[str, str], ...]


def steps_of(events: Sequence[Event]) -> list[str]:
    """The steps that the log knows, items among them, in the order of their first event."""
    return list(dict.fromkeys(event["step"] for event in events if event.get("step")))


def with_inherited(events: Iterable[Event]) -> list[Event]:
    """Of a fork: behind its first event one for the end of each step that it has inherited."""
    listed: list[Event] = []
    for event in events:
        listed.append(event)
        if event["kind"] == "RunForked":
            listed += (_inherited(event, step) for step in event["steps"])
    return listed


def _inherited(fork: Event, step: Mapping[str, Any]) -> Event:
    return {
        "sequence": fork["sequence"],
        "time": step["ended_at"] or fork["time"],
        "kind": f"Step{step['status'].capitalize()}",
        "step": step["step"],
        "port": step["port"],
        "error": step["error"],
        "reason": step["skip_reason"],
        "handled": True,
        "attempt": 0,
        "edges": [],
        "source": fork["source"],
        "edited": step["edited"],
    }


def tell(events: Sequence[Event], step: str, needs: Sequence[str] = ()) -> Story:
    """`needs` are those of the definition; they matter only while the step is pending."""
    mine = list(_events_of(events, step))
    # The story of an item, or of undoing, begins with an event of the step that it belongs to.
    opened = mine and (_item(step)[1] is not None or _undoing(mine[0]) == step)
    status = READY if opened else PENDING
    for event in mine:
        status = _STATUS.get(event["kind"], status)
    decided = next((event for event in mine if event.get("edges")), None)
    edges = tuple(_edge_words(events, decided)) if decided is not None else ()
    return Story(
        step=step,
        status=status,
        because=_because(events, step, mine, status, needs),
        edges=edges,
        roots=tuple(_roots(events, mine)),
        history=tuple((event["time"], _words(event)) for event in mine),
    )


def story_document(story: Story) -> dict[str, Any]:
    return {
        "step": story.step,
        "status": story.status,
        "because": story.because,
        "edges": list(story.edges),
        "roots": list(story.roots),
        "history": [{"time": time, "text": text} for time, text in story.history],
    }


def _events_of(events: Sequence[Event], step: str) -> Iterator[Event]:
    owner, index = _item(step)
    for event in events:
        if event["kind"].startswith("Run"):
            continue
        if event["kind"] == COMPENSATING and _undoing(event) == step:
            yield event
        elif event.get("step") == step:
            if index is None or event["kind"] not in ("ItemsExpanded", "ItemsRefilled"):
                yield event
        elif index is not None and event["kind"] == "ItemsRefilled" and event["step"] == owner:
            # One event opens many items.
            yield from [event] if 0 <= index - event["first"] < event["count"] else []


def _undoing(event: Event) -> str:
    return f"{event['step']}:compensate"


def _last(mine: Sequence[Event], kind: str) -> Event:
    return next(event for event in reversed(mine) if event["kind"] == kind)


def _item(step: str) -> tuple[str, int | None]:
    name, bracket, index = step.rpartition("[")
    if not bracket or not index.endswith("]") or not index[:-1].isdigit():
        return step, None
    return name, int(index[:-1])


# The answer in one sentence.


def _because(
    events: Sequence[Event], step: str, mine: Sequence[Event], status: str, needs: Sequence[str]
) -> str:
    if mine and mine[-1].get("source"):
        edited = ", and its output was edited" if mine[-1]["edited"] else ""
        return f"it {status} in {mine[-1]['source']}, which this run was forked from{edited}"
    stopped = _run_stands(events) if status in (PENDING, READY, RUNNING, WAITING) else ""
    match status:
        case "pending":
            return _pending(events, needs) + stopped
        case "ready":
            return "it is ready, and no executor has taken it yet" + stopped
        case "running":
            last = _last(mine, "StepAssigned")
            return f"attempt {last['attempt']} runs at {last['executor']}" + stopped
        case "waiting":
            return _waiting(events, step, mine) + stopped
        case "succeeded":
            return _succeeded(mine)
        case "failed":
            return _failed(mine)
        case "skipped":
            return _skipped(events, _last(mine, "StepSkipped"))
        case _:
            return _stopped(events, mine[-1]["sequence"])


def _pending(events: Sequence[Event], needs: Sequence[str]) -> str:
    open_sources = [
        f"{need} ({status})"
        for need in needs
        if (status := _status_of(events, need.partition(".")[0])) not in ("succeeded", "failed")
    ]
    if not needs:
        return "nothing was decided of it yet"
    if not open_sources:
        return "everything it needs has ended, and its decision is due"
    return f"it waits for {', '.join(open_sources)}"


def _status_of(events: Sequence[Event], step: str) -> str:
    status = PENDING
    for event in events:
        if event.get("step") == step:
            status = _STATUS.get(event["kind"], status)
    return status


def _waiting(events: Sequence[Event], step: str, mine: Sequence[Event]) -> str:
    last = next(event for event in reversed(mine) if _STATUS.get(event["kind"]) == WAITING)
    due = clock_text(last.get("due_at") or last.get("expires_at"))
    until = f" until {due}" if due else ""
    match last["kind"]:
        case "StepRetryScheduled":
            error = error_text(last["error"])
            return f"attempt {last['attempt']} ended with {error}; the next one waits{until}"
        case "ApprovalRequested" | "ApprovalEscalated":
            due = clock_text(_last(mine, "ApprovalRequested").get("expires_at"))
            until = f" until {due}" if due else ""
            return f"it waits for a person to decide{until}{_asked(last)}"
        case "ItemsExpanded":
            ended = sum(
                event["kind"] in _ENDS and _item(event["step"])[0] == step and event["step"] != step
                for event in events
                if event.get("step")
            )
            return f"{ended} of its {last['count']} items have ended"
        case _:
            child = f" run {last['child']}" if last.get("child") else ""
            return f"it waits for {_WAITS.get(last['waiting'], last['waiting'])}{child}{until}"


_WAITS: Mapping[str, str] = {
    "timer": "its time",
    "event": "an event",
    "child": "the flow that it calls,",
    "rate": "room under its rate limit",
    "budget": "room in its budget",
    "circuit": "the far side to recover",
}


def _asked(event: Event) -> str:
    request = event.get("request")
    document = cast("dict[str, Any]", request) if isinstance(request, dict) else {}
    assignees: list[Any] = document.get("assignees") or []
    return f"; asked are {', '.join(map(str, assignees))}" if assignees else ""


def _succeeded(mine: Sequence[Event]) -> str:
    last = _last(mine, "StepSucceeded")
    tried = sum(event["kind"] == "StepAssigned" for event in mine)
    words = [f"it succeeded in attempt {tried}" if tried > 1 else "it succeeded"]
    if last.get("port"):
        words.append(f"by port {last['port']}")
    if last.get("recovered"):
        words.append(f"in spite of {error_text(last.get('error'))}")
    return " ".join(words)


def _failed(mine: Sequence[Event]) -> str:
    last = _last(mine, "StepFailed")
    tried = sum(event["kind"] == "StepAssigned" for event in mine)
    attempts = f" after {tried} attempts" if tried > 1 else ""
    caught = "; the definition catches it, so the run goes on" if last.get("handled") else ""
    return f"it failed{attempts} with {error_text(last['error'])}{caught}"


def _skipped(events: Sequence[Event], skipped: Event) -> str:
    match skipped["reason"]:
        case "condition":
            return "its `when` did not hold"
        case "branch_not_taken":
            return "a way that it needs was not taken"
        case "run_cancelled":
            return _stopped(events, skipped["sequence"])
        case "by_operator":
            mine = [event for event in events if event.get("step") == skipped["step"]]
            return f"{_last(mine, 'StepRepaired')['repaired_by']} skipped it to repair the run"
        case reason:
            return f"a step that it needs was {_REASONS[reason]}"


_REASONS: Mapping[str, str] = {
    "upstream_skipped": "skipped",
    "upstream_failed": "in failure",
    "upstream_cancelled": "cancelled",
}


def _stopped(events: Sequence[Event], sequence: int) -> str:
    """What stopped the run, or this step, before the event of that number."""
    before = [event for event in events if event["sequence"] <= sequence]
    cancel = next((one for one in before if one["kind"] == "RunCancelRequested"), None)
    if cancel is not None:
        return f"the run was stopped: {_CAUSES[cancel['cause']].format(**cancel)}"
    failed = next(
        (one for one in before if one["kind"] == "StepFailed" and not one.get("handled")), None
    )
    if failed is None:
        return "it was not needed any more"
    error = error_text(failed["error"])
    return f"a failure stops what is open in this flow: {failed['step']} had failed with {error}"


_CAUSES: Mapping[str, str] = {
    "request": "{requested_by} cancelled it",
    "run_timeout": "its timeout had passed",
    "parent": "the run that called it gave it up",
    "concurrency": "{reason}",
}


def _run_stands(events: Sequence[Event]) -> str:
    """What is to be said of a run whose steps are open and do not move."""
    for event in reversed(events):
        kind = event["kind"]
        if kind in ("RunParked", "RunSuspended"):
            return f"; the run is suspended: {error_text(event.get('incident'))}"
        if kind in ("RunStarted", "RunForked") and event.get("limit_key"):
            return "; the run is queued: as many runs with its `concurrency` key are open as may be"
        if kind.startswith("Run") and kind != "RunWaiting":
            return ""
    return ""


# What `needs` came to.


def _edge_words(events: Sequence[Event], decided: Event) -> Iterator[str]:
    before = [event for event in events if event["sequence"] < decided["sequence"]]
    for edge in decided["edges"]:
        name = f"{edge['source']}.{edge['port']}" if edge.get("port") else edge["source"]
        yield f"{name} is {edge['state']}: {_end_words(before, edge['source'])}"


def _end_words(before: Sequence[Event], source: str) -> str:
    for event in reversed(before):
        if event.get("step") == source and event["kind"] in _ENDS:
            return f"{source} {_ended(event)}"
    return f"{source} has not ended"


def _ended(event: Event) -> str:
    match event["kind"]:
        case "StepSucceeded":
            return f"took port {event['port']}" if event.get("port") else "succeeded"
        case "StepFailed":
            return f"failed with {error_text(event['error'])}"
        case "StepSkipped":
            return f"was skipped ({event['reason'].replace('_', ' ')})"
        case _:
            return "was cancelled"


def _roots(events: Sequence[Event], mine: Sequence[Event]) -> Iterator[str]:
    """Where a chain of skipped steps begins, if it is not next to the step."""
    skipped = next((event for event in mine if event["kind"] == "StepSkipped"), None)
    if skipped is None or skipped["reason"] not in _UPSTREAM:
        return
    ends = {event["step"]: event for event in events if event["kind"] in _ENDS}
    seen: set[str] = set()
    look_at = [(edge["source"], 1) for edge in skipped["edges"] if edge["state"] != "active"]
    while look_at:
        source, distance = look_at.pop(0)
        event = ends.get(source)
        if source in seen or event is None:
            continue
        seen.add(source)
        if event["kind"] == "StepSkipped" and event["reason"] in _UPSTREAM:
            edges = [edge for edge in event["edges"] if edge["state"] != "active"]
            look_at += [(edge["source"], distance + 1) for edge in edges]
        elif distance > 1:
            yield f"{source} {_ended(event)}"


# What happened, event by event.


def _words(event: Event) -> str:
    tell_kind = _TELL.get(event["kind"])
    return tell_kind(event) if tell_kind is not None else _by_name(event)


def _by_name(event: Event) -> str:
    shown = {
        name: value
        for name, value in event.items()
        if name not in ("sequence", "time", "kind", "step") and value not in (None, "", [], 0)
    }
    return f"{event['kind']} {json_line(shown)}" if shown else event["kind"]


def _retry(event: Event) -> str:
    pause_ms = (time_ms(event["due_at"]) or 0) - (time_ms(event["time"]) or 0)
    pause = f"after {duration_words(pause_ms)}" if pause_ms > 0 else "at once"
    then = f"tried again {pause}"
    if event.get("fallback"):
        then += f" by fallback {event['fallback']}"
    lost = "" if event.get("counted", True) else ", which does not count"
    return f"attempt {event['attempt']} ended with {error_text(event['error'])}{lost}; {then}"


def _waits(event: Event) -> str:
    due = clock_text(event.get("due_at"))
    child = f" run {event['child']}" if event.get("child") else ""
    waited_for = _WAITS.get(event["waiting"], event["waiting"])
    return f"waits for {waited_for}{child}{f' until {due}' if due else ''}"


def _requested(event: Event) -> str:
    due = clock_text(event.get("expires_at"))
    return f"a person is asked{_asked(event)}{f'; until {due}' if due else ''}"


def _stop_words(event: Event) -> str:
    if event.get("by"):
        return f"asked to end: {event['by']} goes on without it"
    error = event.get("error")
    return f"asked to end by {error_text(error)}" if error else "asked to end"


_TELL: Mapping[str, Callable[[Event], str]] = {
    "StepReady": lambda event: "ready",
    "StepAssigned": lambda event: f"attempt {event['attempt']} given to {event['executor']}",
    COMPENSATING: lambda event: "it is being undone",
    "StepWaiting": _waits,
    "StepRetryScheduled": _retry,
    "StepSucceeded": _ended,
    "StepFailed": _ended,
    "StepSkipped": _ended,
    "StepCancelled": _ended,
    "ItemsExpanded": lambda event: f"the list has {event['count']} items",
    "ItemsRefilled": lambda event: (
        f"items {event['first']} to {event['first'] + event['count'] - 1} opened"
    ),
    "ApprovalRequested": _requested,
    "ApprovalEscalated": lambda event: f"more people are asked{_asked(event)}",
    "StepRepaired": lambda event: f"repaired by {event['repaired_by']}: {event['repair']}",
    "ApprovalDecided": lambda event: f"decided: {event['decision']}",
    "TimerFired": lambda event: "its time has come",
    "StepStopRequested": _stop_words,
}
