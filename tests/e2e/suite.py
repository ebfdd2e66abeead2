"""A whole suite for one test session: `headrace up` as a process, used through its public API."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

READY_TIMEOUT_S = 90.0
POLL_S = 0.05


@dataclass(slots=True)
class Suite:
    """`home` is kept over a stop and a start, as a user's would be; `arguments` are further ones
    of `headrace up`, and `launcher` is a program that becomes it."""

    home: Path
    arguments: Sequence[str] = ()
    launcher: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    said: dict[str, Any] = field(default_factory=dict[str, Any])

    def start(self) -> None:
        command = [sys.executable, "-m", "headrace_cli", "up", "--json", "--ports", "auto"]
        self.process = subprocess.Popen(
            [*self.launcher, *command, "--home", str(self.home), *self.arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"headrace up did not start; its logs are in {self.home}/logs"
        self.said = json.loads(line)

    def stop(self) -> int:
        """SIGINT, as Ctrl-C does; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(15)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return code

    def admin(self) -> httpx.Client:
        return self.client(self.said["admin_key"])

    def client(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.said["api"], headers=headers, timeout=30)

    def pid_of(self, service: str) -> int:
        """From processes.json, which `up` keeps current over respawns."""
        document = json.loads((self.home / "processes.json").read_text(encoding="utf-8"))
        return document["pids"][service]

    def kill(self, service: str) -> int:
        """kill -9; answers the pid that is gone. Waits until the service is there again."""
        pid = self.pid_of(service)
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.pid_of(service) != pid, f"{service} is started again")
        return pid

    def new_tenant(self, name: str) -> httpx.Client:
        """A tenant with an editor's key."""
        with self.admin() as admin:
            admin.post("/v1/tenants", json={"id": name}).raise_for_status()
            made = admin.post(f"/v1/tenants/{name}/keys", json={"name": "test", "role": "editor"})
            made.raise_for_status()
        return self.client(made.json()["key"])


def publish(client: httpx.Client, text: str) -> Mapping[str, Any]:
    """Published and labelled stable."""
    answer = client.post(
        "/v1/workflows", content=text, headers={"Content-Type": "application/yaml"}
    )
    assert answer.status_code < 300, answer.text
    published: Mapping[str, Any] = answer.json()
    label = f"/v1/workflows/{published['name']}/labels/stable"
    client.put(label, json={"version": published["version"]}).raise_for_status()
    return published


def begin(client: httpx.Client, workflow: str, fields: Mapping[str, Any] | None = None) -> str:
    answer = client.post("/v1/runs", json={"workflow": workflow, "input": fields or {}})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def ended(client: httpx.Client, run: str, limit_s: float = 60.0) -> Mapping[str, Any]:
    """The run once it has ended."""
    found: dict[str, Any] = {}

    def over() -> bool:
        answer = client.get(f"/v1/runs/{run}")
        assert answer.status_code == 200, answer.text
        found.update(answer.json())
        return found["status"] in ("succeeded", "failed", "cancelled")

    until(over, f"run {run} ends", limit_s)
    return found


def until(holds: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Polls a real process; a fault of the connection counts as not yet."""
    give_up_s = time.monotonic() + limit_s
    pause = threading.Event()
    while True:
        try:
            if holds():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < give_up_s, f"waited {limit_s:.0f} s until {what}"
        pause.wait(POLL_S)
