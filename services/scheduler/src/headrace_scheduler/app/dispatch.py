"""Executors' sessions: who is there, with how much room, holding which attempts.

An executor that goes is suspected after a grace, never believed dead: its attempts are lost for
the policy's purposes, and their effect rows decide what a further attempt may do.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from headrace_core.ids import ExecutorId, RunId, StepKey, TenantId
from headrace_core.run.status import StepStatus
from headrace_runtime.telemetry import Logger
from headrace_scheduler import metrics
from headrace_scheduler.app.assigning import Assigning
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Assignment
from headrace_scheduler.app.worker_tasks import WorkerTask, WorkerTasks
from headrace_scheduler.domain import commands as cmd

GRACE_S = 2.0
"""So long an executor may take to come back and report before its attempts count as lost."""

AttemptKey = tuple[RunId, StepKey, int]


class ExecutorStream(Protocol):
    """Outgoing side of one executor's stream. Calls only queue."""

    def send_task(self, assignment: Assignment) -> None: ...

    def send_cancellation(self, run: RunId, step: StepKey, attempt: int) -> None: ...

    def send_announcement(self, partition: int, epoch: int) -> None: ...

    def flush(self) -> None: ...


class WorkerStream(Protocol):
    """Outgoing side of a worker's stream, for tasks that were evaluated for it."""

    def send_worker_task(self, assignment: Assignment, task: WorkerTask) -> None: ...


@dataclass(frozen=True, slots=True)
class WorkerSide:
    """`lanes` are its queues by the names that it gave them."""

    tenant: TenantId
    stream: WorkerStream
    lanes: Mapping[str, str]


@dataclass(slots=True)
class Session:
    """`sent` are the attempts dispatched on this very stream and not yet answered; `worker` is
    set for a tenant's own process."""

    executor: ExecutorId
    lanes: frozenset[str]
    stream: ExecutorStream
    worker: WorkerSide | None = None
    sent: set[AttemptKey] = field(default_factory=set[AttemptKey])


@dataclass(frozen=True, slots=True)
class _Report:
    session: Session
    partition: int
    epoch: int
    held: frozenset[AttemptKey]


