"""Documents as the API gives them, with as much as a test is about."""

from collections.abc import Mapping
from typing import Any

START = "2026-11-25T10:00:00.000Z"
START_MS = 1_795_600_800_000


def at(after_ms: int) -> str:
    """A time after the start, within the minute."""
    return f"2026-11-25T10:00:{after_ms // 1_000:02d}.{after_ms % 1_000:03d}Z"


def attempt(number: int, from_ms: int, until_ms: int | None, outcome: str) -> dict[str, Any]:
    return {
        "number": number,
        "executor": "exec_1",
        "queued_ms": 0,
        "assigned_at": at(from_ms),
        "ended_at": None if until_ms is None else at(until_ms),
        "duration_ms": None if until_ms is None else until_ms - from_ms,
        "outcome": outcome or None,
        "error_type": "http.503" if outcome == "retried" else None,
        "usage": None,
    }


def wait(kind: str, from_ms: int, until_ms: int | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "from": at(from_ms),
        "until": None if until_ms is None else at(until_ms),
        "due_at": None,
        "duration_ms": None if until_ms is None else until_ms - from_ms,
        "child": None,
    }


def step(status: str, **fields: Any) -> dict[str, Any]:
    return {
        "status": status,
        "attempt": 1,
        "ready_at": START,
        "ended_at": None,
        "output": None,
        "error": None,
        "edges": [],
        "attempts": [],
        "waits": [],
        **fields,
    }


def run(status: str, steps: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "run_1",
        "flow": "orders",
        "version": 3,
        "status": status,
        "trigger": "api",
        "started_by": "key:ci",
        "parent": None,
        "started_at": START,
        "ended_at": None,
        "duration_ms": None,
        "cancel": None,
        "input": {"order": 7},
        "output": None,
        "error": None,
        "sequence": 9,
        "time": at(4_000),
        "steps": dict(steps),
        **fields,
    }


def event(sequence: int, kind: str, after_ms: int, **fields: Any) -> dict[str, Any]:
    return {"sequence": sequence, "time": at(after_ms), "kind": kind, **fields}
