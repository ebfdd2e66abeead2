"""SchedulerService: a list of delegations."""

from collections.abc import AsyncIterator

import grpc

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceServicer
from headrace_scheduler.api.command import CommandStreams
from headrace_scheduler.api.watch_offsets import OffsetHints


class SchedulerServicer(SchedulerServiceServicer):
    def __init__(self, commands: CommandStreams, hints: OffsetHints) -> None:
        self._commands = commands
        self._hints = hints

    def Command(
        self,
        request_iterator: AsyncIterator[pb.CommandRequest],
        context: grpc.aio.ServicerContext[pb.CommandRequest, pb.CommandResponse],
    ) -> AsyncIterator[pb.CommandResponse]:
        return self._commands.serve(request_iterator)

    def WatchOffsets(
        self,
        request: pb.WatchOffsetsRequest,
        context: grpc.aio.ServicerContext[pb.WatchOffsetsRequest, pb.WatchOffsetsResponse],
    ) -> AsyncIterator[pb.WatchOffsetsResponse]:
        return self._hints.watch()
