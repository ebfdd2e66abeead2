"""The Scheduler port over command streams: finds the owner, follows it, sends again.

Which scheduler owns a partition is a hint of the lease table and of NOT_OWNER answers. A command
goes to the newest hint until an owner answers or the time is over.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from headrace.event.v1 import step_events_pb2 as step_pb
from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace_api_gateway.adapters.command_stream import CommandStream, StreamBroken
from headrace_api_gateway.app.ports import (
    Discard,
    Event,
    Fork,
    MaybeDone,
    Schedule,
    SealedEdit,
    Signal,
    Start,
    Started,
    Taken,
)
from headrace_contracts.codec import fill_run_forked, put_event_start
from headrace_core.errors import (
    Forbidden,
    HeadraceError,
    InvalidInput,
    InvalidState,
    KeyReused,
    NotFound,
    TooLarge,
    Unavailable,
)
from headrace_core.ids import (
    EventId,
    RunId,
    StepKey,
    TenantId,
    partition_of,
    slot_for,
    slot_of,
    slot_of_correlation,
    slot_of_hash,
)
from headrace_core.payload import Stored
from headrace_runtime.address import Address
from headrace_runtime.postgres.pool import CONNECTION_LOST
from headrace_runtime.telemetry import Logger

TAKEOVER_S = 5.0
"""How long a command looks for an owner."""
ANSWER_S = 15.0
"""How long an owner that is there may take: longer than any append's deadline."""
RETRY_S = 0.05
SILENCE_S = 1.0
"""After this the lease table is asked whether the silent scheduler is still the owner."""
WATCH_S = 0.5
UNUSED_S = 60.0
COMMAND_BYTES_MAX = 1_000_000
HOPS_AT_ONCE = 4
"""Two schedulers that name each other are not asked in a tight circle."""

_ERRORS: dict[str, type[HeadraceError]] = {
    kind.code: kind
    for kind in (
        Forbidden,
        InvalidInput,
        InvalidState,
        KeyReused,
        NotFound,
        TooLarge,
        Unavailable,
    )
}


class Owners(Protocol):
    """`headrace_runtime.leases.Owners`."""

    async def partitions(self) -> int: ...

    async def address_of(self, partition: int) -> Address | None: ...

    def learn(self, partition: int, address: Address | None) -> None: ...


