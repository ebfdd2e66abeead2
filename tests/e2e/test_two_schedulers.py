"""Two scheduler processes over one log: what their partitions send each other comes through."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.suite import Suite, begin, ended, publish, until

ORDER = """\
flow: v1
name: order
inputs: {order: {type: string}}
steps:
  paid: {wait: {event: {topic: order.paid, key: "${{ inputs.order }}"}}}
  thanks: {needs: [paid.received], set: {amount: "${{ steps.paid.output.body }}"}}
outputs: {amount: "${{ steps.thanks.output.amount }}"}
"""
RECEIPT = """\
flow: v1
name: receipt
triggers: {paid: {event: {topic: order.paid}, with: {order: "${{ trigger.key }}"}}}
inputs: {order: {type: string}}
steps: {write: {set: {order: "${{ inputs.order }}"}}}
outputs: {order: "${{ steps.write.output.order }}"}
"""
RUNS = 16


@dataclass(slots=True)
class Second:
    """A scheduler beside that of the suite, which nobody starts again."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def owns(self) -> int:
        return self.log_file.read_text().count('"partition owned"')

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def second_scheduler(suite: Suite) -> Generator[Second]:
    """With the settings of the first one, on a port of its own."""
    given = Path(f"/proc/{suite.pid_of('scheduler')}/environ").read_text().split("\0")
    environment: Mapping[str, str] = dict(one.split("=", 1) for one in given if "=" in one)
    log_file = suite.home / "second.log"
    own = {
        "HEADRACE_LISTEN": "127.0.0.1:0",
        "HEADRACE_READY_FILE": str(suite.home / "second.ready"),
        "HEADRACE_METRICS_LISTEN": "",
    }
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace_scheduler"],
            env={**os.environ, **environment, **own},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    second = Second(process, log_file)
    try:
        yield second
    finally:
        second.kill()


def waiting(client: httpx.Client, names: list[str]) -> dict[str, str]:
    runs = {name: begin(client, "order", {"order": name}) for name in names}
    for run in runs.values():
        until(lambda run=run: status(client, run) == "waiting", f"run {run} waits")
    return runs


def status(client: httpx.Client, run: str) -> str:
    return client.get(f"/v1/runs/{run}").json()["status"]


def send(client: httpx.Client, order: str) -> None:
    event = {"topic": "order.paid", "key": order, "body": order, "id": order}

    def taken() -> bool:
        return client.post("/v1/events", json=event).status_code == 202

    until(taken, f"event {order} is taken")


def kinds(client: httpx.Client, run: str) -> list[str]:
    events: list[dict[str, Any]] = client.get(f"/v1/runs/{run}/events").json()["events"]
    return [event["kind"] for event in events]


def check(client: httpx.Client, runs: Mapping[str, str]) -> None:
    for name, run in runs.items():
        assert ended(client, run)["output"] == {"amount": name}
        assert kinds(client, run).count("EventReceived") == 1


def receipts(client: httpx.Client) -> list[str]:
    found = client.get("/v1/runs", params={"workflow": "receipt", "limit": 100}).json()["runs"]
    return sorted(ended(client, run["id"])["output"]["order"] for run in found)


def test_events_reach_runs_of_another_scheduler_once_although_one_is_killed(
    tmp_path: Path,
) -> None:
    suite = Suite(tmp_path)
    suite.start()
    try:
        with suite.new_tenant("acme") as client, second_scheduler(suite) as second:
            publish(client, ORDER)
            publish(client, RECEIPT)
            until(lambda: second.owns() >= 4, "the second scheduler owns half of the partitions")
            names = [f"a{number}" for number in range(RUNS)]
            runs = waiting(client, names)
            for name in names:
                send(client, name)
            check(client, runs)
            assert second.process.poll() is None

            later = [f"b{number}" for number in range(RUNS)]
            runs = waiting(client, later)
            for name in later[: RUNS // 2]:
                send(client, name)
            second.kill()
            for name in later[RUNS // 2 :]:
                send(client, name)
            check(client, runs)
            until(lambda: len(receipts(client)) >= 2 * RUNS, "each event has started its flow")
            assert receipts(client) == sorted(names + later)
    finally:
        if suite.process is not None:
            assert suite.stop() == 0