class Dispatch:
    def __init__(
        self,
        assigning: Assigning,
        owned: Mapping[int, OwnedPartition],
        put: Callable[[Input], None],
        wake: Callable[[], None],
        log: Logger,
        worker_tasks: WorkerTasks,
    ) -> None:
        self._assigning = assigning
        self._owned = owned
        self._put = put
        self._wake = wake
        self._log = log
        self._worker_tasks = worker_tasks
        self._sessions: dict[ExecutorId, Session] = {}
        self._touched: dict[ExecutorId, Session] = {}
        self._graces: set[asyncio.TimerHandle] = set()
        self._reports: list[_Report] = []

    # The executors' side.

    def open(self, session: Session) -> None:
        """A stream has said hello. It hears of every epoch before it gets a task."""
        before = self._sessions.get(session.executor)
        if before is not None:
            self._assigning.credits.withdraw(session.executor)
        self._sessions[session.executor] = session
        for partition in self._owned.values():
            session.stream.send_announcement(partition.number, partition.epoch)
        session.stream.flush()

    def close(self, session: Session) -> None:
        if self._sessions.get(session.executor) is not session:
            return
        del self._sessions[session.executor]
        self._assigning.credits.withdraw(session.executor)
        self._log.info("executor gone", executor=session.executor, open=len(session.sent))
        self._after_grace(lambda: self._lose_unreported(self._owned.values()))

    def grant(self, session: Session, lane: str, count: int) -> None:
        """Room in a lane that the session did not declare is ignored: it is not its to serve."""
        if lane in session.lanes and count and self._sessions.get(session.executor) is session:
            self._assigning.credits.grant(session.executor, lane, count)
            self._wake()

    def answered(self, session: Session, run: RunId, step: StepKey, attempt: int) -> None:
        session.sent.discard((run, step, attempt))

    def report(
        self, session: Session, partition: int, epoch: int, held: Iterable[AttemptKey]
    ) -> None:
        """What the executor holds of a partition: whatever else it was given is lost.

        Judged after the pass in flight: what that has assigned stands in the state already, and
        is sent only once its record is durable.
        """
        self._reports.append(_Report(session, partition, epoch, frozenset(held)))
        self._wake()

    def refused(
        self, session: Session, partition: int, run: RunId, step: StepKey, attempt: int
    ) -> None:
        # If the partition is not owned just now, the next owner's report decides; what is no longer
        # under way must not pass there as if it were.
        self.answered(session, run, step, attempt)
        worker = session.worker
        if worker is None or self._worker_tasks.is_of(worker.tenant, partition, run):
            self._lose(partition, (run, step, attempt))

    # The loop's side.

    def dispatch(self, assignment: Assignment) -> None:
        session = self._sessions.get(assignment.executor)
        if session is None:
            # It went between assignment and acknowledgement; its grace decides.
            return
        if self._assigning.credits.withdrawn:
            self._assigning.credits.sent(session.executor, assignment.lane)
        key = (assignment.run.run_id, assignment.step, assignment.attempt)
        session.sent.add(key)
        if session.worker is not None:
            self._dispatch_to_worker(session, session.worker.stream, assignment)
            return
        session.stream.send_task(assignment)
        self._touched[session.executor] = session

    def _dispatch_to_worker(
        self, session: Session, stream: WorkerStream, assignment: Assignment
    ) -> None:
        def send(task: WorkerTask | None) -> None:
            if self._sessions.get(session.executor) is not session:
                # Not reported on the stream that followed, so it counts as lost there.
                return
            if task is None:
                self.answered(session, assignment.run.run_id, assignment.step, assignment.attempt)
                self.grant(session, assignment.lane, 1)
                return
            stream.send_worker_task(assignment, task)
            session.stream.flush()

        self._worker_tasks.prepare(assignment, send)

    def cancel(self, run: RunId, step: StepKey, attempt: int, executor: ExecutorId) -> None:
        session = self._sessions.get(executor)
        if session is not None:
            session.stream.send_cancellation(run, step, attempt)
            self._touched[executor] = session

    def flush(self) -> None:
        """At the end of a pass."""
        for session in self._touched.values():
            session.stream.flush()
        self._touched.clear()
        reports, self._reports = self._reports, []
        for report in reports:
            self._judge(report)

    def announce(self, partition: OwnedPartition) -> None:
        for session in self._sessions.values():
            session.stream.send_announcement(partition.number, partition.epoch)
            session.stream.flush()
        number, epoch = partition.number, partition.epoch
        self._after_grace(lambda: self._grace_over(number, epoch))

    def close_all(self) -> None:
        for grace in self._graces:
            grace.cancel()
        self._graces.clear()

    def executors(self) -> int:
        return len(self._sessions)

    def _judge(self, report: _Report) -> None:
        session, partition = report.session, report.partition
        owned = self._owned.get(partition)
        if owned is None or owned.epoch != report.epoch:
            return
        if self._sessions.get(session.executor) is not session:
            # The stream that followed brings a report of its own.
            return
        for key, executor in _running(owned):
            if executor == session.executor and key not in report.held | session.sent:
                self._lose(partition, key)

    def _grace_over(self, number: int, epoch: int) -> None:
        owned = self._owned.get(number)
        if owned is not None and owned.epoch == epoch:
            self._lose_unreported([owned])

    def _lose_unreported(self, partitions: Iterable[OwnedPartition]) -> None:
        for owned in partitions:
            for key, executor in _running(owned):
                session = self._sessions.get(executor)
                if session is None:
                    self._lose(owned.number, key)

    def _lose(self, partition: int, key: AttemptKey) -> None:
        run, step, attempt = key
        metrics.ATTEMPTS_LOST.of().inc()
        self._put(Input(partition, cmd.LoseAttempt(run=run, step=step, attempt=attempt)))

    def _after_grace(self, act: Callable[[], None]) -> None:
        def over() -> None:
            self._graces.discard(handle)
            act()

        handle = asyncio.get_running_loop().call_later(GRACE_S, over)
        self._graces.add(handle)


def _running(owned: OwnedPartition) -> list[tuple[AttemptKey, ExecutorId]]:
    return [
        ((run.run_id, state.key, state.attempt), state.executor)
        for run in owned.runs.awake()
        for state in run.steps.values()
        if state.status is StepStatus.RUNNING
    ]
