"""Structured logs: one JSON line on stderr per event, an event name and its fields.

A disabled level costs one comparison, so a debug line may stand on a hot path. Field values are
never payloads: these lines are not sealed.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import Self

import orjson

from headrace_runtime.clock import Clock, SystemClock


class Level(IntEnum):
    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40

    @classmethod
    def named(cls, name: str) -> Self:
        return cls[name.upper()]


def to_stderr(line: bytes) -> None:
    """One write per line, so that processes which share a stderr do not mix their lines."""
    try:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line)
    except OSError:
        # Nobody reads it any more: a log line must not end a service.
        return


class Logger:
    """`event` is a constant text ("step dispatched"); what varies goes into fields.

    A field that holds an exception is written as its type and message.
    """

    __slots__ = ("_bound", "_clock", "_level", "_write")

    def __init__(
        self,
        service: str,
        level: Level = Level.INFO,
        *,
        write: Callable[[bytes], object] = to_stderr,
        clock: Clock | None = None,
        bound: Mapping[str, object] | None = None,
    ) -> None:
        self._level = level
        self._write = write
        self._clock = clock or SystemClock()
        self._bound = {"service": service, **(bound or {})}

    def bind(self, **fields: object) -> "Logger":
        """A logger whose lines carry these fields too."""
        service = str(self._bound["service"])
        bound = {**self._bound, **fields}
        return Logger(service, self._level, write=self._write, clock=self._clock, bound=bound)

    def is_enabled(self, level: Level) -> bool:
        return level >= self._level

    def debug(self, event: str, **fields: object) -> None:
        if self._level <= Level.DEBUG:
            self._emit(Level.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        if self._level <= Level.INFO:
            self._emit(Level.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        if self._level <= Level.WARNING:
            self._emit(Level.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._emit(Level.ERROR, event, fields)

    def failure(self, event: str, fault: BaseException, **fields: object) -> None:
        """An error with its stack, for what nobody expected."""
        stack = "".join(traceback.format_exception(fault))
        self._emit(Level.ERROR, event, {**fields, "error": fault, "stack": stack})

    def log(self, level: Level, event: str, **fields: object) -> None:
        if level >= self._level:
            self._emit(level, event, fields)

    def _emit(self, level: Level, event: str, fields: Mapping[str, object]) -> None:
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        line: dict[str, object] = {
            "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": level.name.lower(),
            **self._bound,
            "event": event,
        }
        for name, value in fields.items():
            line[name] = value
            if isinstance(value, BaseException):
                line[name] = f"{type(value).__name__}: {value}"
        self._write(_encode(line))


def _encode(line: Mapping[str, object]) -> bytes:
    options = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(line, default=repr, option=options)
    except orjson.JSONEncodeError:
        # Text with a lone surrogate or an integer beyond 64 bits: shown, never lost.
        return orjson.dumps({key: ascii(value) for key, value in line.items()}, option=options)


class LibraryLogs(logging.Handler):
    """Brings what libraries log through `logging` into the same lines."""

    def __init__(self, log: Logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = Level(min(max(record.levelno // 10 * 10, Level.DEBUG), Level.ERROR))
        fields: dict[str, object] = {"logger": record.name, "message": record.getMessage()}
        fault = record.exc_info[1] if record.exc_info else None
        if fault is not None:
            self._log.failure("library log", fault, **fields)
        else:
            self._log.log(level, "library log", **fields)


def capture_library_logs(log: Logger) -> None:
    """From WARNING on: what a library finds worth an INFO line is seldom worth one of ours."""
    root = logging.getLogger()
    root.handlers[:] = [LibraryLogs(log)]
    root.setLevel(logging.WARNING)
