"""Strategies without one rule of safety each. The simulator must notice every one of them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from headrace_core.ids import RunId
from headrace_core.log.filter import LogFilter
from headrace_core.log.record import Envelope
from headrace_core.payload import NOTHING, Stored
from headrace_runtime.delivery import effect_rules
from headrace_runtime.delivery.effect_rules import Claim, Close, Guard, Row
from headrace_runtime.eventlog.port import Appended
from headrace_scheduler.app.appending import Appending, Loss
from headrace_scheduler.app.loop import Loop
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Assignment, Checkpoint, SnapshotChange
from headrace_scheduler.app.turns import Draft, Turns
from headrace_scheduler.assembly import EngineParts
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason, Rejection
from tests.simulation.world.parts import SimSnapshots
from tests.simulation.world.rules import RowRules, SafetyRules


class NoEpochCheck(LogFilter):
    """Folds what another owner wrote under an older claim, if its number happens to fit."""

    def accept(self, offset: int, envelope: Envelope) -> bool:
        if envelope.claim:
            return super().accept(offset, envelope)
        return super().accept(offset, replace(envelope, epoch=self.epoch))


class NoSeqCheck(LogFilter):
    """Folds whatever bears the right epoch, and again if it stands there again."""

    def accept(self, offset: int, envelope: Envelope) -> bool:
        if not envelope.claim:
            self.next_seq = envelope.seq
        return super().accept(offset, envelope)


class BlindToGaps(Appending):
    """Acts on whatever was acknowledged, without a look at what lies before it."""

    async def _judge(self, ack: Appended, expected: int) -> Loss | None:
        await asyncio.sleep(0)
        return None


class TwoInFlight(Loop):
    """Sends the second half of a batch while the first is under way, and acts on either."""

    async def _write_then_perform(self, drafts: Sequence[Draft]) -> None:
        half = (len(drafts) + 1) // 2
        halves = [drafts[:half], drafts[half:]] if len(drafts) > 1 else [drafts]
        await asyncio.gather(*(super(TwoInFlight, self)._write_then_perform(one) for one in halves))


class DispatchFirst(Loop):
    """Sends tasks as soon as they are decided, before the record that assigns them; and then again,
    which an executor does not mind."""

    async def _write_then_perform(self, drafts: Sequence[Draft]) -> None:
        following: dict[int, int] = {}
        for draft in drafts:
            number = draft.partition.number
            offset = following.setdefault(number, draft.partition.next_offset)
            following[number] += bool(draft.events or draft.turn.partition_events)
            for event, lane in draft.assigned:
                assert draft.run is not None
                self._performing.dispatcher.dispatch(
                    Assignment(
                        partition=number,
                        epoch=draft.partition.epoch,
                        offset=offset,
                        run=draft.run,
                        step=event.step,
                        attempt=event.attempt,
                        token=event.token,
                        lane=lane,
                        executor=event.executor,
                    )
                )
        self._performing.flush()
        await super()._write_then_perform(drafts)


class NoWatermark(Turns):
    """Takes a message whatever was taken before it."""

    def _judge_number(
        self, partition: OwnedPartition, command: cmd.TakeMessage
    ) -> Rejection | None:
        refused = super()._judge_number(partition, command)
        repeated = refused is not None and refused.reason is Reason.REPEATED
        return None if repeated else refused


class NoClaim(RowRules):
    """Calls without a row."""

    def claim(
        self, row: Row | None, attempt: int, claimant: str, guard: Guard
    ) -> tuple[Row | None, Claim]:
        return None, Claim.CALL


class NoOrderOfAttempts(RowRules):
    """A lower attempt takes the row of a higher one as if it were the other way round."""

    def claim(
        self, row: Row | None, attempt: int, claimant: str, guard: Guard
    ) -> tuple[Row | None, Claim]:
        if row is not None and row.attempt > attempt:
            row = replace(row, attempt=attempt - 1)
        return super().claim(row, attempt, claimant, guard)


class NoClosing(RowRules):
    """Says what the row holds at the moment, and does not close it."""

    def close(self, row: Row | None, attempt: int, closer: str) -> tuple[Row | None, Close, Stored]:
        _, word = effect_rules.close(row, attempt, closer)
        return None, word, row.result if row is not None else NOTHING


class AnyCheckpoint(SimSnapshots):
    """Whoever writes last has the checkpoint."""

    def is_newer(self, checkpoint: Checkpoint, stored: Checkpoint) -> bool:
        return True


class KeepsEndedRuns(SimSnapshots):
    """The checkpoint moves on, the rows of runs that have ended stay."""

    def rows_to_delete(self, change: SnapshotChange) -> Sequence[RunId]:
        return ()


BROKEN: Mapping[str, SafetyRules] = {
    "epoch check": SafetyRules(engine=EngineParts(log_filter=NoEpochCheck)),
    "seq check": SafetyRules(engine=EngineParts(log_filter=NoSeqCheck)),
    "gap reading": SafetyRules(engine=EngineParts(appending=BlindToGaps)),
    "one append in flight": SafetyRules(engine=EngineParts(loop=TwoInFlight)),
    "assignment before dispatch": SafetyRules(engine=EngineParts(loop=DispatchFirst)),
    "claim before effect": SafetyRules(rows=NoClaim()),
    "claims ordered by attempt": SafetyRules(rows=NoOrderOfAttempts()),
    "effect row closed before a verdict": SafetyRules(rows=NoClosing()),
    "checkpoint only newer": SafetyRules(snapshots=AnyCheckpoint),
    "rows of ended runs deleted with it": SafetyRules(snapshots=KeepsEndedRuns),
    "delivery watermark": SafetyRules(engine=EngineParts(turns=NoWatermark)),
}
