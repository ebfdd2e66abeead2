"""Peers of the gateway for tests: a scheduler that answers by a script, and a history with a few
runs. They speak the real protocols over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import grpc.aio
import orjson

from headrace.history.v1 import history_service_pb2 as hpb
from headrace.history.v1.history_service_pb2_grpc import (
    HistoryServiceServicer,
    add_HistoryServiceServicer_to_server,
)
from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace.scheduler.v1.scheduler_service_pb2_grpc import (
    SchedulerServiceServicer,
    add_SchedulerServiceServicer_to_server,
)
from headrace_core.errors import HeadraceError, InvalidState, KeyReused, NotFound
from headrace_core.run.freeze import freeze_run, state_hash
from headrace_core.run.state import RunState
from headrace_runtime.address import Address
from headrace_runtime.rpc.server import RpcServer, start_server

ANY_PORT = Address("127.0.0.1", 0)
Context = grpc.aio.ServicerContext[Any, Any]
Answer = Callable[[pb.Command], pb.Reply | None]


def accepted(command: pb.Command, run: str = "", *, repeated: bool = False) -> pb.Reply:
    named: Any = getattr(command, command.WhichOneof("command") or "", None)
    run = run or getattr(named, "run", "") or getattr(named, "event", "")
    answer = pb.Accepted(run=run, repeated_start=repeated, partition=0, offset=1)
    return pb.Reply(id=command.id, accepted=answer)


def rejected(command: pb.Command, error: HeadraceError) -> pb.Reply:
    answer = pb.Rejected(code=error.code, message=error.message)
    return pb.Reply(id=command.id, rejected=answer)


def not_owner(command: pb.Command, address: object = "") -> pb.Reply:
    return pb.Reply(id=command.id, not_owner=pb.NotOwner(owner_address=str(address)))


class ScriptedScheduler(SchedulerServiceServicer):
    """Keeps every command it was sent. `answer` may give None: it then stays silent."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.commands: list[pb.Command] = []
        self.messages = 0
        self.asked = asyncio.Event()
        self.answer = answer or self.take
        self._keys: dict[bytes, tuple[bytes, str]] = {}
        self._server: RpcServer | None = None
        self._cut = asyncio.Event()

    @property
    def address(self) -> Address:
        assert self._server is not None
        return self._server.address

    def take(self, command: pb.Command) -> pb.Reply:
        """As a scheduler does: a key leads to one run, or one event."""
        if command.WhichOneof("command") == "start_run":
            keyed, name = command.start_run, command.start_run.run
        elif command.WhichOneof("command") == "publish_event":
            keyed, name = command.publish_event, command.publish_event.event
        else:
            return accepted(command)
        known = self._keys.setdefault(keyed.start_key, (keyed.fingerprint, name))
        if known[0] != keyed.fingerprint:
            return rejected(command, KeyReused("this key came before with another request"))
        return accepted(command, known[1], repeated=known[1] != name)

    async def serve(self, listen: Address = ANY_PORT) -> None:
        def register(server: grpc.aio.Server) -> None:
            add_SchedulerServiceServicer_to_server(self, server)

        self._cut.clear()
        self._server = await start_server(listen, [register])

    async def stop(self) -> None:
        """Also cuts the open streams, like a process that dies."""
        assert self._server is not None
        self._cut.set()
        await self._server.stop(0)

    async def Command(
        self, request_iterator: AsyncIterator[pb.CommandRequest], context: Context
    ) -> AsyncIterator[pb.CommandResponse]:
        async for request in request_iterator:
            self.messages += 1
            self.commands.extend(request.commands)
            self.asked.set()
            replies = [reply for one in request.commands if (reply := self.answer(one))]
            if replies:
                yield pb.CommandResponse(replies=replies)

    async def Deliver(
        self, request_iterator: AsyncIterator[pb.DeliverRequest], context: Context
    ) -> AsyncIterator[pb.DeliverResponse]:
        """The gateway has no outbox: nobody asks."""
        await self._cut.wait()
        yield pb.DeliverResponse()

    async def WatchOffsets(
        self, request: pb.WatchOffsetsRequest, context: Context
    ) -> AsyncIterator[pb.WatchOffsetsResponse]:
        await self._cut.wait()
        yield pb.WatchOffsetsResponse()


class OwnerTable:
    """The lease table as a dictionary."""

    def __init__(self, *addresses: Address | None) -> None:
        self.table = list(addresses)
        self.learnt: dict[int, Address] = {}

    async def partitions(self) -> int:
        return len(self.table)

    async def address_of(self, partition: int) -> Address | None:
        return self.learnt.get(partition) or self.table[partition]

    def learn(self, partition: int, address: Address | None) -> None:
        if address is None:
            self.learnt.pop(partition, None)
        else:
            self.learnt[partition] = address


@dataclass
class KnownRun:
    tenant: str
    document: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    state: RunState | None = None
    earlier: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])

    def add(self, kind: str) -> None:
        self.events.append({"sequence": len(self.events) + 1, "kind": kind})
        self.grown.set()
        self.grown = asyncio.Event()

    def end(self, status: str = "succeeded") -> None:
        self.document["status"] = status
        self.ended.set()
        self.add("RunSucceeded")


