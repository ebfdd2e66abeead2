"""Runs tasks as their functions: in a place each, within their time, to one word per attempt."""

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import StepError
from headrace_worker.arguments import ArgumentsRefused
from headrace_worker.context import Context, json_of
from headrace_worker.dispatch_client import AttemptClosed
from headrace_worker.errors import (
    INPUT_INVALID,
    TIMEOUT,
    WORKER_ERROR,
    RetryLater,
    TaskError,
    UnknownOutcome,
)
from headrace_worker.messages import Attempt, AttemptKey, Outcome, Result, Task
from headrace_worker.task import AnyTask

MESSAGE_LETTERS_MAX = 4_000
BEATS_PER_HEARTBEAT = 3

_log = logging.getLogger(__name__)


class Schedulers(Protocol):
    """The way back: `headrace_worker.dispatch_client.DispatchClient`."""

    def finish(self, result: Result) -> None: ...

    async def note(self, attempt: AttemptKey, payload: Stored) -> None: ...

    def beat(self, attempt: AttemptKey) -> None: ...

    def set_window(self, window: int) -> None: ...


@dataclass(frozen=True, slots=True)
class _Running:
    context: Context
    work: "asyncio.Task[None]"


class TaskRunner:
    """Implements `headrace_worker.dispatch_client.Runner`. `tasks` are known by their lanes;
    `concurrency` functions run at a time.

    Room is granted per lane, so that each may fill all places while the others are quiet. Once
    attempts wait for a place, the lanes share what there is, and work goes to other workers.
    """

    def __init__(
        self, tasks: Mapping[str, AnyTask], schedulers: Schedulers, concurrency: int
    ) -> None:
        self._tasks = tasks
        self._schedulers = schedulers
        self._concurrency = concurrency
        self._places = asyncio.Semaphore(concurrency)
        self._crowded = False
        self._running: dict[AttemptKey, _Running] = {}
        self._abandoned = False

    def accept(self, tasks: Sequence[Task]) -> None:
        loop = asyncio.get_running_loop()
        for task in tasks:
            key = task.attempt.key
            beat = partial(self._beat, loop, key)
            context = Context(task, partial(self._note, key), beat)
            work = loop.create_task(self._attempt(task, context))
            self._running[key] = _Running(context, work)
        if not self._crowded and len(self._running) > self._concurrency:
            self._crowded = True
            self._schedulers.set_window(self._concurrency)

    def cancel(self, attempt: Attempt) -> None:
        running = self._running.get(attempt.key)
        if running is not None:
            _log.info("run %s step %s is cancelled", attempt.run, attempt.step)
            running.context.cancel()
            running.work.cancel()

    def closed(self, attempt: Attempt) -> None:
        self.cancel(attempt)

    async def abandon(self, time_s: float) -> None:
        """Cancel whatever still runs and say nothing of it: it is given to others."""
        self._abandoned = True
        cut = list(self._running.values())
        for running in cut:
            running.context.cancel()
            running.work.cancel()
        if cut:
            await asyncio.wait([running.work for running in cut], timeout=time_s)

    def _beat(self, loop: asyncio.AbstractEventLoop, attempt: AttemptKey) -> None:
        """From any thread: functions run in their own."""
        with suppress(RuntimeError):
            # The loop may be closed by now.
            loop.call_soon_threadsafe(self._schedulers.beat, attempt)

    async def _note(self, attempt: AttemptKey, payload: bytes) -> None:
        # A closed attempt is cancelled as well, which says it better than this.
        with suppress(AttemptClosed):
            await self._schedulers.note(attempt, Stored(payload))

    async def _attempt(self, task: Task, context: Context) -> None:
        # Alive while it waits for a place; then its function has to say so.
        waiting = asyncio.create_task(self._beat_for(task)) if task.heartbeat_ms else None
        try:
            async with self._places:
                if waiting is not None:
                    waiting.cancel()
                result = await self._result(task, context)
        except asyncio.CancelledError:
            result = Result(task.attempt, Outcome.CANCELLED)
        finally:
            if waiting is not None:
                waiting.cancel()
            del self._running[task.attempt.key]
            if self._crowded and len(self._running) <= self._concurrency // 2:
                self._crowded = False
                self._schedulers.set_window(window_of(self._concurrency, len(self._tasks)))
        if not self._abandoned:
            self._schedulers.finish(result)

    async def _beat_for(self, task: Task) -> None:
        while True:
            self._schedulers.beat(task.attempt.key)
            await asyncio.sleep(task.heartbeat_ms / 1_000 / BEATS_PER_HEARTBEAT)

    async def _result(self, task: Task, context: Context) -> Result:
        """Raises CancelledError alone."""
        called = self._tasks[task.lane]
        clock = asyncio.timeout(context.timeout_s)
        try:
            arguments = called.parameters.bind(task.arguments, context)
            async with clock:
                value = await _call(called, arguments)
            return Result(task.attempt, Outcome.SUCCEEDED, _stored(value))
        except ArgumentsRefused as fault:
            return _failed(task, INPUT_INVALID, str(fault))
        except TaskError as fault:
            _log.warning("%r failed: %s (run %s)", called, fault, context.run)
            outcome = Outcome.UNKNOWN if isinstance(fault, UnknownOutcome) else Outcome.FAILED
            after_s = fault.after_s if isinstance(fault, RetryLater) else 0.0
            return _failed(task, fault.type, str(fault), outcome, after_s)
        except (Exception, SystemExit) as fault:  # noqa: BLE001 a task's fault ends its attempt alone
            if isinstance(fault, TimeoutError) and clock.expired():
                context.cancel()
                message = f"the attempt did not end within {task.timeout_ms} ms"
                return _failed(task, TIMEOUT, message)
            _log.exception("%r failed (run %s)", called, context.run)
            return _failed(task, WORKER_ERROR, f"{type(fault).__name__}: {fault}")


def window_of(concurrency: int, lanes: int) -> int:
    """How many attempts a worker with places to spare may be given."""
    return concurrency * lanes


def _stored(value: Any) -> Stored:
    return NOTHING if value is None else Stored(json_of(value))


def _failed(
    task: Task,
    error_type: str,
    message: str,
    outcome: Outcome = Outcome.FAILED,
    after_s: float = 0.0,
) -> Result:
    # ASCII: a message may hold what no encoding takes.
    error = StepError(
        type=error_type, message=Stored(json.dumps(message[:MESSAGE_LETTERS_MAX]).encode())
    )
    return Result(task.attempt, outcome, error=error, retry_after_ms=int(after_s * 1_000))


async def _call(called: AnyTask, arguments: Mapping[str, Any]) -> Any:
    if called.is_async:
        return await called.function(**arguments)
    return await _in_thread(partial(called.function, **arguments))


async def _in_thread(function: Callable[[], Any]) -> Any:
    """A thread of its own, which does not keep the process: unlike a pool's, it may be left."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    variables = contextvars.copy_context()

    def deliver(value: Any, fault: BaseException | None) -> None:
        if done.done():
            return
        if fault is None:
            done.set_result(value)
        else:
            done.set_exception(fault)

    def run() -> None:
        value, fault = None, None
        try:
            value = variables.run(function)
        except BaseException as raised:  # noqa: BLE001 handed on to who waits
            # A future does not take a StopIteration.
            fault = RuntimeError(repr(raised)) if isinstance(raised, StopIteration) else raised
        with suppress(RuntimeError):
            # The loop may be closed by now.
            loop.call_soon_threadsafe(deliver, value, fault)

    threading.Thread(target=run, name="headrace task", daemon=True).start()
    return await done
