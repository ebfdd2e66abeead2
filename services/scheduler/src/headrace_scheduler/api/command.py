"""SchedulerService.Command: starts, cancels and decisions from a gateway, many per message."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import grpc

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace_contracts.codec import take_event_start, take_run_forked
from headrace_core.errors import (
    HeadraceError,
    InvalidInput,
    InvalidState,
    KeyReused,
    NotFound,
    Unavailable,
)
from headrace_core.ids import (
    Correlation,
    EventId,
    LetterId,
    PlanHash,
    RunId,
    StepKey,
    TenantId,
    partition_of,
    slot_of,
    slot_of_correlation,
    slot_of_hash,
)
from headrace_core.partition.state import BRIEF_KEY_KEPT_MS, START_KEY_KEPT_MS
from headrace_core.payload import Stored
from headrace_core.run.status import CancelCause, Repair
from headrace_core.workflow.firing import Catchup, Overlap
from headrace_scheduler.api.answering import messages_until
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.loop import Loop
from headrace_scheduler.app.ports import Catalogue
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason, Rejection

_CODES = {
    Reason.NOT_FOUND: NotFound.code,
    Reason.LATE: InvalidState.code,
    Reason.INVALID_STATE: InvalidState.code,
    Reason.KEY_REUSED: KeyReused.code,
    Reason.OUT_OF_ORDER: InvalidState.code,
    Reason.REPEATED: InvalidState.code,
    Reason.INVALID_INPUT: InvalidInput.code,
    Reason.FULL: Unavailable.code,
}
_Context = grpc.aio.ServicerContext[pb.CommandRequest, pb.CommandResponse]


class CommandStreams:
    """All open command streams. `owner_of` answers the address of
    whoever else owns a partition, empty where nobody is known."""

    def __init__(
        self,
        loop: Loop,
        catalogue: Catalogue,
        partitions: int,
        why_not_owned: Callable[[int], str],
        owner_of: Callable[[int], Awaitable[str]],
    ) -> None:
        self._owner_of = owner_of
        self._loop = loop
        self._catalogue = catalogue
        self._partitions = partitions
        self._why_not_owned = why_not_owned

    async def serve(
        self, requests: AsyncIterator[pb.CommandRequest]
    ) -> AsyncIterator[pb.CommandResponse]:
        stream = _Replies(self._why_not_owned)
        reading = asyncio.get_running_loop().create_task(self._read(requests, stream))
        try:
            async for message in messages_until(stream.next_message, reading):
                yield message
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[pb.CommandRequest], stream: "_Replies") -> None:
        async for request in requests:
            for command in request.commands:
                await self._take(command, stream)

    async def _take(self, command: pb.Command, stream: "_Replies") -> None:
        answer = _CommandAnswer(stream, command.id)
        try:
            partition, decided = await self._to_command(command, answer)
        except HeadraceError as error:
            stream.reject(command.id, error.code, str(error))
            return
        if partition not in self._loop.partitions:
            stream.not_owner(command.id, partition, await self._owner_of(partition))
            return
        self._loop.put(Input(partition, decided, answer))

    async def _to_command(
        self, command: pb.Command, answer: "_CommandAnswer"
    ) -> tuple[int, cmd.Command]:
        tenant = TenantId(command.tenant)
        kind = command.WhichOneof("command")
        if kind == "start_run":
            return await self._start(command.start_run, tenant, command.actor, answer)
        if kind == "fork_run":
            return await self._fork(command.fork_run, tenant, command.actor, answer)
        if kind == "cancel_run":
            run = RunId(command.cancel_run.run)
            answer.run = run
            return self._partition(run), cmd.CancelRun(
                run=run,
                tenant=tenant,
                cause=CancelCause.REQUEST,
                requested_by=command.actor,
                reason=Stored(command.cancel_run.reason),
            )
        if kind == "decide_approval":
            m = command.decide_approval
            answer.run = RunId(m.run)
            return self._partition(answer.run), cmd.DecideApproval(
                run=answer.run,
                tenant=tenant,
                step=StepKey(m.step),
                decision=m.decision,
                answer=Stored(m.answer),
            )
        if kind == "resume_run":
            return self._resume(command.resume_run, tenant, command.actor, answer)
        if kind == "signal_run":
            return self._signal(command.signal_run, tenant, command.actor, answer)
        if kind == "publish_event":
            return self._publish(command.publish_event, tenant, answer)
        if kind == "discard_letter":
            return self._discard(command.discard_letter, tenant, command.actor, answer)
        if kind == "set_schedule":
            return await self._schedule(command.set_schedule, tenant)
        raise InvalidInput("the command is of a kind that this scheduler does not know")

    async def _start(
        self, m: pb.StartRun, tenant: TenantId, actor: str, answer: "_CommandAnswer"
    ) -> tuple[int, cmd.Command]:
        run, plan = RunId(m.run), PlanHash(m.plan)
        answer.run = run
        await self._catalogue.load(tenant, plan)
        return self._partition(run), cmd.StartRun(
            run=run,
            tenant=tenant,
            flow=m.flow,
            version=m.version,
            plan=plan,
            input=Stored(m.input),
            trigger=m.trigger,
            started_by=actor,
            start_key=m.start_key,
            fingerprint=m.fingerprint,
            key_kept_ms=START_KEY_KEPT_MS if m.client_key else BRIEF_KEY_KEPT_MS,
            priority=m.priority,
        )

    def _resume(
        self, m: pb.ResumeRun, tenant: TenantId, actor: str, answer: "_CommandAnswer"
    ) -> tuple[int, cmd.Command]:
        answer.run = RunId(m.run)
        edits = tuple(
            cmd.StepEdit(
                step=StepKey(edit.step),
                repair=Repair(edit.repair),
                value=Stored(edit.value),
                port=edit.port,
            )
            for edit in m.edits
        )
        return self._partition(answer.run), cmd.ResumeRun(
            run=answer.run, tenant=tenant, resumed_by=actor, edits=edits
        )

    async def _fork(
        self, m: pb.ForkRun, tenant: TenantId, actor: str, answer: "_CommandAnswer"
    ) -> tuple[int, cmd.Command]:
        answer.run = RunId(m.run)
        fork = replace(take_run_forked(m.fork), started_by=actor)
        await self._catalogue.load(tenant, fork.plan)
        return self._partition(answer.run), cmd.ForkRun(
            run=answer.run,
            tenant=tenant,
            fork=fork,
            start_key=m.start_key,
            fingerprint=m.fingerprint,
            key_kept_ms=START_KEY_KEPT_MS if m.client_key else BRIEF_KEY_KEPT_MS,
            letter=LetterId(m.letter),
            letter_step=StepKey(m.letter_step),
        )

    def _discard(
        self, m: pb.DiscardLetter, tenant: TenantId, actor: str, answer: "_CommandAnswer"
    ) -> tuple[int, cmd.Command]:
        answer.run = RunId(m.run)
        slot = slot_of_hash(m.start_key)
        return partition_of(slot, self._partitions), cmd.DiscardLetter(
            letter=LetterId(m.letter),
            tenant=tenant,
            run=RunId(m.run),
            step=StepKey(m.step),
            discarded_by=actor,
            reason=Stored(m.reason),
            start_key=m.start_key,
            fingerprint=m.fingerprint,
            key_kept_ms=START_KEY_KEPT_MS,
        )

    def _signal(
        self, m: pb.SignalRun, tenant: TenantId, actor: str, answer: "_CommandAnswer"
    ) -> tuple[int, cmd.Command]:
        answer.run = RunId(m.run)
        return self._partition(answer.run), cmd.SignalRun(
            run=answer.run,
            tenant=tenant,
            name=m.name,
            signal=EventId(m.signal),
            content=Stored(m.content),
            sent_by=actor,
        )

    def _publish(
        self, m: pb.PublishEvent, tenant: TenantId, answer: "_CommandAnswer"
    ) -> tuple[int, cmd.Command]:
        answer.run = RunId(m.event)
        correlation = Correlation(m.correlation)
        return partition_of(slot_of_correlation(correlation), self._partitions), cmd.PublishEvent(
            event=EventId(m.event),
            tenant=tenant,
            correlation=correlation,
            content=Stored(m.content),
            keep_ms=m.keep_ms,
            start_key=m.start_key,
            fingerprint=m.fingerprint,
            key_kept_ms=START_KEY_KEPT_MS if m.client_key else BRIEF_KEY_KEPT_MS,
            starts=tuple(replace(take_event_start(one), tenant=tenant) for one in m.starts),
        )

    async def _schedule(self, m: pb.SetSchedule, tenant: TenantId) -> tuple[int, cmd.Command]:
        plan = PlanHash(m.plan)
        if m.every_ms or m.cron:
            await self._catalogue.load(tenant, plan)
        return partition_of(m.slot, self._partitions), cmd.SetSchedule(
            schedule=m.schedule,
            tenant=tenant,
            flow=m.flow,
            version=m.version,
            plan=plan,
            trigger=m.trigger,
            every_ms=m.every_ms,
            cron=m.cron,
            timezone=m.timezone,
            overlap=Overlap(m.overlap or "allow"),
            catchup=Catchup(m.catchup or "last"),
        )

    def _partition(self, run: RunId) -> int:
        return partition_of(slot_of(run), self._partitions)


class _Replies:
    """What was answered since the last write goes out as one message."""

    def __init__(self, why_not_owned: Callable[[int], str]) -> None:
        self._why_not_owned = why_not_owned
        self._message = pb.CommandResponse()
        self._ready = asyncio.Event()

    def accept(
        self, command: int, run: str, partition: int, offset: int, *, repeated: bool = False
    ) -> None:
        reply = self._message.replies.add()
        reply.id = command
        accepted = reply.accepted
        accepted.run, accepted.partition, accepted.offset = run, partition, offset
        accepted.repeated_start = repeated
        self._ready.set()

    def reject(self, command: int, code: str, message: str) -> None:
        reply = self._message.replies.add()
        reply.id = command
        reply.rejected.code, reply.rejected.message = code, message
        self._ready.set()

    def not_owner(self, command: int, partition: int, owner: str = "") -> None:
        reply = self._message.replies.add()
        reply.id = command
        reply.not_owner.partition = partition
        reply.not_owner.owner_address = owner
        reply.not_owner.reason = self._why_not_owned(partition)
        self._ready.set()

    async def next_message(self) -> pb.CommandResponse:
        while not self._message.replies:
            self._ready.clear()
            await self._ready.wait()
        message, self._message = self._message, pb.CommandResponse()
        return message


class _CommandAnswer:
    __slots__ = ("_command", "_stream", "run")

    def __init__(self, stream: _Replies, command: int) -> None:
        self._stream = stream
        self._command = command
        self.run = RunId("")

    def accepted(self, partition: int, offset: int) -> None:
        self._stream.accept(self._command, self.run, partition, offset)

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        if rejection.run is not None:
            self._stream.accept(self._command, rejection.run, partition, 0, repeated=True)
        else:
            self._stream.reject(self._command, _CODES[rejection.reason], rejection.message)

    def unavailable(self, partition: int) -> None:
        self._stream.not_owner(self._command, partition)
