"""`concurrency` and `rate_limit` through the API and five processes, one of which is killed."""

from collections.abc import Iterator
from datetime import datetime

import httpx

from tests.e2e.command_line import of_tenant
from tests.e2e.suite import Suite, begin, ended, publish, until

SYNC = """\
flow: v1
name: sync
inputs: {shop: {type: string}}
concurrency: {key: "${{ inputs.shop }}", limit: 1, on_conflict: ON_CONFLICT}
steps:
  work: {wait: {event: {topic: done, key: all}}}
"""
PACED = """\
flow: v1
name: paced
inputs: {numbers: {type: array}}
steps:
  call:
    uses: data.echo@1
    foreach: {in: inputs.numbers, as: number}
    rate_limit: {key: far, per: 1s, limit: 2}
    with: {value: "${{ number }}"}
"""


def status(api: httpx.Client, run: str) -> str:
    return api.get(f"/v1/runs/{run}").raise_for_status().json()["status"]


def end(api: httpx.Client, run: str) -> None:
    api.post(f"/v1/runs/{run}/signals/done", json={"body": 1}).raise_for_status()
    assert ended(api, run)["status"] == "succeeded"


def test_a_queued_run_is_seen_at_once_and_begins_after_a_killed_scheduler(suite: Suite) -> None:
    with suite.new_tenant("queues") as api:
        publish(api, SYNC.replace("ON_CONFLICT", "queue"))
        first = begin(api, "sync", {"shop": "a"})
        until(lambda: status(api, first) == "waiting", "the first run works")
        waiting = [begin(api, "sync", {"shop": "a"}) for _ in range(3)]
        assert [status(api, run) for run in waiting] == ["queued"] * 3
        other = begin(api, "sync", {"shop": "b"})
        until(lambda: status(api, other) == "waiting", "another key is not held up")
        api.post(f"/v1/runs/{waiting[1]}/cancel", json={}).raise_for_status()
        assert ended(api, waiting[1])["status"] == "cancelled"
        suite.kill("scheduler")
        end(api, first)
        until(lambda: status(api, waiting[0]) == "waiting", "the next in the queue works")
        assert status(api, waiting[2]) == "queued"
        end(api, waiting[0])
        until(lambda: status(api, waiting[2]) == "waiting", "the last in the queue works")


def test_a_skipped_run_and_a_replaced_one_say_why(suite: Suite) -> None:
    headrace = of_tenant(suite, "conflicts")
    made = headrace.well("keys", "add", "conflicts", "--name", "all", "--role", "editor", "--json")
    with suite.client(made.document["key"]) as api:
        publish(api, SYNC.replace("ON_CONFLICT", "skip"))
        first = begin(api, "sync", {"shop": "a"})
        until(lambda: status(api, first) == "waiting", "the first run works")
        skipped = ended(api, begin(api, "sync", {"shop": "a"}))
        assert skipped["status"] == "cancelled" and skipped["cancel"]["cause"] == "concurrency"
        why = headrace.well("explain", skipped["id"], "work").out
        assert "1 run is open with this key" in why
        publish(api, SYNC.replace("ON_CONFLICT", "cancel_running"))
        newest = begin(api, "sync", {"shop": "a"})
        assert ended(api, first)["status"] == "cancelled"
        assert newest in headrace.well("explain", first, "work").out
        until(lambda: status(api, newest) == "waiting", "the newest run works")


def test_calls_are_paced_over_runs_although_the_scheduler_is_killed(suite: Suite) -> None:
    with suite.new_tenant("paces") as api:
        publish(api, PACED)
        runs = [begin(api, "paced", {"numbers": [1, 2, 3, 4]}) for _ in range(2)]
        suite.kill("scheduler")
        assert [ended(api, run)["status"] for run in runs] == ["succeeded"] * 2
        begun = sorted(at for run in runs for at in _calls(api, run))
        # A call that was on its way when the scheduler died may be made again.
        assert len(begun) >= 8
        # Begun a little late is allowed, begun early is not.
        assert all(later - earlier > 500 for earlier, later in zip(begun, begun[2:], strict=False))


def _calls(api: httpx.Client, run: str) -> Iterator[float]:
    """When the items were ready to be called, in epoch milliseconds. A call that is made again is
    ready twice: first to ask when it may begin."""
    due: dict[str, str] = {}
    ready: dict[str, str] = {}
    for event in api.get(f"/v1/runs/{run}/events", params={"limit": 200}).json()["events"]:
        step = event.get("step") or ""
        if "[" not in step:
            continue
        if event["kind"] == "StepWaiting":
            ready.pop(step, None)
            due[step] = event["due_at"] or due.get(step, "")
        elif event["kind"] == "StepReady":
            ready[step] = event["time"]
        elif event["kind"] == "StepAssigned":
            assert ready[step] >= due.get(step, "")
            yield datetime.fromisoformat(ready[step]).timestamp() * 1_000
