"""Hints from the schedulers: where partitions end after each commit.

A hint only makes reading earlier. A scheduler that is away costs latency, since the projector
polls the log anyway.
"""

from collections.abc import Callable, Sequence

import grpc.aio

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from headrace_runtime.address import Address
from headrace_runtime.rpc.channel import keep_session
from headrace_runtime.telemetry import Logger

Hint = Callable[[Sequence[tuple[int, int]]], None]


async def watch_offsets(scheduler: Address, hint: Hint, log: Logger, token: str) -> None:
    """Pass on what this scheduler says, until cancelled."""

    async def session(channel: grpc.aio.Channel, established: Callable[[], None]) -> None:
        stub = SchedulerServiceStub(channel)
        async for response in stub.WatchOffsets(pb.WatchOffsetsRequest()):
            established()
            hint([(end.partition, end.next_offset) for end in response.ends])

    await keep_session(scheduler, session, log, token=token)
