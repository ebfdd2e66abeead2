"""From one input to one turn, in memory: the bridge between the loop and the pure decisions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace_core.errors import UnknownEvent
from headrace_core.ids import PlanHash, RunId, StepKey, TenantId
from headrace_core.partition import events as pev
from headrace_core.payload import BlobMissingHere, Stored, Vault, subject_key_of
from headrace_core.run.events import RunEvent, RunParked, StepAssigned, StepError
from headrace_core.run.state import RunState
from headrace_core.run.status import RunStatus, StepStatus
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Catalogue
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide.adopt import adopted
from headrace_scheduler.domain.decide.advance import resume
from headrace_scheduler.domain.decide.cancel_run import cancel_run
from headrace_scheduler.domain.decide.child import (
    begin_child,
    cancel_by_parent,
    start_child,
    take_answer,
)
from headrace_scheduler.domain.decide.complete_step import complete_step, note_step
from headrace_scheduler.domain.decide.concurrency import ask_limit, leave_limit, take_admission
from headrace_scheduler.domain.decide.decide_approval import decide_approval
from headrace_scheduler.domain.decide.discard_letter import discard_letter
from headrace_scheduler.domain.decide.event_home import (
    go_on_forwarding,
    join_waiter,
    leave_waiter,
    publish_event,
)
from headrace_scheduler.domain.decide.fire_timer import fire_timer
from headrace_scheduler.domain.decide.fork import fork_run
from headrace_scheduler.domain.decide.lose_attempt import (
    close_by_row,
    lose_attempt,
    miss_heartbeat,
)
from headrace_scheduler.domain.decide.rate_limit import give_rate
from headrace_scheduler.domain.decide.resume_run import resume_run
from headrace_scheduler.domain.decide.schedule import (
    fire_schedule,
    hold_firing,
    is_expected,
    set_schedule,
    starts_now,
)
from headrace_scheduler.domain.decide.signal import signal_run, take_event
from headrace_scheduler.domain.decide.start_run import known_start, start_from_event, start_run
from headrace_scheduler.domain.decide.stopping import is_stopped
from headrace_scheduler.domain.decide.take_rate import take_rate
from headrace_scheduler.domain.decision import PartitionTurn, Reason, Rejection, RunTurn

_NO_RUN = Rejection(Reason.NOT_FOUND, "no open run has this id: it has ended, or never began")

DecideRun = Callable[[RunTurn, Any], Rejection | None]


def _continue_run(turn: RunTurn, command: cmd.ContinueRun) -> None:
    resume(turn)


def _park_run(turn: RunTurn, command: cmd.ParkRun) -> Rejection | None:
    if turn.run.status is RunStatus.SUSPENDED:
        return Rejection(Reason.REPEATED, "the run is parked already")
    turn.emit(RunParked(incident=command.incident))
    return None


DECIDE_RUN: Mapping[type[cmd.RunCommand], DecideRun] = {
    cmd.CompleteStep: complete_step,
    cmd.NoteStep: note_step,
    cmd.LoseAttempt: lose_attempt,
    cmd.MissHeartbeat: miss_heartbeat,
    cmd.CloseByRow: close_by_row,
    cmd.FireTimer: fire_timer,
    cmd.CancelRun: cancel_run,
    cmd.DecideApproval: decide_approval,
    cmd.ResumeRun: resume_run,
    cmd.SignalRun: signal_run,
    cmd.StartChild: start_child,
    cmd.ContinueRun: _continue_run,
    cmd.ParkRun: _park_run,
}


AT_HOME: Mapping[type[pev.HomeMessage], Callable[[PartitionTurn, cmd.TakeMessage], None]] = {
    pev.WaiterJoin: join_waiter,
    pev.WaiterLeave: leave_waiter,
    pev.EventForward: go_on_forwarding,
    pev.LimitAsk: ask_limit,
    pev.LimitLeave: leave_limit,
    pev.RateAsk: give_rate,
}
TO_BEGIN: Mapping[type[pev.StartMessage], Callable[[RunTurn, cmd.TakeMessage], None]] = {
    pev.ChildStart: begin_child,
    pev.EventStart: start_from_event,
}
TO_RUN: Mapping[type[pev.RunMessage], Callable[[RunTurn, cmd.TakeMessage], None]] = {
    pev.ChildEnded: take_answer,
    pev.ChildCancel: cancel_by_parent,
    pev.EventDelivery: take_event,
    pev.LimitAnswer: take_admission,
    pev.RateGrant: take_rate,
}


@dataclass(slots=True)
class Draft:
    """A turn that waits for its record. `inputs` are answered when the record is durable, which
    is when it has an `offset`; `position` is its place in its partition's batch."""

    partition: OwnedPartition
    turn: PartitionTurn
    run: RunState | None
    inputs: list[Input] = field(default_factory=list[Input])
    assigned: list[tuple[StepAssigned, str]] = field(default_factory=list[tuple[StepAssigned, str]])
    position: int | None = None
    offset: int | None = None

    @property
    def events(self) -> list[RunEvent]:
        return self.turn.events if isinstance(self.turn, RunTurn) else []


