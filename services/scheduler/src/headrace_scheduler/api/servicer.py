"""The scheduler's services on one server: a list of delegations."""

from collections.abc import AsyncIterator

import grpc

from headrace.dispatch.v1.dispatch_service_pb2_grpc import add_DispatchServiceServicer_to_server
from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace.scheduler.v1.scheduler_service_pb2_grpc import (
    SchedulerServiceServicer,
    add_SchedulerServiceServicer_to_server,
)
from headrace_scheduler.api.command import CommandStreams
from headrace_scheduler.api.deliver import DeliverStreams
from headrace_scheduler.api.dispatch import DispatchServicer
from headrace_scheduler.api.watch_offsets import OffsetHints


def add_services(
    server: grpc.aio.Server, scheduler: "SchedulerServicer", dispatch: DispatchServicer
) -> None:
    add_SchedulerServiceServicer_to_server(scheduler, server)
    add_DispatchServiceServicer_to_server(dispatch, server)


class SchedulerServicer(SchedulerServiceServicer):
    def __init__(
        self, commands: CommandStreams, deliveries: DeliverStreams, hints: OffsetHints
    ) -> None:
        self._commands = commands
        self._deliveries = deliveries
        self._hints = hints

    async def Command(
        self,
        request_iterator: AsyncIterator[pb.CommandRequest],
        context: grpc.aio.ServicerContext[pb.CommandRequest, pb.CommandResponse],
    ) -> AsyncIterator[pb.CommandResponse]:
        async for response in self._commands.serve(request_iterator):
            yield response

    async def Deliver(
        self,
        request_iterator: AsyncIterator[pb.DeliverRequest],
        context: grpc.aio.ServicerContext[pb.DeliverRequest, pb.DeliverResponse],
    ) -> AsyncIterator[pb.DeliverResponse]:
        async for response in self._deliveries.serve(request_iterator, context):
            yield response

    async def WatchOffsets(
        self,
        request: pb.WatchOffsetsRequest,
        context: grpc.aio.ServicerContext[pb.WatchOffsetsRequest, pb.WatchOffsetsResponse],
    ) -> AsyncIterator[pb.WatchOffsetsResponse]:
        async for response in self._hints.watch():
            yield response
