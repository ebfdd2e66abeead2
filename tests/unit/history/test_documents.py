"""What the API shows of runs and events: opened payloads, masks, times, attempts and waits."""

import json
from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace_contracts.codec import RUN_EVENTS
from headrace_core.errors import KeyErased, PayloadTampered
from headrace_core.ids import RunId, StepKey, item_key
from headrace_core.payload import Stored, Vault
from headrace_core.run import events as ev
from headrace_core.run.replay import StoredTurn, replay
from headrace_core.run.status import WaitingKind
from headrace_core.workflow.joins import EdgeState
from headrace_history.api.json_text import json_text
from headrace_history.domain.event_documents import event_document, event_documents
from headrace_history.domain.rendering import Payloads, run_document, time_text
from headrace_history.domain.timeline import timeline_of
from tests.support.plain_vault import PlainVault
from tests.unit.history.recorded_runs import (
    EXECUTOR,
    START_MS,
    TENANT,
    Turn,
    assigned,
    ready,
    run_of,
    started,
    wandering_run,
)

RUN = run_of(1)
VAULT = PlainVault()


def sealed(value: object) -> Stored:
    return VAULT.seal(RUN, json.dumps(value).encode())


def stored_turns(turns: list[Turn]) -> list[StoredTurn]:
    stored: list[StoredTurn] = []
    sequence = 1
    for place, events in enumerate(turns):
        time_ms = START_MS + place * 1000
        stored.append(StoredTurn(place, time_ms, sequence, bytes([place]), events))
        sequence += len(events)
    return stored


def shown(
    turns: list[Turn], payloads: Payloads | None = None, **tasks: list[str]
) -> dict[str, Any]:
    stored = stored_turns(turns)
    state = replay(RUN, TENANT, stored)
    payloads = payloads or Payloads(RUN, VAULT)
    return json.loads(json_text(run_document(state, payloads, timeline_of(stored), tasks)))


def failing_run() -> list[Turn]:
    error = ev.StepError(type="http.503", message=sealed("out of order"))
    return [
        (started(sealed({"order": 7})), ready("fetch"), assigned("fetch")),
        (
            ev.StepRetryScheduled(
                step=StepKey("fetch"), attempt=1, error=error, due_ms=START_MS + 2000
            ),
        ),
        (ready("fetch"), assigned("fetch", 2)),
        (
            ev.StepFailed(step=StepKey("fetch"), attempt=2, error=error),
            ev.RunFailed(error=error, step=StepKey("fetch")),
        ),
    ]


def test_a_run_shows_its_payloads_errors_attempts_and_waits() -> None:
    document = shown(failing_run())
    assert document["status"] == "failed"
    assert document["input"] == {"order": 7}
    assert document["error"] == {"type": "http.503", "message": "out of order", "step": "fetch"}
    assert document["started_at"] == "2025-11-14T01:00:00.000Z"
    assert document["duration_ms"] == 3000
    assert document["sequence"] == 8
    assert document["steps"] == {
        "fetch": {
            "status": "failed",
            "attempt": 2,
            "ready_at": "2025-11-14T01:00:00.000Z",
            "ended_at": "2025-11-14T01:00:03.000Z",
            "output": None,
            "error": {"type": "http.503", "message": "out of order"},
            "edges": [],
            "attempts": [
                {
                    "number": 1,
                    "executor": EXECUTOR,
                    "queued_ms": 0,
                    "assigned_at": "2025-11-14T01:00:00.000Z",
                    "ended_at": "2025-11-14T01:00:01.000Z",
                    "duration_ms": 1000,
                    "outcome": "retried",
                    "error_type": "http.503",
                    "usage": None,
                },
                {
                    "number": 2,
                    "executor": EXECUTOR,
                    "queued_ms": 0,
                    "assigned_at": "2025-11-14T01:00:02.000Z",
                    "ended_at": "2025-11-14T01:00:03.000Z",
                    "duration_ms": 1000,
                    "outcome": "failed",
                    "error_type": "http.503",
                    "usage": None,
                },
            ],
            "waits": [
                {
                    "kind": "backoff",
                    "from": "2025-11-14T01:00:01.000Z",
                    "until": "2025-11-14T01:00:02.000Z",
                    "due_at": "2025-11-14T01:00:02.000Z",
                    "duration_ms": 1000,
                    "child": None,
                }
            ],
        }
    }


