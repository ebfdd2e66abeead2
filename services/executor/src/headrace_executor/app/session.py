"""Accepted attempts from their task to their word: in place, in a slot, or waiting for one."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from headrace_core.ids import TenantId
from headrace_executor import metrics
from headrace_executor.app.ports import Dispatch
from headrace_executor.app.worker import Running, Worker
from headrace_runtime.telemetry import Level, Logger
from headrace_worker.messages import Attempt, AttemptKey, Outcome, Result, Task

BEATS_PER_HEARTBEAT = 3


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    running: Running
    task: asyncio.Task[None]


class Session:
    """Implements `headrace_worker.dispatch_client.Runner`.

    While attempts wait for a slot the schedulers are granted no more than the slots, so that
    work goes to executors that have room.
    """

    def __init__(
        self, worker: Worker, dispatch: Dispatch, slots: int, window: int, log: Logger
    ) -> None:
        """`log` is bound to this executor's id."""
        self._worker = worker
        self._dispatch = dispatch
        self._slots = slots
        self._window = max(window, slots)
        self._log = log
        self._crowded = False
        self._waiting: OrderedDict[AttemptKey, Task] = OrderedDict()
        self._running: dict[AttemptKey, _Work] = {}
        self._works: set[_Work] = set()

    def accept(self, tasks: Sequence[Task]) -> None:
        if self._log.is_enabled(Level.DEBUG):
            self._witness(tasks)
        run_now, finish = self._worker.run_now, self._dispatch.finish
        ended: dict[tuple[TenantId, Outcome], int] = {}
        for task in tasks:
            result = run_now(task)
            if result is None:
                self._waiting[task.attempt.key] = task
                if task.heartbeat_ms:
                    self._beat(task)
                continue
            finish(result)
            counted = (result.attempt.tenant, result.outcome)
            ended[counted] = ended.get(counted, 0) + 1
        self._worker.end_batch()
        for (tenant, outcome), count in ended.items():
            metrics.ATTEMPTS.of(tenant, outcome.name.lower()).inc(count)
        if self._waiting:
            self._fill_slots()

    def _beat(self, task: Task) -> None:
        """This process is alive and has the attempt: a call says nothing of itself meanwhile."""
        key = task.attempt.key
        if key not in self._waiting and key not in self._running:
            return
        self._dispatch.beat(key)
        after_s = task.heartbeat_ms / 1_000 / BEATS_PER_HEARTBEAT
        asyncio.get_running_loop().call_later(after_s, self._beat, task)

    def cancel(self, attempt: Attempt) -> None:
        """Its word follows in any case. One that waits for a slot has nothing to wait for any
        more, but its effect row may have to be closed before "no effect" is said."""
        task = self._waiting.pop(attempt.key, None)
        if task is not None:
            self._start(task)
        if attempt.key in self._running:
            self._running[attempt.key].running.limits.cancel()

    def closed(self, attempt: Attempt) -> None:
        """Nobody waits for its word any more; what already acts outside goes on, since a further
        attempt may read in its row how that ended."""
        self._waiting.pop(attempt.key, None)
        work = self._running.get(attempt.key)
        if work is not None and not work.running.acts_outside:
            work.task.cancel()

    async def stop(self) -> None:
        """Cut off what still runs. It says nothing: its scheduler will assign it again."""
        self._waiting.clear()
        tasks = [work.task for work in self._works]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill_slots(self) -> None:
        while self._waiting and len(self._works) < self._slots:
            self._start(self._waiting.popitem(last=False)[1])
        crowded = bool(self._waiting)
        if crowded != self._crowded:
            self._crowded = crowded
            self._dispatch.set_window(self._slots if crowded else self._window)
        metrics.RUNNING.set(len(self._works))
        metrics.WAITING.set(len(self._waiting))

    def _start(self, task: Task) -> None:
        running = Running.of(task)
        work = _Work(running, asyncio.create_task(self._run(running)))
        self._works.add(work)
        self._running[task.attempt.key] = work
        # Not at the end of `_run`: what is cancelled at once never begins.
        work.task.add_done_callback(lambda _: self._ended(work))

    async def _run(self, running: Running) -> None:
        self._finish(await self._worker.run(running))

    def _ended(self, work: _Work) -> None:
        self._works.discard(work)
        key = work.running.task.attempt.key
        # A closed attempt that still acts may have been accepted again meanwhile.
        if self._running.get(key) is work:
            del self._running[key]
        self._fill_slots()

    def _finish(self, result: Result) -> None:
        self._dispatch.finish(result)
        metrics.ATTEMPTS.of(result.attempt.tenant, result.outcome.name.lower()).inc()

    def _witness(self, tasks: Sequence[Task]) -> None:
        """What was accepted, for checks of the log against those who saw it."""
        for task in tasks:
            attempt = task.attempt
            self._log.debug(
                "task accepted",
                partition=attempt.partition,
                epoch=attempt.epoch,
                offset=task.offset,
                run=attempt.run,
                step=attempt.step,
                attempt=attempt.number,
                token=attempt.token,
                executor=task.executor,
            )