class Schedulers:
    """Every scheduler that this gateway talks to. `watch` must run meanwhile."""

    def __init__(
        self,
        owners: Owners,
        log: Logger,
        *,
        takeover_s: float = TAKEOVER_S,
        answer_s: float = ANSWER_S,
        token: str = "",
    ) -> None:
        self._owners = owners
        self._log = log
        self._takeover_s = takeover_s
        self._answer_s = answer_s
        self._token = token
        self._loop = asyncio.get_running_loop()
        self._streams: dict[Address, CommandStream] = {}
        self._partitions = 0

    async def start(self, start: Start) -> Started:
        request = pb.CommandRequest()
        command = request.commands.add()
        command.tenant, command.actor = start.tenant, start.actor
        m = command.start_run
        m.run, m.flow, m.version, m.plan = start.run, start.flow, start.version, start.plan
        m.input, m.trigger, m.priority = start.input, start.trigger, start.priority
        m.start_key, m.fingerprint = start.start_key, start.fingerprint
        m.client_key = start.client_key
        accepted = await self._perform(slot_of(start.run), request)
        return Started(RunId(accepted.run), accepted.repeated_start)

    async def fork(self, fork: Fork) -> Started:
        request = pb.CommandRequest()
        command = request.commands.add()
        command.tenant, command.actor = fork.tenant, fork.actor
        m = command.fork_run
        fill_run_forked(m.fork, fork.begin)
        m.run, m.start_key, m.fingerprint = fork.run, fork.start_key, fork.fingerprint
        m.client_key = fork.client_key
        if fork.letter is not None:
            m.letter, m.letter_step = fork.letter.letter, fork.letter.step
        accepted = await self._perform(slot_of(fork.run), request)
        return Started(RunId(accepted.run), accepted.repeated_start)

    async def cancel(self, tenant: TenantId, actor: str, run: RunId, reason: Stored) -> None:
        cancel = pb.CancelRun(run=run, reason=reason)
        command = pb.Command(tenant=tenant, actor=actor, cancel_run=cancel)
        await self._perform(slot_of(run), pb.CommandRequest(commands=[command]))

    async def decide(
        self,
        tenant: TenantId,
        actor: str,
        run: RunId,
        step: StepKey,
        decision: str,
        answer: Stored,
    ) -> None:
        decide = pb.DecideApproval(run=run, step=step, decision=decision, answer=answer)
        command = pb.Command(tenant=tenant, actor=actor, decide_approval=decide)
        await self._perform(slot_of(run), pb.CommandRequest(commands=[command]))

    async def resume(
        self, tenant: TenantId, actor: str, run: RunId, edits: Sequence[SealedEdit]
    ) -> None:
        resume = pb.ResumeRun(run=run)
        for edit in edits:
            m = resume.edits.add(step=edit.step, value=edit.value, port=edit.port)
            m.repair = step_pb.Repair.ValueType(edit.repair)
        command = pb.Command(tenant=tenant, actor=actor, resume_run=resume)
        await self._perform(slot_of(run), pb.CommandRequest(commands=[command]))

    async def discard(self, discard: Discard) -> None:
        message = pb.DiscardLetter(
            letter=discard.letter.letter,
            run=discard.letter.run,
            step=discard.letter.step,
            reason=discard.reason,
            start_key=discard.start_key,
            fingerprint=discard.fingerprint,
        )
        command = pb.Command(tenant=discard.tenant, actor=discard.actor, discard_letter=message)
        request = pb.CommandRequest(commands=[command])
        await self._perform(slot_of_hash(discard.start_key), request)

    async def publish_event(self, event: Event) -> Taken:
        message = pb.PublishEvent(
            event=event.event,
            correlation=event.correlation,
            content=event.content,
            keep_ms=event.keep_ms,
            start_key=event.start_key,
            fingerprint=event.fingerprint,
            client_key=event.client_key,
        )
        for start in event.starts:
            put_event_start(message.starts.add(), start)
        command = pb.Command(tenant=event.tenant, actor=event.actor, publish_event=message)
        request = pb.CommandRequest(commands=[command])
        accepted = await self._perform(slot_of_correlation(event.correlation), request)
        return Taken(EventId(accepted.run), accepted.repeated_start)

    async def signal(self, signal: Signal) -> Taken:
        message = pb.SignalRun(
            run=signal.run, name=signal.name, signal=signal.signal, content=signal.content
        )
        command = pb.Command(tenant=signal.tenant, actor=signal.actor, signal_run=message)
        request = pb.CommandRequest(commands=[command])
        accepted = await self._perform(slot_of(signal.run), request)
        return Taken(signal.signal, accepted.repeated_start)

    async def set_schedule(self, actor: str, schedule: Schedule) -> None:
        s = schedule
        slot = slot_for(s.tenant, s.flow, s.trigger)
        message = pb.SetSchedule(
            slot=slot,
            schedule=f"{s.tenant}/{s.flow}/{s.trigger}",
            flow=s.flow,
            version=s.version,
            plan=s.plan,
            trigger=s.trigger,
        )
        if s.rhythm is not None:
            message.every_ms = s.rhythm.every_ms or 0
            message.cron, message.timezone = s.rhythm.cron, s.rhythm.timezone
            message.overlap, message.catchup = s.rhythm.overlap, s.rhythm.catchup
        command = pb.Command(tenant=s.tenant, actor=actor, set_schedule=message)
        await self._perform(slot, pb.CommandRequest(commands=[command]))

    async def watch(self) -> None:
        """The loop that notices owners that went silent and drops streams nobody uses."""
        while True:
            await asyncio.sleep(WATCH_S)
            now_s = self._loop.time()
            for stream in list(self._streams.values()):
                oldest_s = stream.oldest_asked_s()
                if oldest_s is None and now_s - stream.used_s > UNUSED_S:
                    del self._streams[stream.address]
                    await stream.close()
                elif oldest_s is not None and now_s - oldest_s > SILENCE_S:
                    await self._look_after(stream, now_s)

    async def close(self) -> None:
        streams, self._streams = self._streams, {}
        await asyncio.gather(*(stream.close() for stream in streams.values()))

    async def is_ready(self) -> bool:
        """Whether every partition has an owner by the lease table."""
        partitions = await self._owners.partitions()
        addresses = [await self._owners.address_of(number) for number in range(partitions)]
        return bool(addresses) and None not in addresses

    async def _perform(self, slot: int, request: pb.CommandRequest) -> pb.Accepted:
        if request.ByteSize() > COMMAND_BYTES_MAX:
            raise TooLarge(
                f"The command has {request.ByteSize()} bytes, the limit is {COMMAND_BYTES_MAX}."
            )
        begun_s = self._loop.time()
        resent, hops, reason = False, 0, ""
        while True:
            partition, address = await self._owner_of(slot)
            if address is not None:
                try:
                    reply = await self._stream_to(address).ask(partition, request)
                except StreamBroken as broken:
                    resent = resent or broken.maybe_taken
                    self._owners.learn(partition, None)
                else:
                    if reply.HasField("accepted"):
                        return reply.accepted
                    if reply.HasField("rejected"):
                        raise _refusal(reply.rejected, resent=resent)
                    moved = self._follow(reply.not_owner, partition, address)
                    reason = reply.not_owner.reason
                    hops += 1
                    if moved and hops % HOPS_AT_ONCE:
                        continue
            self._check_patience(begun_s, reason, resent=resent)
            await asyncio.sleep(RETRY_S)

    async def _owner_of(self, slot: int) -> tuple[int, Address | None]:
        """The slot's partition and who has it; while the database is away nobody has."""
        try:
            # The number of partitions is fixed when the log is created.
            if not self._partitions:
                self._partitions = await self._owners.partitions()
                if not self._partitions:
                    return 0, None
            partition = partition_of(slot, self._partitions)
            return partition, await self._owners.address_of(partition)
        except CONNECTION_LOST as fault:
            self._log.warning("owners of partitions not readable", error=fault)
            return 0, None

    def _follow(self, answer: pb.NotOwner, partition: int, asked: Address) -> bool:
        """True: the answer names another address, which is to be asked at once."""
        try:
            named = Address.parse(answer.owner_address) if answer.owner_address else None
        except ValueError:
            named = None
        moved = named is not None and named != asked
        self._owners.learn(partition, named if moved else None)
        return moved

    def _check_patience(self, begun_s: float, reason: str, *, resent: bool) -> None:
        if self._loop.time() - begun_s < self._takeover_s:
            return
        if resent:
            raise Unavailable(
                "The scheduler went away before it answered, so the request may have been taken. "
                "Send it again; a start only with the same Idempotency-Key."
            )
        raise Unavailable(
            f"No scheduler has owned the partition for {self._takeover_s:.0f} s"
            f"{f': {reason}' if reason else ''}. Nothing was changed; send the request again."
        )

    def _stream_to(self, address: Address) -> CommandStream:
        stream = self._streams.get(address)
        if stream is None or stream.crashed:
            stream = self._streams[address] = CommandStream(address, self._log, self._token)
        return stream

    async def _look_after(self, stream: CommandStream, now_s: float) -> None:
        owners: dict[int, Address | None] = {}
        for number, one in stream.waiting_since(now_s - SILENCE_S):
            if one.partition not in owners:
                self._owners.learn(one.partition, None)
                try:
                    owners[one.partition] = await self._owners.address_of(one.partition)
                except CONNECTION_LOST:
                    # Unknown is not lost: whoever is asked now stays the best guess.
                    owners[one.partition] = stream.address
            is_owner = owners[one.partition] == stream.address
            if not is_owner or now_s - one.asked_s > self._answer_s:
                stream.break_off(number)


def _refusal(rejected: pb.Rejected, *, resent: bool) -> HeadraceError:
    kind = _ERRORS.get(rejected.code, HeadraceError)
    if kind is InvalidState and resent:
        kind = MaybeDone
    return kind(rejected.message)
