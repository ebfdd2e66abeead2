"""The gRPC server of a service: one factory, so that limits and health are the same everywhere."""

from collections.abc import Callable, Sequence

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from headrace_core.errors import SetupError
from headrace_runtime.address import Address
from headrace_runtime.rpc.limits import SERVER_OPTIONS

WHOLE_SERVER = ""
STOP_GRACE_S = 1.0


class RpcServer:
    """A started server. `address` holds the real port."""

    def __init__(
        self, server: grpc.aio.Server, servicer: health.HealthServicer, address: Address
    ) -> None:
        self._server = server
        self._health = servicer
        self.address = address

    async def set_serving(self, *, serving: bool, name: str = WHOLE_SERVER) -> None:
        """What health checks are told, for the whole server or one of its services."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Refuse new calls, give those in flight `grace_s`, then cut them.

        Long streams do not end by themselves: their handlers should have been told before.
        """
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


async def start_server(
    listen: Address,
    register: Sequence[Callable[[grpc.aio.Server], None]],
    *,
    variable: str = "HEADRACE_LISTEN",
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> RpcServer:
    """Bind, register, serve and report healthy.

    `register` holds one call per service, such as
    `lambda server: add_HistoryServiceServicer_to_server(servicer, server)`.
    Raises SetupError, naming `variable`, for an address that is taken or not ours.
    """
    server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=list(interceptors))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    for add in register:
        add(server)
    try:
        port = server.add_insecure_port(str(listen))
    except RuntimeError as fault:
        raise SetupError(
            f"Cannot listen on {listen}: the port is taken or the address is not this machine's. "
            f"Set {variable} to a free host:port (port 0 takes any)."
        ) from fault
    await server.start()
    started = RpcServer(server, servicer, Address(listen.host, port))
    await started.set_serving(serving=True)
    return started