class ScriptedHistory(HistoryServiceServicer):
    """A few runs in memory. `fail_first` calls break as if history had just been restarted."""

    def __init__(self) -> None:
        self.known: dict[str, KnownRun] = {}
        self.letters: dict[str, dict[str, Any]] = {}
        self.fail_first = 0
        self.cut_after_events = 0
        self.asked: list[Any] = []
        self.following = 0
        self.left = asyncio.Event()
        self._cut: hpb.SubscribeResponse | None = None
        self._server: RpcServer | None = None

    @property
    def address(self) -> Address:
        assert self._server is not None
        return self._server.address

    def add(self, run: str, tenant: str, **document: Any) -> KnownRun:
        known = KnownRun(tenant, {"id": run, "status": "running", "steps": {}, **document})
        known.add("RunStarted")
        self.known[run] = known
        return known

    async def serve(self, listen: Address = ANY_PORT) -> None:
        def register(server: grpc.aio.Server) -> None:
            add_HistoryServiceServicer_to_server(self, server)

        self._server = await start_server(listen, [register])

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(0)

    async def GetRun(self, request: hpb.GetRunRequest, context: Context) -> hpb.GetRunResponse:
        run = await self._find(request, context)
        return hpb.GetRunResponse(run=orjson.dumps(run.document))

    async def ListRuns(
        self, request: hpb.ListRunsRequest, context: Context
    ) -> hpb.ListRunsResponse:
        self.asked.append(request)
        runs = [one.document for one in self.known.values() if one.tenant == request.tenant]
        return hpb.ListRunsResponse(runs=_json(runs), next_cursor="next")

    async def StateAt(self, request: hpb.StateAtRequest, context: Context) -> hpb.StateAtResponse:
        run = await self._find(request, context)
        sequence = request.sequence or len(run.events)
        return hpb.StateAtResponse(
            state=orjson.dumps(run.earlier.get(request.sequence, run.document)),
            state_hash="ab" * 32,
            sequence=sequence,
        )

    async def ForkPoint(
        self, request: hpb.ForkPointRequest, context: Context
    ) -> hpb.ForkPointResponse:
        run = await self._find(request, context)
        assert run.state is not None, "the test gives the state to fork from"
        begun = list(run.state.steps)
        return hpb.ForkPointResponse(
            state=freeze_run(run.state),
            state_hash=state_hash(run.state),
            sequence=run.state.sequence,
            begun=begun,
        )

    async def ListEvents(
        self, request: hpb.ListEventsRequest, context: Context
    ) -> hpb.ListEventsResponse:
        run = await self._find(request, context)
        after = request.after_sequence
        page = run.events[after : after + request.limit]
        more = after + len(page) < len(run.events)
        return hpb.ListEventsResponse(events=_json(page), more=more)

    async def GetUsage(
        self, request: hpb.GetUsageRequest, context: Context
    ) -> hpb.GetUsageResponse:
        self.asked.append(request)
        return hpb.GetUsageResponse(usage=b'{"rows":[]}')

    async def ExportRun(
        self, request: hpb.ExportRunRequest, context: Context
    ) -> AsyncIterator[hpb.ExportRunResponse]:
        run = await self._find(request, context)
        for event in run.events:
            yield hpb.ExportRunResponse(chunk=orjson.dumps(event) + b"\n")

    async def Subscribe(
        self, request: hpb.SubscribeRequest, context: Context
    ) -> AsyncIterator[hpb.SubscribeResponse]:
        run = await self._find(request, context)
        self.following += 1
        try:
            async for message in self._follow(run, request.after_sequence):
                yield message
                if message is self._cut:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        finally:
            self.following -= 1
            self.left.set()

    async def _follow(self, run: KnownRun, after: int) -> AsyncIterator[hpb.SubscribeResponse]:
        sent = 0
        while True:
            grown = run.grown
            if after < len(run.events):
                after, sent = after + 1, sent + 1
                ended = run.ended.is_set() and after == len(run.events)
                message = hpb.SubscribeResponse(events=_json([run.events[after - 1]]), ended=ended)
                if sent == self.cut_after_events and not ended:
                    self._cut = message
                yield message
                if ended:
                    return
            elif run.ended.is_set():
                yield hpb.SubscribeResponse(ended=True)
                return
            else:
                await grown.wait()

    async def WaitForEnd(
        self, request: hpb.WaitForEndRequest, context: Context
    ) -> hpb.WaitForEndResponse:
        run = await self._find(request, context)
        try:
            async with asyncio.timeout(request.wait_ms / 1000):
                await run.ended.wait()
        except TimeoutError:
            return hpb.WaitForEndResponse(run=orjson.dumps(run.document), ended=False)
        return hpb.WaitForEndResponse(run=orjson.dumps(run.document), ended=True)

    async def ListLetters(
        self, request: hpb.ListLettersRequest, context: Context
    ) -> hpb.ListLettersResponse:
        self.asked.append(request)
        found = [one for one in self.letters.values() if one["tenant"] == request.tenant]
        return hpb.ListLettersResponse(letters=_json(found))

    async def GetLetter(
        self, request: hpb.GetLetterRequest, context: Context
    ) -> hpb.GetLetterResponse:
        found = self.letters.get(request.letter)
        if found is None or found["tenant"] != request.tenant:
            await _refuse(context, NotFound(f"There is no dead letter {request.letter!r}."))
        return hpb.GetLetterResponse(letter=orjson.dumps(found))

    async def _find(self, request: Any, context: Context) -> KnownRun:
        self.asked.append(request)
        if self.fail_first:
            self.fail_first -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        known = self.known.get(request.run)
        if known is None or known.tenant != request.tenant:
            await _refuse(context, NotFound(f"There is no run {request.run!r}."))
        return known


async def _refuse(context: Context, fault: HeadraceError) -> NoReturn:
    await context.abort(grpc.StatusCode.NOT_FOUND, fault.message, (("headrace-code", fault.code),))


def _json(documents: Iterable[object]) -> list[bytes]:
    return [orjson.dumps(document) for document in documents]


def already() -> InvalidState:
    return InvalidState("the run is already being cancelled")