@dataclass(frozen=True, slots=True)
class Rejected:
    input: Input
    rejection: Rejection
    epoch: int


class DecisionFailed(Exception):
    """A bug met in one run: its state in memory is not to be trusted any more. Its partition's
    state is as it was before the input."""

    def __init__(self, turn: RunTurn, cause: Exception) -> None:
        super().__init__(f"deciding an input of {turn.run_id} raised {cause!r}")
        self.turn = turn
        self.cause = cause


class PayloadNeeded(Exception):
    """A payload is not at hand and nothing was decided yet: fetch it, then ask again."""

    def __init__(self, tenant: TenantId, missing: BlobMissingHere) -> None:
        super().__init__(f"a payload of {missing.run} is not at hand")
        self.tenant = tenant
        self.missing = missing


class Turns:
    """Decides inputs against owned partitions. Knows no time and no I/O of its own."""

    def __init__(self, catalogue: Catalogue, partitions: int) -> None:
        self._catalogue = catalogue
        self._partitions = partitions

    def decide(self, partition: OwnedPartition, incoming: Input, now_ms: int) -> Draft | Rejected:
        """Raises DecisionFailed for a bug in one run, PayloadNeeded for a value that has to be
        fetched first, UnknownEvent to stop the partition."""
        command = incoming.command
        decide = DECIDE_RUN.get(type(command))  # type: ignore[arg-type] # keys are the subset
        if decide is not None:
            return self._decide_run(partition, incoming, decide, now_ms)
        if isinstance(command, cmd.StartRun | cmd.ForkRun):
            return self._start(partition, incoming, command, now_ms)
        if isinstance(command, cmd.TakeMessage):
            return self._take_message(partition, incoming, command, now_ms)
        return self._decide_partition(partition, incoming, now_ms)

    def turn_of(self, partition: OwnedPartition, run: RunState, now_ms: int) -> RunTurn:
        """Raises PayloadNeeded for the key of the run's data subject."""
        vault = self._vault_of(run.tenant, run.input)
        return self._turn(partition, run, run.plan, vault, now_ms)

    def assigning_turn(self, partition: OwnedPartition, run: RunState, now_ms: int) -> RunTurn:
        """For a turn that seals nothing, and so needs no key at hand."""
        return self._turn(partition, run, run.plan, self._catalogue.vault(run.tenant), now_ms)

    def _turn(
        self,
        partition: OwnedPartition,
        run: RunState,
        plan: PlanHash,
        vault: Vault,
        now_ms: int,
    ) -> RunTurn:
        return RunTurn(
            run,
            self._catalogue.plan(run.tenant, plan),
            vault,
            partition.state,
            now_ms,
            self._partitions,
        )

    def _vault_of(self, tenant: TenantId, run_input: Stored) -> Vault:
        """Seals as the run's input is sealed."""
        vault, subject_key = self._catalogue.vault(tenant), subject_key_of(run_input)
        if not subject_key:
            return vault
        try:
            return vault.under(subject_key)
        except BlobMissingHere as missing:
            raise PayloadNeeded(tenant, missing) from missing

    def is_settled(self, partition: OwnedPartition, run: RunState, now_ms: int) -> bool:
        """Whether ContinueRun would leave this run as it is. `run` is a copy, spoilt by this."""
        try:
            turn = self.turn_of(partition, run, now_ms)
            resume(turn)
        except Exception:  # noqa: BLE001 - the loop meets it again, and knows what to do
            return False
        return not (turn.events or turn.partition_events or turn.effects)

    def _decide_run(
        self, partition: OwnedPartition, incoming: Input, decide: DecideRun, now_ms: int
    ) -> Draft | Rejected:
        command: Any = incoming.command
        run = partition.runs.get(command.run)
        if run is None or getattr(command, "tenant", run.tenant) != run.tenant:
            return Rejected(incoming, _NO_RUN, partition.epoch)
        turn = self.turn_of(partition, run, now_ms)
        subject_key = subject_key_of(run.input)

        def decide_adopted() -> Rejection | None:
            taken = adopted(turn, command, subject_key)
            return taken if isinstance(taken, Rejection) else decide(turn, taken)

        decided = decide_adopted if subject_key else lambda: decide(turn, command)
        rejection = self._guarded(turn, decided)
        if rejection is not None:
            return Rejected(incoming, rejection, partition.epoch)
        return Draft(partition, turn, run, [incoming])

    def start_parked(
        self, partition: OwnedPartition, incoming: Input, failed: RunTurn, incident: StepError
    ) -> Draft:
        """The start stands although its first steps could not be decided: the client's key, and
        a run that says what went wrong."""
        turn, run = self._new_run(
            partition,
            failed.run_id,
            failed.tenant,
            failed.plan.hash,
            failed.run.input,
            failed.now_ms,
        )
        for event in failed.partition_events:
            if isinstance(event, pev.StartKeyed | pev.DeadLetterReplayed):
                turn.emit_partition(event)
        turn.emit(failed.events[0])
        turn.emit(RunParked(incident=incident))
        turn.commit()
        partition.runs.add(run)
        return Draft(partition, turn, run, [incoming])

    def _start(
        self,
        partition: OwnedPartition,
        incoming: Input,
        command: cmd.StartRun | cmd.ForkRun,
        now_ms: int,
    ) -> Draft | Rejected:
        known = known_start(partition.state, command, max(now_ms, partition.state.time_ms))
        if known is not None:
            return Rejected(incoming, known, partition.epoch)
        begun = command.fork if isinstance(command, cmd.ForkRun) else command
        turn, run = self._new_run(
            partition, command.run, command.tenant, begun.plan, begun.input, now_ms
        )
        if isinstance(command, cmd.ForkRun):
            self._guarded(turn, lambda: fork_run(turn, command))
        else:
            self._guarded(turn, lambda: start_run(turn, command))
        partition.runs.add(run)
        return Draft(partition, turn, run, [incoming])

    def _take_message(
        self, partition: OwnedPartition, incoming: Input, command: cmd.TakeMessage, now_ms: int
    ) -> Draft | Rejected:
        refused = self._judge_number(partition, command)
        if refused is not None:
            return Rejected(incoming, refused, partition.epoch)
        message = command.message
        if isinstance(message, pev.StartMessage):
            turn, run = self._new_run(
                partition, message.run, message.tenant, message.plan, message.input, now_ms
            )
            self._take(turn, command, TO_BEGIN[type(message)])
            partition.runs.add(run)
            return Draft(partition, turn, run, [incoming])
        if isinstance(message, pev.HomeMessage):
            home = PartitionTurn(partition.state, now_ms, self._partitions)
            home.receive(command.source, command.number)
            AT_HOME[type(message)](home, command)
            home.commit()
            return Draft(partition, home, None, [incoming])
        target = message.parent.run if isinstance(message, pev.ChildEnded) else message.run
        known = partition.runs.get(target)
        if known is None:
            # Recorded, so that it is acknowledged; there is nobody left to tell.
            return self.record_message(partition, incoming, command, now_ms)
        turn = self.turn_of(partition, known, now_ms)
        self._take(turn, command, TO_RUN[type(message)])
        return Draft(partition, turn, known, [incoming])

    def _take(
        self,
        turn: RunTurn,
        command: cmd.TakeMessage,
        decide: Callable[[RunTurn, cmd.TakeMessage], None],
    ) -> None:
        turn.receive(command.source, command.number)
        self._guarded(turn, lambda: decide(turn, command))

    def _judge_number(
        self, partition: OwnedPartition, command: cmd.TakeMessage
    ) -> Rejection | None:
        """Exactly the next one is taken; the watermark is all that tells a repeat."""
        watermark = partition.state.inboxes.get(command.source, 0)
        if command.number <= watermark:
            return Rejection(Reason.REPEATED, "the message was received before")
        if command.number > watermark + 1:
            return Rejection(Reason.OUT_OF_ORDER, f"message {watermark + 1} comes next")
        return None

    def record_message(
        self, partition: OwnedPartition, incoming: Input, command: cmd.TakeMessage, now_ms: int
    ) -> Draft:
        turn = PartitionTurn(partition.state, now_ms, self._partitions)
        turn.receive(command.source, command.number)
        turn.commit()
        return Draft(partition, turn, None, [incoming])

    def _decide_partition(
        self, partition: OwnedPartition, incoming: Input, now_ms: int
    ) -> Draft | Rejected:
        command = incoming.command
        if isinstance(command, cmd.FireSchedule):
            return self._fire_schedule(partition, incoming, command, now_ms)
        turn = PartitionTurn(partition.state, now_ms, self._partitions)
        if isinstance(command, cmd.PublishEvent | cmd.DiscardLetter):
            rejection = (
                publish_event(turn, command)
                if isinstance(command, cmd.PublishEvent)
                else discard_letter(turn, command)
            )
            if rejection is not None:
                return Rejected(incoming, rejection, partition.epoch)
        elif isinstance(command, cmd.SetSchedule):
            set_schedule(turn, command)
        else:
            assert isinstance(command, cmd.RecordAcknowledgement)
            outbox = partition.state.outboxes.get(command.target)
            if outbox is None or command.number <= outbox.acknowledged:
                known = Rejection(Reason.REPEATED, "the acknowledgement is known")
                return Rejected(incoming, known, partition.epoch)
            turn.emit_partition(
                pev.MessageAcknowledged(target=command.target, number=command.number)
            )
        turn.commit()
        return Draft(partition, turn, None, [incoming])

    def _fire_schedule(
        self, partition: OwnedPartition, incoming: Input, command: cmd.FireSchedule, now_ms: int
    ) -> Draft | Rejected:
        schedule = partition.state.schedules.get(command.schedule)
        if schedule is None or not is_expected(schedule, command):
            gone = Rejection(Reason.LATE, "the schedule was changed or has fired")
            return Rejected(incoming, gone, partition.epoch)
        if not starts_now(schedule, command, max(now_ms, partition.state.time_ms)):
            held = PartitionTurn(partition.state, now_ms, self._partitions)
            waits = hold_firing(held, command)
            if waits is not None:
                return Rejected(incoming, waits, partition.epoch)
            held.commit()
            return Draft(partition, held, None, [incoming])
        turn, run = self._new_run(
            partition, command.run, schedule.tenant, schedule.plan, command.input, now_ms
        )
        self._guarded(turn, lambda: fire_schedule(turn, command))
        partition.runs.add(run)
        return Draft(partition, turn, run, [incoming])

    def _new_run(
        self,
        partition: OwnedPartition,
        run_id: RunId,
        tenant: TenantId,
        plan: PlanHash,
        run_input: Stored,
        now_ms: int,
    ) -> tuple[RunTurn, RunState]:
        run = RunState(run_id, tenant)
        vault = self._vault_of(tenant, run_input)
        return self._turn(partition, run, plan, vault, now_ms), run

    def _guarded(self, turn: RunTurn, decide: Callable[[], Rejection | None]) -> Rejection | None:
        try:
            rejection = decide()
        except UnknownEvent:
            raise
        except BlobMissingHere as missing:
            if turn.events:
                raise DecisionFailed(turn, missing) from missing
            raise PayloadNeeded(turn.tenant, missing) from missing
        except Exception as error:
            raise DecisionFailed(turn, error) from error
        turn.commit()
        return rejection


def find_ready(partition: OwnedPartition, run: RunId, step: StepKey) -> RunState | None:
    """The run, if this step still waits for credit."""
    state = partition.runs.get(run)
    if state is None or state.cancel is not None or state.status is RunStatus.SUSPENDED:
        return None
    found = state.steps.get(step)
    if found is None or found.status is not StepStatus.READY or is_stopped(state, step):
        return None
    return state
