"""An event starts each flow whose trigger it meets, once."""

from typing import Any

import pytest

from headrace_api_gateway.domain.event_starts import matches, start_wanted
from headrace_core.ids import EventId, RunId, event_id, partition_of, slot_of
from headrace_core.partition.events import EventStart, MessageSent
from headrace_core.run.events import RunStarted
from headrace_core.run.status import RunStatus
from headrace_core.workflow.expression import ExprError
from headrace_core.workflow.plan import Plan
from headrace_scheduler.domain.decision import Reason
from tests.support.flow_run import compiled
from tests.support.partitions import PARTITIONS, Partitions

UPLOAD = """\
flow: v1
name: upload
triggers:
  pdf:
    event: {topic: file.created, match: "trigger.body.mime == 'application/pdf'"}
    with: {file: "${{ trigger.body.id }}", by: "${{ trigger.topic }}/${{ trigger.key }}"}
inputs:
  file: {type: string}
  by: {type: string}
steps:
  note: {set: {file: "${{ inputs.file }}", by: "${{ inputs.by }}"}}
"""
INDEX = """\
flow: v1
name: index
triggers: {any: {event: {topic: file.created}}}
inputs:
  id: {type: string}
  mime: {type: string, default: text/plain}
steps: {note: {set: {id: "${{ inputs.id }}"}}}
"""
PDF = {"id": "f-1", "mime": "application/pdf"}


@pytest.fixture
def world() -> Partitions:
    flows = compiled(UPLOAD), compiled(INDEX)
    return Partitions({flow.hash: flow for flow in flows})


def started(world: Partitions, flow: str) -> list[RunId]:
    return [run for run, state in world.runs.items() if state.flow == flow]


def test_an_event_starts_each_flow_whose_trigger_it_meets(world: Partitions) -> None:
    assert world.publish("file.created", "k", PDF) is None
    [upload], [index] = started(world, "upload"), started(world, "index")
    assert world.output_of(upload, "note") == {"file": "f-1", "by": "file.created/k"}
    assert world.output_of(index, "note") == {"id": "f-1"}
    begun = world.events[upload][0]
    assert isinstance(begun, RunStarted)
    assert (begun.trigger, begun.started_by[:10]) == ("pdf", "event/evt_")
    for number, owned in world.owned.items():
        assert world.refolded(number) == owned.state


def test_an_event_that_does_not_match_starts_nothing_and_one_that_cannot_be_judged_neither(
    world: Partitions,
) -> None:
    world.publish("file.created", "", {"id": "f-2", "mime": "image/png"})
    world.publish("file.created", "", {"id": "f-3"})
    world.publish("file.deleted", "", PDF)
    assert not started(world, "upload")
    assert len(started(world, "index")) == 2, "one trigger's `match` is nothing to another's"


def test_the_same_event_sent_again_starts_nothing_again(world: Partitions) -> None:
    assert world.publish("file.created", "k", PDF, client_id="e1") is None
    again = world.publish("file.created", "k", PDF, client_id="e1")
    assert again is not None and again.reason is Reason.REPEATED
    assert len(started(world, "upload")) == len(started(world, "index")) == 1
    world.publish("file.created", "k", PDF, client_id="e2")
    assert len(started(world, "upload")) == len(started(world, "index")) == 2


def test_what_does_not_fit_the_inputs_is_a_run_that_says_so(world: Partitions) -> None:
    world.publish("file.created", "", {"id": 7, "mime": "application/pdf"})
    for flow in ("upload", "index"):
        [run] = started(world, flow)
        state = world.runs[run]
        assert state.status is RunStatus.FAILED
        assert state.error is not None and state.error.type == "input.invalid"
    assert "id" in world.opened(run, state.error.message)


def test_the_starts_stand_in_the_record_of_the_event(world: Partitions) -> None:
    """Whoever owns the home after a crash has both or neither."""
    world.undelivered = set(range(PARTITIONS))
    world.publish("file.created", "k", PDF)
    [(_, _, events)] = world.records
    sent = [one for one in events if isinstance(one, MessageSent)]
    assert [type(one.message) for one in sent] == [EventStart, EventStart]
    assert [one.target for one in sent] == [
        partition_of(slot_of(one.message.run), PARTITIONS)
        for one in sent
        if isinstance(one.message, EventStart)
    ]
    assert not world.runs
    world.undelivered = set()
    world.deliver()
    assert len(world.runs) == 2


def event(number: int, **fields: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"topic": "t", "key": "", "time": "now", "sent_by": "x", "body": {}}
    return {**known, "id": event_id(0, 0, number.to_bytes(10)), **fields}


def test_a_run_is_named_by_event_flow_and_trigger() -> None:
    flow = compiled(INDEX)
    runs = {start_wanted(flow, "any", event(number), 20_000).run for number in (1, 1, 2)}
    assert len(runs) == 2
    again = start_wanted(flow, "any", event(1), 20_000).run
    assert again in runs and EventId(again) != event(1)["id"]


def test_a_match_that_fails_says_why() -> None:
    flow: Plan = compiled(UPLOAD)
    judged = matches(flow, "pdf", event(1))
    assert isinstance(judged, ExprError) and "mime" in str(judged)


def test_an_event_without_a_body_starts_a_flow_without_inputs() -> None:
    flow = compiled("""\
flow: v1
name: tick
triggers: {tick: {event: {topic: t}}}
steps: {a: {set: {}}}
""")
    wanted = start_wanted(flow, "tick", event(1, body=None), 0)
    assert (wanted.content, wanted.fault) == (b"{}", "")