def test_a_run_says_what_all_its_attempts_consumed_by_model() -> None:
    each, error = StepKey("each"), ev.StepError(type="http.429")
    used = [
        ev.Usage(model=model, input_tokens=read, output_tokens=1, duration_ms=9)
        for model, read in (("small", 10), ("small", 20), ("large", 5))
    ]
    first, second = item_key(each, 0), item_key(each, 1)
    document = shown(
        [
            (
                started(),
                ready("each"),
                ev.ItemsExpanded(step=each, count=2, items=sealed([["0", "a"], ["1", "b"]])),
                ev.ItemsRefilled(step=each, first=0, count=2),
                assigned(first),
                assigned(second),
            ),
            (
                ev.StepRetryScheduled(
                    step=first, attempt=1, error=error, due_ms=START_MS, usage=used[0]
                ),
                ready(first),
                assigned(first, 2),
            ),
            (ev.StepSucceeded(step=first, attempt=2, usage=used[1]),),
            (ev.StepFailed(step=second, error=error, attempt=1, usage=used[2]),),
        ]
    )
    sums = [
        (one["model"], one["calls"], one["input_tokens"], one["output_tokens"])
        for one in document["usage"]
    ]
    assert sums == [("large", 1, 5, 1), ("small", 2, 30, 2)]
    assert shown(failing_run())["usage"] == []


def test_a_fan_out_shows_counts_and_errors_and_not_every_item() -> None:
    each = StepKey("each")
    error = ev.StepError(type="network", message=sealed("gone"))
    document = shown(
        [
            (started(), ready("each")),
            (
                ev.ItemsExpanded(step=each, count=3, items=sealed([["0", 1]])),
                ev.ItemsRefilled(step=each, first=0, count=2),
                ev.StepAssigned(step=StepKey("each[0]"), attempt=1, executor=EXECUTOR, token=1),
                ev.StepAssigned(step=StepKey("each[1]"), attempt=1, executor=EXECUTOR, token=2),
            ),
            (ev.StepFailed(step=StepKey("each[1]"), attempt=1, error=error),),
        ]
    )
    steps = document["steps"]
    assert set(steps) == {"each", "each[0]"}
    assert steps["each"]["waiting"] == "items"
    assert steps["each"]["items"] == {
        "count": 3,
        "opened": 2,
        "succeeded": 0,
        "failed": 1,
        "cancelled": 0,
        "errors": [{"index": 1, "type": "network", "message": "gone"}],
    }


def test_groups_and_passes_say_how_far_they_are_and_their_steps_stand_under_their_address() -> None:
    sync, poll = StepKey("sync"), StepKey("poll")
    document = shown(
        [
            (
                started(),
                ready("sync"),
                ev.GroupOpened(step=sync, due_ms=START_MS + 5_000),
                ready("sync/read"),
                ready("poll"),
                ev.PassStarted(step=poll, number=1),
            ),
            (
                ev.StepSucceeded(step=StepKey("sync/read"), output=sealed(1)),
                ev.StepSucceeded(step=StepKey("poll#1"), output=sealed(2)),
                ev.PassStarted(step=poll, number=2),
            ),
        ]
    )
    steps = document["steps"]
    assert set(steps) == {"sync", "sync/read", "poll", "poll#2"}
    assert steps["sync"]["steps"] == {"decided": 1, "ended": 1}
    assert steps["sync"]["waiting"] == "steps"
    assert steps["poll"]["passes"] == 2
    assert steps["poll"]["output"] == 2, "of the pass before"
    assert [wait["kind"] for wait in steps["poll"]["waits"]] == ["pass", "pass"]


