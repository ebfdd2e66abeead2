"""The loop of a scheduler: inputs -> decide -> assign by credit -> one append -> effects.

Group commit by natural coalescing: whatever arrives while an append is in flight is the next
batch. Decisions are folded in memory at once; nothing of them leaves this process before the
log has acknowledged their records, and a partition whose append failed is folded again from the
log before it goes on.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from headrace_core.errors import UnknownEvent
from headrace_core.ids import RunId
from headrace_core.partition.events import StartMessage
from headrace_core.run.events import StepAssigned, StepError
from headrace_core.run.state import RunState
from headrace_runtime.clock import Clock
from headrace_scheduler import metrics
from headrace_scheduler.app.appending import Appending, Loss
from headrace_scheduler.app.assigning import Assigning
from headrace_scheduler.app.inbox import Inbox
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.performing import Performing
from headrace_scheduler.app.turns import (
    DecisionFailed,
    Draft,
    PayloadNeeded,
    Rejected,
    Turns,
    find_ready,
)
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import ArmSchedule, EnqueueStep, SetTimer
from headrace_scheduler.domain.failure import engine_error
from headrace_scheduler.domain.fair_queue import Ready
from headrace_scheduler.domain.timers import Timers

INPUTS_PER_PASS_MAX = 1_024
"""Bounds the latency of a pass: what is beyond waits for the next one."""
TIMERS_PER_PASS_MAX = 512


@dataclass(slots=True)
class _Pass:
    """What one pass has decided and not yet made durable."""

    drafts: list[Draft] = field(default_factory=list[Draft])
    rejected: list[Rejected] = field(default_factory=list[Rejected])
    last_of_run: dict[RunId, Draft] = field(default_factory=dict[RunId, Draft])


class Loop:
    """One per process, over all partitions that it owns."""

    def __init__(
        self,
        inbox: Inbox,
        partitions: dict[int, OwnedPartition],
        turns: Turns,
        assigning: Assigning,
        appending: Appending,
        performing: Performing,
        timers: Timers,
        clock: Clock,
    ) -> None:
        self._turns = turns
        self._assigning = assigning
        self._appending = appending
        self._performing = performing
        self._timers = timers
        self._clock = clock
        self._inbox = inbox
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_ms: int | None = None
        self._stopping = False
        self.partitions = partitions
        self.on_lost: Callable[[Loss], None] = lambda loss: None
        self.on_parked: Callable[[OwnedPartition, RunId, StepError], None] = (
            lambda partition, run, incident: None
        )
        self.after_pass: Callable[[], None] = lambda: None
        self.on_committed: Callable[[Mapping[int, int]], None] = lambda ends: None

    def put(self, incoming: Input) -> None:
        self._inbox.put(incoming)

    def is_idle(self) -> bool:
        """Whether no input waits for the next pass."""
        return not len(self._inbox)

    def stop(self) -> None:
        """The pass in flight is completed; nothing is decided after it."""
        self._stopping = True
        self._inbox.wake()

    async def run(self) -> None:
        while not self._stopping:
            if not len(self._inbox):
                self._set_alarm()
            await self._inbox.wait()
            await self.one_pass()

    async def one_pass(self) -> None:
        now_ms = self._clock.now_ms()
        self._take_timers(now_ms)
        work = _Pass()
        for _ in range(min(len(self._inbox), INPUTS_PER_PASS_MAX)):
            self._take(self._inbox.pop(), work, now_ms)
        self._assign(work, now_ms)
        if work.drafts:
            await self._write_then_perform(work.drafts)
        for rejected in work.rejected:
            self._answer_rejected(rejected)
        self._performing.flush()
        self.after_pass()
        if len(self._inbox):
            # Streams are read and written by other tasks of this process: let them.
            await asyncio.sleep(0)

    async def _write_then_perform(self, drafts: Sequence[Draft]) -> None:
        """In this order, always: what is performed cannot be taken back."""
        began_s = perf_counter()
        lost = await self._appending.append(drafts)
        metrics.APPEND_SECONDS.of().observe(perf_counter() - began_s)
        metrics.TURNS.of().inc(len(drafts))
        for loss in lost:
            self.give_up(loss)
        self._performing.perform(drafts, self.partitions, self._timers)
        self.on_committed(self._ends(drafts))

    def _answer_rejected(self, rejected: Rejected) -> None:
        """What a rejection rests on may stand in this very pass: without it there is no answer."""
        answer, number = rejected.input.answer, rejected.input.partition
        if answer is None:
            return
        owned = self.partitions.get(number)
        if owned is not None and owned.epoch == rejected.epoch:
            answer.rejected(rejected.rejection, number, rejected.epoch)
        else:
            answer.unavailable(number)

    def _ends(self, drafts: Sequence[Draft]) -> Mapping[int, int]:
        touched = {draft.partition.number for draft in drafts if draft.position is not None}
        return {
            number: self.partitions[number].next_offset
            for number in touched
            if number in self.partitions
        }

    def adopt(self, partition: OwnedPartition) -> None:
        self.partitions[partition.number] = partition
        self._inbox.wake()

    def give_up(self, loss: Loss) -> None:
        """Forget a partition: its state in memory may be ahead of the log."""
        if self.partitions.pop(loss.partition, None) is None:
            return
        metrics.OWNERSHIPS_LOST.of().inc()
        self._timers.drop_partition(loss.partition)
        self.on_lost(loss)

    def _take(self, incoming: Input, work: _Pass, now_ms: int) -> None:
        partition = self.partitions.get(incoming.partition)
        if partition is None:
            if incoming.answer is not None:
                incoming.answer.unavailable(incoming.partition)
            return
        if partition.parking:
            deferred = partition.parking.get(getattr(incoming.command, "run", RunId("")))
            if deferred is not None:
                deferred.append(incoming)
                return
        try:
            outcome = self._turns.decide(partition, incoming, now_ms)
        except DecisionFailed as failed:
            self._decision_failed(partition, incoming, failed, work, now_ms)
            return
        except PayloadNeeded as needed:
            self._performing.fetch_for(incoming, needed)
            return
        except UnknownEvent as error:
            self.give_up(Loss(partition.number, str(error), claim_again=False))
            return
        if isinstance(outcome, Rejected):
            work.rejected.append(outcome)
        else:
            self._keep(outcome, work)

    def _keep(self, draft: Draft, work: _Pass) -> None:
        work.drafts.append(draft)
        if draft.run is None:
            return
        work.last_of_run[draft.run.run_id] = draft
        for effect in draft.turn.effects:
            if isinstance(effect, EnqueueStep):
                self._assigning.enqueue(
                    effect.lane,
                    Ready(draft.run.tenant, effect.run, effect.step, draft.partition.number),
                    effect.priority,
                )

    def _assign(self, work: _Pass, now_ms: int) -> None:
        for lane, ready, run in self._assigning.candidates(self._find_ready):
            draft = work.last_of_run.get(ready.run)
            if draft is None:
                partition = self.partitions[ready.partition]
                draft = Draft(partition, self._turns.assigning_turn(partition, run, now_ms), run)
                work.drafts.append(draft)
                work.last_of_run[ready.run] = draft
            self._assign_one(draft, run, lane, ready)

    def _find_ready(self, ready: Ready) -> RunState | None:
        partition = self.partitions.get(ready.partition)
        return None if partition is None else find_ready(partition, ready.run, ready.step)

    def _assign_one(self, draft: Draft, run: RunState, lane: str, ready: Ready) -> None:
        executor, token = self._assigning.spend(lane)
        event = StepAssigned(
            step=ready.step,
            attempt=run.steps[ready.step].attempt + 1,
            executor=executor,
            token=token,
        )
        assert isinstance(draft.turn, RunTurn)
        draft.turn.emit(event)
        draft.assigned.append((event, lane))

    def _decision_failed(
        self,
        partition: OwnedPartition,
        incoming: Input,
        failed: DecisionFailed,
        work: _Pass,
        now_ms: int,
    ) -> None:
        """One bad run never stops the others: it parks, from a clean view."""
        incident = engine_error(failed.turn, "engine.fault", f"{failed.cause!r}")
        self._performing.report_fault(failed)
        metrics.RUNS_PARKED.of().inc()
        command = incoming.command
        begins = isinstance(command, cmd.StartRun | cmd.ForkRun | cmd.FireSchedule) or (
            isinstance(command, cmd.TakeMessage) and isinstance(command.message, StartMessage)
        )
        if begins:
            self._keep(self._turns.start_parked(partition, incoming, failed.turn, incident), work)
            return
        if isinstance(command, cmd.TakeMessage):
            work.drafts.append(self._turns.record_message(partition, incoming, command, now_ms))
        elif incoming.answer is not None:
            incoming.answer.unavailable(partition.number)
        run_id = failed.turn.run_id
        partition.runs.pop(run_id)
        work.last_of_run.pop(run_id, None)
        partition.parking[run_id] = []
        self.on_parked(partition, run_id, incident)

    def _take_timers(self, now_ms: int) -> None:
        for number, timer in self._timers.take_due(now_ms, TIMERS_PER_PASS_MAX):
            if isinstance(timer, ArmSchedule):
                self._performing.prepare_firing(number, timer)
            elif timer.kind is cmd.TimerKind.STEP_HEARTBEAT:
                self._look_after(number, timer, now_ms)
            else:
                command = cmd.FireTimer(
                    run=timer.run, step=timer.step, kind=timer.kind, due_ms=timer.due_ms
                )
                self._inbox.put(Input(number, command))

    def _look_after(self, number: int, timer: SetTimer, now_ms: int) -> None:
        owned = self.partitions.get(number)
        if owned is None:
            return
        missed = self._performing.look_after(owned, timer, self._timers, now_ms)
        if missed is not None:
            self._inbox.put(Input(number, missed))

    def _set_alarm(self) -> None:
        """Wake at the next timer; an alarm that is set for that time already stays."""
        due_ms = self._timers.next_due_ms()
        if due_ms == self._alarm_ms:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._alarm_ms = due_ms
        if due_ms is not None:
            delay_s = max(0.0, (due_ms - self._clock.now_ms()) / 1_000)
            self._alarm = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_ms = None, None
        self._inbox.wake()
