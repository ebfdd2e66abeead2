"""ConnectorService: a list of delegations."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import grpc.aio

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace.connector.v1.connector_service_pb2_grpc import (
    ConnectorServiceServicer,
    add_ConnectorServiceServicer_to_server,
)
from headrace_connectors.api import check, describe, invoke
from headrace_connectors.api.faults import Context, answer
from headrace_connectors.app.attempts import Attempts


class ConnectorServicer(ConnectorServiceServicer):
    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def ListConnectors(
        self, request: pb.ListConnectorsRequest, context: Context
    ) -> pb.ListConnectorsResponse:
        return await answer(context, describe.list_connectors(self._attempts.catalogue))

    async def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.DescribeResponse:
        return await answer(context, describe.describe(self._attempts.catalogue, request))

    async def Invoke(
        self, request: pb.InvokeRequest, context: Context
    ) -> AsyncIterator[pb.InvokeResponse]:
        async with aclosing(invoke.handle(self._attempts, request)) as messages:
            async for message in messages:
                yield message

    async def Check(self, request: pb.CheckRequest, context: Context) -> pb.CheckResponse:
        return await answer(context, check.handle(self._attempts, request))


def register(attempts: Attempts) -> Callable[[grpc.aio.Server], None]:
    """For `start_server`."""

    def add(server: grpc.aio.Server) -> None:
        add_ConnectorServiceServicer_to_server(ConnectorServicer(attempts), server)

    return add
