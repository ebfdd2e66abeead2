"""HistoryService: a list of delegations."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio

from headrace.history.v1 import history_service_pb2 as pb
from headrace.history.v1.history_service_pb2_grpc import (
    HistoryServiceServicer,
    add_HistoryServiceServicer_to_server,
)
from headrace_core.errors import HeadraceError
from headrace_history.api import (
    export_run,
    fork_point,
    get_run,
    get_usage,
    letters,
    list_events,
    list_runs,
    state_at,
    subscribe,
    wait_for_end,
)
from headrace_history.api.faults import refuse
from headrace_history.app.end_wait import EndWait
from headrace_history.app.event_list import EventList
from headrace_history.app.exporter import Exporter
from headrace_history.app.follower import Follower
from headrace_history.app.letter_list import LetterList
from headrace_history.app.presenter import Presenter
from headrace_history.app.replayer import Replayer
from headrace_history.app.run_list import RunList

Context = grpc.aio.ServicerContext[Any, Any]
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    replayer: Replayer
    presenter: Presenter
    runs: RunList
    letters: LetterList
    events: EventList
    ends: EndWait
    follower: Follower
    exporter: Exporter


class HistoryServicer(HistoryServiceServicer):
    def __init__(self, use: UseCases) -> None:
        self._use = use

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        return await _answer(
            context, get_run.handle(self._use.replayer, self._use.presenter, request)
        )

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        return await _answer(context, list_runs.handle(self._use.runs, request))

    async def StateAt(self, request: pb.StateAtRequest, context: Context) -> pb.StateAtResponse:
        return await _answer(
            context, state_at.handle(self._use.replayer, self._use.presenter, request)
        )

    async def ForkPoint(
        self, request: pb.ForkPointRequest, context: Context
    ) -> pb.ForkPointResponse:
        return await _answer(context, fork_point.handle(self._use.replayer, request))

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: Context
    ) -> pb.ListEventsResponse:
        return await _answer(context, list_events.handle(self._use.events, request))

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.GetUsageResponse:
        return await _answer(context, get_usage.handle(self._use.runs, request))

    async def ListLetters(
        self, request: pb.ListLettersRequest, context: Context
    ) -> pb.ListLettersResponse:
        return await _answer(context, letters.handle_list(self._use.letters, request))

    async def GetLetter(
        self, request: pb.GetLetterRequest, context: Context
    ) -> pb.GetLetterResponse:
        return await _answer(context, letters.handle_get(self._use.letters, request))

    async def ExportRun(
        self, request: pb.ExportRunRequest, context: Context
    ) -> AsyncIterator[pb.ExportRunResponse]:
        async with aclosing(export_run.handle(self._use.exporter, request)) as chunks:
            try:
                async for chunk in chunks:
                    yield chunk
            except HeadraceError as fault:
                await refuse(context, fault)

    async def Subscribe(
        self, request: pb.SubscribeRequest, context: Context
    ) -> AsyncIterator[pb.SubscribeResponse]:
        async with aclosing(subscribe.handle(self._use.follower, request)) as messages:
            try:
                async for message in messages:
                    yield message
            except HeadraceError as fault:
                await refuse(context, fault)

    async def WaitForEnd(
        self, request: pb.WaitForEndRequest, context: Context
    ) -> pb.WaitForEndResponse:
        use = self._use
        return await _answer(
            context, wait_for_end.handle(use.ends, use.replayer, use.presenter, request)
        )


def register(use: UseCases) -> Callable[[grpc.aio.Server], None]:
    """For `start_server`."""

    def add(server: grpc.aio.Server) -> None:
        add_HistoryServiceServicer_to_server(HistoryServicer(use), server)

    return add


async def _answer(context: Context, handled: Awaitable[Response]) -> Response:
    try:
        return await handled
    except HeadraceError as fault:
        await refuse(context, fault)
