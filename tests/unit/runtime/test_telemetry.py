"""Log lines: one JSON object per event, whatever stands in its fields."""

import logging
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from headrace_runtime.telemetry import Level, LibraryLogs, Logger


class FixedClock:
    def now_ms(self) -> int:
        return 1_764_000_000_123


class Lines:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def logger(self, level: Level = Level.INFO) -> Logger:
        return Logger("example", level, write=self.written.append, clock=FixedClock())

    def one(self) -> Mapping[str, Any]:
        (line,) = self.written
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        return orjson.loads(line)


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_an_event_is_one_line_with_time_level_service_and_fields(lines: Lines) -> None:
    lines.logger().info("step dispatched", run="run_1", attempt=2)
    assert lines.one() == {
        "time": "2025-11-24T16:00:00.123Z",
        "level": "info",
        "service": "example",
        "event": "step dispatched",
        "run": "run_1",
        "attempt": 2,
    }


def test_events_below_the_level_are_not_written(lines: Lines) -> None:
    log = lines.logger(Level.WARNING)
    log.debug("a")
    log.info("b")
    assert lines.written == []
    log.warning("c")
    assert lines.one()["event"] == "c"


def test_bound_fields_stand_in_every_line(lines: Lines) -> None:
    lines.logger().bind(partition=3).bind(epoch=9).info("claimed")
    assert (lines.one()["partition"], lines.one()["epoch"]) == (3, 9)


def test_an_exception_in_a_field_is_its_type_and_message(lines: Lines) -> None:
    lines.logger().warning("session lost", error=ConnectionError("reset"))
    assert lines.one()["error"] == "ConnectionError: reset"


def test_a_failure_carries_its_stack(lines: Lines) -> None:
    try:
        raise KeyError("gone")
    except KeyError as fault:
        lines.logger().failure("task crashed", fault, task="loop")
    assert lines.one()["error"] == "KeyError: 'gone'"
    assert "test_a_failure_carries_its_stack" in lines.one()["stack"]
    assert lines.one()["task"] == "loop"


@pytest.mark.parametrize("value", [2**70, "\ud800", b"bytes", {1: object()}, {"a", "b"}])
def test_a_value_that_json_cannot_hold_does_not_lose_the_line(lines: Lines, value: object) -> None:
    lines.logger().info("odd value", value=value)
    assert "value" in lines.one()


def test_what_libraries_log_becomes_a_line_too(lines: Lines) -> None:
    handler = LibraryLogs(lines.logger())
    handler.handle(logging.LogRecord("grpc", logging.ERROR, "f.py", 1, "bad %s", ("news",), None))
    assert lines.one()["event"] == "library log"
    assert (lines.one()["logger"], lines.one()["message"]) == ("grpc", "bad news")
