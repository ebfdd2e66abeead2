"""What a task may know of the attempt that it runs for."""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_core import to_jsonable_python

from headrace_core.ids import enclosing_items
from headrace_worker.errors import OUTPUT_INVALID, TaskError
from headrace_worker.messages import Task

OUTPUT_BYTES_MAX = 8 * 1024 * 1024
Note = Callable[[bytes], Awaitable[None]]
Beat = Callable[[], None]


class Context:
    """Given to a task whose function has a parameter with this annotation."""

    def __init__(self, task: Task, note: Note, beat: Beat) -> None:
        attempt = task.attempt
        self.tenant: str = attempt.tenant
        self.run: str = attempt.run
        self.step: str = attempt.step
        """Address of the step in its run; `read[17]` for an item of a fan-out, `sync/read` for a
        step of a group, `poll#2` for the second pass of a repeated step."""
        self.item: int | None = next((at for _, at in enclosing_items(attempt.step)), None)
        """Position in the list of the innermost fan-out around, from 0."""
        self.flow: str = task.flow
        self.attempt: int = attempt.number
        """Counts every assignment, also those whose worker was lost."""
        self.idempotency_key: str = task.idempotency_key
        """The same for every attempt of this step: hand it on to whatever you call."""
        self.timeout_s: float | None = task.timeout_ms / 1_000 if task.timeout_ms else None
        self.log = logging.LoggerAdapter(
            logging.getLogger("headrace_worker.task"),
            {"run": self.run, "step": self.step, "attempt": self.attempt},
        )
        self.heartbeat_s: float | None = task.heartbeat_ms / 1_000 if task.heartbeat_ms else None
        """How long this attempt may be silent before it counts as failed."""
        self._note = note
        self._beat = beat
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Nobody waits for the result any more, or the attempt's time is up. An async function
        is cancelled as well; one that runs in a thread has to look here."""
        return self._cancelled

    def cancel(self) -> None:
        """Called by the worker, not by tasks."""
        self._cancelled = True

    def heartbeat(self) -> None:
        """Say that you are alive, more often than the step's `heartbeat`; from any thread. Notes
        say it as well. Without a `heartbeat` nobody listens."""
        if self.heartbeat_s is not None:
            self._beat()

    async def note(self, value: Any) -> None:
        """Say how far you are; returns when it is durable. Notes are events of the run and shown
        with its step until the next attempt begins. An attempt that was closed is cancelled."""
        await self._note(json_of(value))


def json_of(value: Any) -> bytes:
    """What a flow sees of a value: models, dataclasses, dates and enums in their JSON form.

    Raises TaskError for what has none, and for what is too large.
    """
    try:
        plain = to_jsonable_python(value)
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        encoded = text.encode()
    except (ValueError, TypeError, RecursionError) as fault:
        raise TaskError(f"the value is not JSON: {fault}", type=OUTPUT_INVALID) from fault
    if len(encoded) > OUTPUT_BYTES_MAX:
        message = f"the value is {len(encoded)} bytes; {OUTPUT_BYTES_MAX} is the limit"
        raise TaskError(message, type=OUTPUT_INVALID)
    return encoded
