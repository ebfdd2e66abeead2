"""Which flows an event starts, and with what. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from headrace_core.ids import EventId, RunId, run_id, slot_for, stable_hash
from headrace_core.workflow.expression import ExprError, evaluate_bool, render
from headrace_core.workflow.inputs import checked_inputs
from headrace_core.workflow.plan import Plan

STARTS_MAX = 200
"""Flows that one event starts: they stand in its record."""
START_BYTES_MAX = 300_000
"""Inputs of these runs that stand in the record; what is beyond goes to the blob store."""


@dataclass(frozen=True, slots=True)
class StartWanted:
    """With a `fault` the input cannot be used, and the run says why."""

    run: RunId
    content: bytes
    fault: str = ""


def started_run(event: EventId, flow: str, trigger: str, day: int) -> RunId:
    """The same event starts the same run by the same trigger, however often it is looked at."""
    unique = stable_hash(event, flow, trigger)
    return run_id(slot_for(event, flow, trigger), day, unique[-10:])


def event_names(trigger: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `match` and `with` know. `event` is the document that waiting steps get."""
    known = {name: event[name] for name in ("time", "body", "topic", "key", "sent_by")}
    return {"trigger": {"id": trigger, "event": event["id"], **known}}


def matches(plan: Plan, trigger: str, event: Mapping[str, Any]) -> bool | ExprError:
    match = plan.triggers[trigger].match
    return True if match is None else evaluate_bool(match, event_names(trigger, event))


def start_wanted(plan: Plan, trigger: str, event: Mapping[str, Any], day: int) -> StartWanted:
    """The run that a matching event starts. Without a mapping the body's fields are the inputs."""
    run = started_run(EventId(event["id"]), plan.flow, trigger, day)
    mapping = plan.triggers[trigger].mapping
    if mapping is None:
        fields: Any = {} if event["body"] is None else event["body"]
    else:
        fields = render(mapping, event_names(trigger, event))
    if isinstance(fields, ExprError):
        return StartWanted(run, b"{}", str(fields))
    values, faults = checked_inputs(plan.inputs, fields)
    return StartWanted(run, orjson.dumps(values), "; ".join(map(str, faults)))
