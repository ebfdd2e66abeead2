"""Accepted attempts from their task to their word: in place, in a slot, or waiting for one."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from headrace_core.ids import TenantId
from headrace_executor import metrics
from headrace_executor.app.ports import Dispatch
from headrace_executor.app.worker import Running, Worker
from headrace_worker.messages import Attempt, AttemptKey, Outcome, Result, Task


class Session:
    """Implements `headrace_worker.dispatch_client.Runner`.

    While attempts wait for a slot the schedulers are granted no more than the slots, so that
    work goes to executors that have room.
    """

    def __init__(self, worker: Worker, dispatch: Dispatch, slots: int, window: int) -> None:
        self._worker = worker
        self._dispatch = dispatch
        self._slots = slots
        self._window = max(window, slots)
        self._crowded = False
        self._waiting: OrderedDict[AttemptKey, Task] = OrderedDict()
        self._running: dict[AttemptKey, asyncio.Task[None]] = {}
        self._cancelled: set[AttemptKey] = set()

    def accept(self, tasks: Sequence[Task]) -> None:
        run_now, finish = self._worker.run_now, self._dispatch.finish
        ended: dict[tuple[TenantId, Outcome], int] = {}
        for task in tasks:
            result = run_now(task)
            if result is None:
                self._waiting[task.attempt.key] = task
                continue
            finish(result)
            counted = (result.attempt.tenant, result.outcome)
            ended[counted] = ended.get(counted, 0) + 1
        self._worker.end_batch()
        for (tenant, outcome), count in ended.items():
            metrics.ATTEMPTS.of(tenant, outcome.name.lower()).inc(count)
        if self._waiting:
            self._fill_slots()

    def cancel(self, attempt: Attempt) -> None:
        """Its word follows in any case: what a cancelled call led to, it says itself."""
        if self._waiting.pop(attempt.key, None) is not None:
            self._finish(Result(attempt, Outcome.CANCELLED))
        elif attempt.key in self._running:
            self._cancelled.add(attempt.key)
            self._running[attempt.key].cancel()

    def closed(self, attempt: Attempt) -> None:
        """Nobody waits for it any more, so there is nothing to say."""
        self._waiting.pop(attempt.key, None)
        running = self._running.get(attempt.key)
        if running is not None:
            running.cancel()

    async def stop(self) -> None:
        """Cut off what still runs. It says nothing: its scheduler will assign it again."""
        self._waiting.clear()
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _fill_slots(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            key, task = self._waiting.popitem(last=False)
            self._running[key] = asyncio.create_task(self._run(task))
        crowded = bool(self._waiting)
        if crowded != self._crowded:
            self._crowded = crowded
            self._dispatch.set_window(self._slots if crowded else self._window)
        metrics.RUNNING.set(len(self._running))
        metrics.WAITING.set(len(self._waiting))

    async def _run(self, task: Task) -> None:
        key, running = task.attempt.key, Running(task)
        try:
            result = await self._worker.run(running)
        except asyncio.CancelledError:
            if key not in self._cancelled:
                raise
            result = self._worker.cut_off(running)
        finally:
            del self._running[key]
            self._cancelled.discard(key)
            self._fill_slots()
        self._finish(result)

    def _finish(self, result: Result) -> None:
        self._dispatch.finish(result)
        metrics.ATTEMPTS.of(result.attempt.tenant, result.outcome.name.lower()).inc()