def test_what_is_inside_of_a_sensitive_group_is_masked_and_an_equal_name_elsewhere_is_not() -> None:
    payloads = Payloads(RUN, VAULT, frozenset({"sync", "other/read"}))
    hidden = [StepKey("sync"), StepKey("sync/read"), StepKey("sync[1]#2/read[0]")]
    assert [payloads.hides(key) for key in hidden] == [True] * 3
    assert payloads.hides(StepKey("other[1]/read"))
    assert not payloads.hides(StepKey("read"))


def test_a_ready_step_says_for_which_workers_lane_it_waits() -> None:
    waiting: list[Turn] = [(started(sealed({})), ready("fetch"))]
    document = shown(waiting, fetch=["resize@1"], other=["resize@1"])
    assert document["steps"]["fetch"]["waiting_for"] == f"worker:{TENANT}:resize@1"
    assert "waiting_for" not in shown(waiting, fetch=["", "resize@1"])["steps"]["fetch"]
    assert "waiting_for" not in shown(waiting)["steps"]["fetch"]
    assigned_now = shown([*waiting, (assigned("fetch"),)], fetch=["resize@1"])
    assert "waiting_for" not in assigned_now["steps"]["fetch"]


def test_a_sensitive_steps_payloads_are_masked_everywhere() -> None:
    turns = failing_run()
    masked = {"$masked": "the step is marked sensitive"}
    document = shown(turns, Payloads(RUN, VAULT, frozenset({"fetch"})))
    assert document["input"] == {"order": 7}
    steps, error = document["steps"], document["error"]
    assert steps["fetch"]["error"]["message"] == masked
    assert error["message"] == masked
    payloads = Payloads(RUN, VAULT, frozenset({"fetch"}))
    texts = [
        json_text(event)
        for turn in stored_turns(turns)
        for event in event_documents(turn, payloads)
    ]
    assert not any(b"out of order" in text for text in texts[1:-1])


def test_items_of_a_sensitive_fan_out_are_masked_and_so_is_all_without_a_plan() -> None:
    payloads = Payloads(RUN, VAULT, frozenset({"each"}))
    assert payloads.show_of_step(StepKey("each[17]"), sealed(1)) == {
        "$masked": "the step is marked sensitive"
    }
    assert Payloads(RUN, VAULT, None).hides(StepKey("anything"))


def test_a_reference_is_shown_as_large_until_it_was_fetched() -> None:
    large = sealed("x" * 70_000)
    payloads = Payloads(RUN, VAULT)
    assert "$large" in json.dumps(payloads.show(large))
    assert payloads.missing == [large]
    VAULT.fetch(large)
    assert (
        json.loads(json_text({"value": Payloads(RUN, VAULT).show(large)}))["value"] == "x" * 70_000
    )
    assert payloads.missing == [large]
    lost = Payloads(RUN, VAULT, lost=frozenset({large}))
    assert "$lost" in json.dumps(lost.show(large))


def test_what_is_above_the_bound_of_a_document_is_shown_as_large() -> None:
    payloads = Payloads(RUN, VAULT, bytes_max=100)
    texts = [json_text({"value": payloads.show(sealed("y" * 60))}) for _ in range(3)]
    assert [b"$large" in text for text in texts] == [False, True, True]


def test_payloads_that_cannot_be_opened_say_why() -> None:
    class ErasedVault:
        def open(self, run: RunId, stored: Stored) -> bytes:
            raise KeyErased("gone") if stored == b"erased" else PayloadTampered("changed")

        def seal(self, run: RunId, json: bytes) -> Stored:
            return Stored(json)

        def under(self, subject_key: int) -> Vault:
            return self

    vault: Vault = ErasedVault()
    payloads = Payloads(RUN, vault)
    assert "$erased" in json.dumps(payloads.show(Stored(b"erased")))
    assert "$unreadable" in json.dumps(payloads.show(Stored(b"changed")))
    assert payloads.show(Stored(b"")) is None


