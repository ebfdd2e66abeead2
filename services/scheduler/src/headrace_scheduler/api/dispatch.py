"""DispatchService.Work: the stream of one executor."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import grpc

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace.dispatch.v1.dispatch_service_pb2_grpc import DispatchServiceServicer
from headrace_contracts.codec.run_events import take_error
from headrace_contracts.codec.step_events import take_usage
from headrace_core.errors import (
    Forbidden,
    HeadraceError,
    InvalidInput,
    Unauthenticated,
    Unavailable,
)
from headrace_core.ids import ExecutorId, RunId, StepKey
from headrace_core.payload import Stored
from headrace_scheduler.api.answering import messages_until
from headrace_scheduler.api.task_stream import OutgoingStream
from headrace_scheduler.api.worker_stream import WorkerOutgoing
from headrace_scheduler.app.admission import Admission, Admitted
from headrace_scheduler.app.dispatch import Session, WorkerSide
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.loop import Loop
from headrace_scheduler.app.ports import Catalogue
from headrace_scheduler.assembly import Engine
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason, Rejection

HELLO_TIMEOUT_S = 10.0
KEY_CHECKED_EVERY_S = 4.0
"""A revoked key is refused everywhere after at most five seconds."""
EXECUTOR_LETTERS_MAX = 200
_UNSETTLED = (Reason.OUT_OF_ORDER,)
_STATUS: Mapping[type[HeadraceError], grpc.StatusCode] = {
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}
_Context = grpc.aio.ServicerContext[pb.WorkRequest, pb.WorkResponse]


class DispatchServicer(DispatchServiceServicer):
    def __init__(
        self,
        scheduler: str,
        log_id: bytes,
        engine: Engine,
        catalogue: Catalogue,
        admission: Admission,
    ) -> None:
        self._scheduler = scheduler
        self._log_id = log_id
        self._dispatch = engine.dispatch
        self._worker_tasks = engine.worker_tasks
        self._pulses = engine.pulses
        self._loop = engine.loop
        self._catalogue = catalogue
        self._admission = admission

    async def Work(
        self, request_iterator: AsyncIterator[pb.WorkRequest], context: _Context
    ) -> AsyncIterator[pb.WorkResponse]:
        first = await asyncio.wait_for(anext(request_iterator), HELLO_TIMEOUT_S)
        hello = first.hello
        if not 0 < len(hello.executor) <= EXECUTOR_LETTERS_MAX or not hello.lanes:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the first message must carry `hello` with an executor id and its lanes",
            )
        try:
            admitted = await self._admission.admit(hello.api_key, hello.lanes)
        except HeadraceError as refused:
            await context.abort(_status(refused), refused.message)
        session, stream = self._session(hello.executor, admitted)
        stream.welcome(self._scheduler, admitted.tenant or "")
        self._dispatch.open(session)
        create_task = asyncio.get_running_loop().create_task
        reading = create_task(self._read(request_iterator, first, session, stream))
        watching = create_task(self._refused_later(hello, session))
        try:
            async for message in messages_until(stream.next_message, reading, watching):
                yield message
        finally:
            reading.cancel()
            watching.cancel()
            self._dispatch.close(session)
        if watching.done() and not watching.cancelled():
            late = watching.result()
            await context.abort(_status(late), late.message)

    def _session(self, process: str, admitted: Admitted) -> tuple[Session, OutgoingStream]:
        lanes = frozenset(admitted.lanes.values())
        if admitted.tenant is None:
            executor = ExecutorId(process)
            stream = OutgoingStream(executor, self._log_id, self._catalogue)
            return Session(executor, lanes, stream), stream
        # A worker chooses its id: under its tenant's name it cannot be taken for another's.
        executor = ExecutorId(f"{admitted.tenant}/{process}")
        named = {lane: name for name, lane in admitted.lanes.items()}
        worker = WorkerOutgoing(executor, self._log_id, self._catalogue, process, named)
        side = WorkerSide(admitted.tenant, worker, admitted.lanes)
        return Session(executor, lanes, worker, side), worker

    async def _refused_later(self, hello: pb.Hello, session: Session) -> HeadraceError:
        """Ends when the key was revoked since."""
        while True:
            await asyncio.sleep(KEY_CHECKED_EVERY_S)
            if session.worker is None:
                continue
            try:
                await self._admission.admit(hello.api_key, hello.lanes)
            except (Unauthenticated, Forbidden) as refused:
                return refused
            except Unavailable:
                continue

    async def _read(
        self,
        requests: AsyncIterator[pb.WorkRequest],
        first: pb.WorkRequest,
        session: Session,
        stream: OutgoingStream,
    ) -> None:
        self._receive(first, session, stream)
        async for request in requests:
            self._receive(request, session, stream)

    def _receive(self, request: pb.WorkRequest, session: Session, stream: OutgoingStream) -> None:
        for report in request.reports:
            held = [(RunId(a.run), StepKey(a.step), a.attempt) for a in report.open]
            self._dispatch.report(session, report.partition, report.epoch, held)
        for result in request.results:
            self._take_result(result, session, stream)
        for note in request.notes:
            self._take_note(note, session, stream)
        for heartbeat in request.heartbeats:
            self._take_sign_of_life(heartbeat.attempt, session)
        for refusal in request.refusals:
            a = refusal.attempt
            self._dispatch.refused(session, a.partition, RunId(a.run), StepKey(a.step), a.attempt)
        for credit in request.credits:
            lane = credit.lane
            if session.worker is not None:
                lane = session.worker.lanes.get(lane, lane)
            self._dispatch.grant(session, lane, credit.count)

    def _take_result(self, result: pb.Result, session: Session, stream: OutgoingStream) -> None:
        attempt = result.attempt
        run, step = RunId(attempt.run), StepKey(attempt.step)
        self._dispatch.answered(session, run, step, attempt.attempt)
        command = cmd.CompleteStep(
            run=run,
            step=step,
            attempt=attempt.attempt,
            token=attempt.token,
            outcome=cmd.Outcome(result.outcome or pb.OUTCOME_UNKNOWN),
            output=Stored(result.output),
            error=take_error(result.error) if result.HasField("error") else None,
            usage=take_usage(result.usage) if result.HasField("usage") else None,
            retry_after_ms=result.retry_after_ms,
        )
        if session.worker is not None:
            tenant = session.worker.tenant
            sealed = self._worker_tasks.sealed(tenant, attempt.partition, command)
            if sealed is None:
                return
            command = sealed
        answer = _ResultAnswer(stream, attempt, self._loop)
        self._loop.put(Input(attempt.partition, command, answer))

    def _take_note(self, note: pb.Note, session: Session, stream: OutgoingStream) -> None:
        attempt = note.attempt
        command = cmd.NoteStep(
            run=RunId(attempt.run),
            step=StepKey(attempt.step),
            attempt=attempt.attempt,
            token=attempt.token,
            number=note.number,
            note=Stored(note.note),
        )
        if session.worker is not None:
            tenant = session.worker.tenant
            sealed = self._worker_tasks.sealed_note(tenant, attempt.partition, command)
            if sealed is None:
                return
            command = sealed
        self._pulses.beat(command.run, command.step, command.attempt)
        self._loop.put(Input(attempt.partition, command, _NoteAnswer(stream, attempt, note.number)))

    def _take_sign_of_life(self, attempt: pb.Attempt, session: Session) -> None:
        run = RunId(attempt.run)
        if session.worker is not None:
            tenant = session.worker.tenant
            if not self._worker_tasks.is_of(tenant, attempt.partition, run):
                return
        self._pulses.beat(run, StepKey(attempt.step), attempt.attempt)


def _status(refused: HeadraceError) -> grpc.StatusCode:
    return _STATUS.get(type(refused), grpc.StatusCode.INTERNAL)


class _ResultAnswer:
    """An acknowledgement says: an accepted record closes this attempt, by this result or not."""

    __slots__ = ("_attempt", "_loop", "_stream")

    def __init__(self, stream: OutgoingStream, attempt: pb.Attempt, loop: Loop) -> None:
        self._stream = stream
        self._attempt = attempt
        self._loop = loop

    def accepted(self, partition: int, offset: int) -> None:
        owned = self._loop.partitions[partition]
        self._stream.send_acknowledgement(self._attempt, owned.epoch)
        self._stream.flush()

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        if rejection.reason not in _UNSETTLED:
            self._stream.send_acknowledgement(self._attempt, epoch)
            self._stream.flush()

    def unavailable(self, partition: int) -> None:
        """Not acknowledged: the executor keeps it and tells the next owner."""


class _NoteAnswer:
    __slots__ = ("_attempt", "_number", "_stream")

    def __init__(self, stream: OutgoingStream, attempt: pb.Attempt, number: int) -> None:
        self._stream = stream
        self._attempt = attempt
        self._number = number

    def accepted(self, partition: int, offset: int) -> None:
        self._stream.send_note_acknowledgement(self._attempt, self._number)
        self._stream.flush()

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        if rejection.reason is Reason.REPEATED:
            self.accepted(partition, 0)

    def unavailable(self, partition: int) -> None:
        """The executor sends the note again with its report."""
