"""The life of a service process: ready file, drain, exit codes, clear last words."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from headrace_runtime.service import Exit

PROGRAM = Path(__file__).with_name("example_service.py")
WAIT_S = 30.0


class Process:
    """A service process, its log lines as they come."""

    def __init__(self, home: Path, behaviour: str, environment: dict[str, str]) -> None:
        self.ready_file = home / "ready.json"
        self.lines: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self.popen = subprocess.Popen(
            [sys.executable, str(PROGRAM), behaviour],
            stderr=subprocess.PIPE,
            env={"HEADRACE_READY_FILE": str(self.ready_file), **environment},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            with self._news:
                self.lines.append(json.loads(line))
                self._news.notify_all()

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    def wait_for(self, event: str) -> dict[str, Any]:
        with self._news:
            assert self._news.wait_for(lambda: event in self.events(), WAIT_S), self.lines
        return next(line for line in self.lines if line["event"] == event)

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def exit_code(self) -> int:
        code = self.popen.wait(WAIT_S)
        self._reader.join()
        return code

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self._reader.join()
        if self.popen.stderr is not None:
            self.popen.stderr.close()


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start]:
    started: list[Process] = []

    def run(behaviour: str = "well", **more: str) -> Process:
        environment = {
            "HEADRACE_HOME": str(tmp_path),
            "HEADRACE_POSTGRES_DSN": "postgresql://example:hunter2@127.0.0.1/headrace",
            "HEADRACE_ROOT_KEY_FILE": str(tmp_path / "root.key"),
            **more,
        }
        started.append(Process(tmp_path, behaviour, environment))
        return started[-1]

    yield run
    for process in started:
        process.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_service_and_it_exits_with_0(
    start: Start, number: signal.Signals
) -> None:
    process = start()
    process.wait_for("service ready")
    process.signal(number)
    assert process.exit_code() == Exit.DRAINED
    assert process.events() == ["service ready", "draining", "drained", "closed", "service stopped"]
    assert process.wait_for("draining")["signal"] == number.name


def test_the_ready_file_names_pid_address_and_service_and_goes_with_them(start: Start) -> None:
    process = start()
    process.wait_for("service ready")
    line = process.ready_file.read_text()
    assert json.loads(line) == {
        "pid": process.popen.pid,
        "address": "127.0.0.1:7001",
        "service": "example",
    }
    assert line.endswith("}\n")
    process.signal(signal.SIGTERM)
    process.exit_code()
    assert not process.ready_file.exists()


def test_what_exists_at_the_start_is_kept_from_the_garbage_collector(start: Start) -> None:
    process = start()
    process.wait_for("service ready")
    process.signal(signal.SIGTERM)
    assert process.wait_for("drained")["frozen"] is True


def test_metrics_are_served_where_the_setting_says(start: Start) -> None:
    process = start(HEADRACE_METRICS_LISTEN="127.0.0.1:0")
    assert not process.wait_for("service ready")["metrics_address"].endswith(":0")
    process.signal(signal.SIGTERM)
    assert process.exit_code() == Exit.DRAINED


def test_a_task_that_crashes_ends_the_process_and_is_named(start: Start) -> None:
    process = start("task crashes")
    assert process.exit_code() == Exit.CRASHED
    crash = process.wait_for("task crashed")
    assert (crash["task"], crash["error"]) == ("bad task", "KeyError: 'a bug in a task'")
    assert "in crash" in crash["stack"]
    assert process.events()[-2:] == ["closed", "service crashed"]


def test_a_loop_that_just_ends_is_a_crash_too(start: Start) -> None:
    process = start("loop ends")
    assert process.exit_code() == Exit.CRASHED
    assert process.wait_for("service crashed")["task"] == "short loop"


def test_a_task_that_may_end_does_not_end_the_service(start: Start) -> None:
    process = start("short task ends")
    process.wait_for("service ready")
    process.signal(signal.SIGTERM)
    assert process.exit_code() == Exit.DRAINED


def test_a_setup_that_fails_is_one_clear_line_without_a_stack(start: Start) -> None:
    process = start("cannot start")
    assert process.exit_code() == Exit.MISCONFIGURED
    (line,) = process.lines
    assert (line["event"], line["code"]) == ("service not started", "HR-5001")
    assert line["message"] == "PostgreSQL refuses the login."
    assert not process.ready_file.exists()


def test_wrong_settings_are_one_clear_line_without_a_secret(start: Start) -> None:
    process = start(HEADRACE_LISTEN="nowhere", HEADRACE_LOG_LEVEL="loud")
    assert process.exit_code() == Exit.MISCONFIGURED
    (line,) = process.lines
    assert line["event"] == "settings refused"
    assert "HEADRACE_LISTEN" in line["message"]
    assert "HEADRACE_LOG_LEVEL" in line["message"]
    assert "hunter2" not in str(line)


def test_settings_in_the_log_hide_their_secrets(start: Start) -> None:
    process = start(HEADRACE_LOG_LEVEL="debug")
    assert process.wait_for("service starting")["postgres_dsn"] == "**********"


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", ["hangs in its drain", "blocks the loop"])
def test_a_drain_that_takes_too_long_is_cut_short(start: Start, behaviour: str) -> None:
    process = start(behaviour)
    process.wait_for("service ready")
    process.signal(signal.SIGTERM)
    assert process.exit_code() == Exit.CUT_SHORT
    assert process.events()[-1] == "closing took too long: leaving"


def test_a_second_signal_does_not_wait_for_the_drain(start: Start) -> None:
    process = start("hangs in its drain")
    process.wait_for("service ready")
    process.signal(signal.SIGINT)
    process.wait_for("drained")
    process.signal(signal.SIGINT)
    assert process.exit_code() == Exit.CUT_SHORT
    assert process.events()[-1] == "second signal: leaving without drain"


def test_a_ready_file_is_replaced_as_a_whole(start: Start) -> None:
    process = start()
    process.wait_for("service ready")
    beside = process.ready_file.parent.glob(".ready*")
    assert list(beside) == []