def test_an_event_shows_its_edges_kinds_and_times() -> None:
    edge = ev.EdgeTaken(source="a", port="", state=EdgeState.ACTIVE)
    event = ev.StepReady(step=StepKey("b"), edges=(edge,))
    payloads = Payloads(RUN, VAULT)
    assert json.loads(json_text(event_document(5, START_MS, event, payloads))) == {
        "sequence": 5,
        "time": "2025-11-14T01:00:00.000Z",
        "kind": "StepReady",
        "step": "b",
        "edges": [{"source": "a", "port": None, "state": "active"}],
    }
    waiting = ev.StepWaiting(step=StepKey("b"), kind=WaitingKind.TIMER, due_ms=START_MS + 1)
    document = event_document(6, START_MS, waiting, payloads)
    assert document["kind"] == "StepWaiting"
    assert document["due_at"] == "2025-11-14T01:00:00.001Z"


def test_an_event_of_a_waiting_step_names_what_it_waits_for() -> None:
    waiting = ev.StepWaiting(step=StepKey("b"), kind=WaitingKind.CHILD, child=run_of(2))
    document = event_document(6, START_MS, waiting, Payloads(RUN, VAULT))
    assert document["waiting"] == "child"
    assert document["child"] == run_of(2)


@given(st.integers(0, 1 << 32))
def test_every_event_becomes_json_with_its_number(seed: int) -> None:
    class Open:
        def open(self, run: RunId, stored: Stored) -> bytes:
            return b'"opened"'

        def seal(self, run: RunId, json: bytes) -> Stored:
            return Stored(json)

        def under(self, subject_key: int) -> Vault:
            return self

    payloads = Payloads(RUN, Open())
    texts = [
        json.loads(json_text(document))
        for turn in stored_turns(wandering_run(seed))
        for document in event_documents(turn, payloads)
    ]
    assert [text["sequence"] for text in texts] == list(range(1, len(texts) + 1))


def test_no_kind_of_event_has_a_field_that_hides_number_time_or_kind() -> None:
    for kind in RUN_EVENTS:
        names = {item.name for item in fields(kind)}
        assert not names & {"sequence", "time"}, kind


def test_times_are_iso_with_milliseconds_and_no_time_is_null() -> None:
    assert time_text(1_763_082_000_007) == "2025-11-14T01:00:00.007Z"
    assert time_text(0) is None
    assert time_text(None) is None


def test_the_timeline_up_to_an_event_leaves_out_what_came_later() -> None:
    turns = stored_turns(failing_run())
    whole = timeline_of(turns)[StepKey("fetch")]
    assert [attempt.outcome for attempt in whole.attempts] == ["retried", "failed"]
    early = timeline_of(turns, until=3)[StepKey("fetch")]
    assert [attempt.outcome for attempt in early.attempts] == [""]
    assert early.outcome == ""


def test_the_timeline_keeps_ended_items_of_a_fan_out() -> None:
    each, item = StepKey("each"), StepKey("each[0]")
    turns = stored_turns(
        [
            (started(), ready("each")),
            (
                ev.ItemsExpanded(step=each, count=1, items=sealed([])),
                ev.ItemsRefilled(step=each, first=0, count=1),
            ),
            (ev.StepAssigned(step=item, attempt=1, executor=EXECUTOR, token=1),),
            (ev.StepSucceeded(step=item, attempt=1), ev.StepSucceeded(step=each)),
        ]
    )
    timeline = timeline_of(turns)
    assert timeline[item].attempts[0].queued_ms == 1000
    assert timeline[item].outcome == "succeeded"
    assert [wait.kind for wait in timeline[each].waits] == ["items"]
    assert timeline[each].waits[0].until_ms == START_MS + 3000
