"""Effects of durable turns. Never called before the record stands in the log."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from headrace_core.partition.events import StartKeyed
from headrace_core.partition.state import StartKey
from headrace_runtime.telemetry import Logger
from headrace_scheduler.app.assigning import Assigning
from headrace_scheduler.app.background import Background
from headrace_scheduler.app.delivery import Delivery
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Assignment, Dispatcher
from headrace_scheduler.app.pulses import Pulses
from headrace_scheduler.app.turns import DecisionFailed, Draft, PayloadNeeded
from headrace_scheduler.domain.commands import MissHeartbeat
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import (
    ArmSchedule,
    CancelAttempt,
    CancelOpenRun,
    CloseRow,
    ContinueLater,
    DeliverMessages,
    Effect,
    EnqueueStep,
    EvictRun,
    FetchPayload,
    PrepareChild,
    ReleaseFiring,
    SetTimer,
)
from headrace_scheduler.domain.timers import Timers


class Performing:
    def __init__(
        self,
        dispatcher: Dispatcher,
        background: Background,
        delivery: Delivery,
        assigning: Assigning,
        pulses: Pulses,
        log: Logger,
    ) -> None:
        self.dispatcher = dispatcher
        self._background = background
        self._delivery = delivery
        self._assigning = assigning
        self._pulses = pulses
        self._log = log

    def perform(
        self, drafts: Sequence[Draft], owned: Mapping[int, OwnedPartition], timers: Timers
    ) -> None:
        for draft in drafts:
            if draft.offset is None or draft.partition.number not in owned:
                self._undo(draft)
                continue
            self._note_changes(draft)
            for event, lane in draft.assigned:
                assert draft.run is not None
                self.dispatcher.dispatch(
                    Assignment(
                        partition=draft.partition.number,
                        epoch=draft.partition.epoch,
                        offset=draft.offset,
                        run=draft.run,
                        step=event.step,
                        attempt=event.attempt,
                        token=event.token,
                        lane=lane,
                        executor=event.executor,
                    )
                )
                assert isinstance(draft.turn, RunTurn)
                alarm = self._pulses.begin(
                    draft.run.run_id, event.step, event.attempt, draft.turn.plan
                )
                if alarm is not None:
                    timers.add(draft.partition.number, alarm)
            for effect in draft.turn.effects:
                self.perform_one(draft.partition, effect, timers)
            for incoming in draft.inputs:
                if incoming.answer is not None:
                    incoming.answer.accepted(draft.partition.number, draft.offset)

    def perform_one(self, partition: OwnedPartition, effect: Effect, timers: Timers) -> None:
        match effect:
            case EnqueueStep():
                pass  # Queued when it was decided: queues are in memory and show nothing.
            case SetTimer() | ArmSchedule():
                timers.add(partition.number, effect)
            case CancelAttempt():
                self.dispatcher.cancel(effect.run, effect.step, effect.attempt, effect.executor)
            case EvictRun():
                run = partition.runs.pop(effect.run)
                if run is not None:
                    partition.dirty.discard(effect.run)
                    partition.ended.add(effect.run)
                    partition.first_offsets.pop(effect.run, None)
            case CloseRow() | PrepareChild() | FetchPayload():
                self._background.start(partition, effect)
            case DeliverMessages():
                self._delivery.deliver(partition, effect.target)
            case ContinueLater():
                self._background.continue_run(partition.number, effect.run)
            case ReleaseFiring():
                self._background.release_firing(partition.number, effect)
            case CancelOpenRun():
                self._background.cancel_open(partition, effect)
            case _:
                assert_never(effect)

    def look_after(
        self, partition: OwnedPartition, timer: SetTimer, timers: Timers, now_ms: int
    ) -> MissHeartbeat | None:
        """A heartbeat's time has come: answers what it says of an attempt that was silent."""
        found = self._pulses.look(partition, timer, now_ms)
        if isinstance(found, SetTimer):
            timers.add(partition.number, found)
            return None
        return found

    def prepare_firing(self, partition: int, timer: ArmSchedule) -> None:
        self._background.prepare_firing(partition, timer)

    def fetch_for(self, incoming: Input, needed: PayloadNeeded) -> None:
        self._background.fetch_for(incoming, needed.tenant, needed.missing)

    def flush(self) -> None:
        self.dispatcher.flush()

    def report_fault(self, failed: DecisionFailed) -> None:
        self._log.error(
            "run parked",
            run=failed.turn.run_id,
            tenant=failed.turn.tenant,
            cause=repr(failed.cause),
        )

    def _note_changes(self, draft: Draft) -> None:
        """What the next snapshot has to write."""
        partition = draft.partition
        turn = draft.turn
        if draft.run is not None and isinstance(turn, RunTurn) and turn.events:
            partition.dirty.add(draft.run.run_id)
            if turn.first_sequence == 1 and draft.offset is not None:
                partition.first_offsets[draft.run.run_id] = draft.offset
        for event in turn.partition_events:
            if isinstance(event, StartKeyed):
                kept = StartKey(event.fingerprint, event.run, event.expires_at_ms)
                partition.new_start_keys.append((event.key, kept))

    def _undo(self, draft: Draft) -> None:
        """The record is not in the log: nothing happened, and the credit was not used."""
        for event, lane in draft.assigned:
            self._assigning.credits.give_back(event.executor, lane)
        for incoming in draft.inputs:
            if incoming.answer is not None:
                incoming.answer.unavailable(draft.partition.number)
