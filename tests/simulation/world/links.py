"""Streams between owners and executors: ordered and reliable until they break.

A break loses what is under way in both directions; messages may also arrive twice, as they do
when a sender repeats what it does not know to have arrived.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace_core.ids import ExecutorId, RunId, StepKey
from headrace_scheduler.app.dispatch import Session
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.ports import Assignment
from headrace_scheduler.assembly import Engine
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason, Rejection
from headrace_worker.messages import (
    Acknowledgement,
    Announcement,
    Attempt,
    AttemptKey,
    Received,
    Result,
    Sending,
    Task,
)

DELAY_MS_MAX = 8
LATE, LATE_MS_MAX = 0.1, 900
DOUBLED = 0.3


@dataclass(slots=True)
class Network:
    """Chance of the campaign, and how bad the network is at the moment."""

    chance: random.Random
    doubled: bool = False
    late: bool = False
    doubles: int = 0
    late_results: int = 0

    def delay_s(self) -> float:
        if self.late and self.chance.random() < LATE:
            return self.chance.randrange(DELAY_MS_MAX, LATE_MS_MAX) / 1_000
        return self.chance.randrange(1, DELAY_MS_MAX) / 1_000

    def copies(self) -> int:
        if self.doubled and self.chance.random() < DOUBLED:
            self.doubles += 1
            return 2
        return 1


@dataclass(slots=True)
class Link:
    """One stream. `to_executor` takes what the owner says; implements ExecutorStream."""

    owner: str
    executor: ExecutorId
    engine: Engine
    log_id: bytes
    network: Network
    to_executor: Callable[["Link", Received], None]
    broken: bool = False
    session: Session | None = None
    under_way: int = 0
    """Messages, in both directions."""
    tasks_under_way: int = 0
    credits_under_way: int = 0
    doubled: bool = False
    """A message has arrived twice here, which spends or grants credits twice."""
    _outgoing: Received = field(init=False)
    _earliest_s: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def __post_init__(self) -> None:
        self._outgoing = self._empty()

    def send_task(self, assignment: Assignment) -> None:
        attempt = Attempt(
            assignment.partition,
            assignment.epoch,
            assignment.run.tenant,
            assignment.run.run_id,
            assignment.step,
            assignment.attempt,
            assignment.token,
        )
        state = assignment.run.steps.get(assignment.step)
        task = Task(
            attempt,
            assignment.executor,
            assignment.offset,
            assignment.run.plan,
            assignment.run.flow,
            assignment.lane,
            fallback=state.fallback if state is not None else 0,
        )
        self._outgoing.tasks = [*self._outgoing.tasks, task]

    def send_cancellation(self, run: RunId, step: StepKey, attempt: int) -> None:
        self._outgoing.cancellations = [*self._outgoing.cancellations, (run, step, attempt)]

    def send_announcement(self, partition: int, epoch: int) -> None:
        announcement = Announcement(partition, epoch)
        self._outgoing.announcements = [*self._outgoing.announcements, announcement]

    def send_acknowledgement(self, key: AttemptKey, epoch: int) -> None:
        acknowledgement = Acknowledgement(key, epoch)
        self._outgoing.acknowledgements = [*self._outgoing.acknowledgements, acknowledgement]
        self.flush()

    def flush(self) -> None:
        message, self._outgoing = self._outgoing, self._empty()

        def arrive() -> None:
            self.tasks_under_way -= tasks
            self.to_executor(self, message)

        tasks = len(message.tasks)
        for _ in range(self._copies()):
            self.tasks_under_way += tasks
            self._later(0, arrive)

    def to_owner(self, message: Sending) -> None:
        def arrive() -> None:
            self.credits_under_way -= room
            self._arrive(message)

        room = sum(credit.room for credit in message.credits)
        for _ in range(self._copies()):
            self.credits_under_way += room
            self._later(1, arrive)

    def _copies(self) -> int:
        copies = self.network.copies()
        self.doubled = self.doubled or copies > 1
        return copies

    def close(self) -> None:
        """The stream is gone; the owner's side notices."""
        if not self.broken:
            self.broken = True
            if self.session is not None:
                self.engine.dispatch.close(self.session)

    def _later(self, direction: int, act: Callable[[], None]) -> None:
        """In order per direction, never on a broken stream."""
        loop = asyncio.get_running_loop()
        at_s = max(self._earliest_s[direction], loop.time() + self.network.delay_s())
        # Timers of one and the same time are in no order.
        self._earliest_s[direction] = at_s + 1e-6

        def arrive() -> None:
            self.under_way -= 1
            if not self.broken:
                act()

        self.under_way += 1
        loop.call_at(at_s, arrive)

    def _arrive(self, message: Sending) -> None:
        dispatch = self.engine.dispatch
        if message.hello is not None and self.session is None:
            self.session = Session(self.executor, frozenset(message.hello.lanes), self)
            dispatch.open(self.session)
        session = self.session
        if session is None:
            return
        for report in message.reports:
            held = [(RunId(a.run), StepKey(a.step), a.number) for a in report.open]
            dispatch.report(session, report.partition, report.epoch, held)
        for result in message.results:
            self._take(session, result)
        for refusal in message.refusals:
            a = refusal.attempt
            dispatch.refused(session, a.partition, a.run, a.step, a.number)
        for credit in message.credits:
            dispatch.grant(session, credit.lane, credit.room)

    def _take(self, session: Session, result: Result) -> None:
        attempt = result.attempt
        self.engine.dispatch.answered(session, attempt.run, attempt.step, attempt.number)
        command = cmd.CompleteStep(
            run=attempt.run,
            step=attempt.step,
            attempt=attempt.number,
            token=attempt.token,
            outcome=cmd.Outcome(result.outcome),
            output=result.output,
            error=result.error,
        )
        self.engine.loop.put(Input(attempt.partition, command, _Answer(self, attempt)))

    def _empty(self) -> Received:
        return Received(self.log_id)


class _Answer:
    def __init__(self, link: Link, attempt: Attempt) -> None:
        self._link = link
        self._attempt = attempt

    def accepted(self, partition: int, offset: int) -> None:
        owned = self._link.engine.loop.partitions[partition]
        self._link.send_acknowledgement(self._attempt.key, owned.epoch)

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        self._link.network.late_results += rejection.reason is Reason.LATE
        if rejection.reason is not Reason.OUT_OF_ORDER:
            self._link.send_acknowledgement(self._attempt.key, epoch)

    def unavailable(self, partition: int) -> None:
        """Not acknowledged."""
