"""uvicorn inside our own life cycle: our socket, our signals, our drain."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from headrace_core.errors import SetupError
from headrace_runtime.address import Address

BACKLOG = 2_048
KEEP_ALIVE_S = 75
GRACE_S = 2


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are the service's."""
        yield


class HttpServer:
    """Serving. `address` holds the real port."""

    def __init__(self, server: uvicorn.Server, serving: asyncio.Task[None], at: Address) -> None:
        self._server = server
        self._serving = serving
        self.address = at

    async def stop(self) -> None:
        """Takes nothing new, gives what is under way two seconds, then cuts it."""
        self._server.should_exit = True
        await asyncio.wait((self._serving,))
        self._serving.result()


async def serve_http(application: ASGIApp, listen: Address) -> HttpServer:
    """Raises SetupError for an address that is taken or not ours."""
    bound = _bind(listen)
    config = uvicorn.Config(
        application,
        http="httptools",
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        ws_max_size=65_536,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([bound]), name="http server")
    listening = asyncio.create_task(server.listening.wait())
    await asyncio.wait((listening, serving), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        listening.cancel()
        serving.result()
    return HttpServer(server, serving, Address(listen.host, bound.getsockname()[1]))


def _bind(listen: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((listen.host, listen.port))
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as fault:
        bound.close()
        raise SetupError(
            f"Cannot listen on {listen}: {fault.strerror or fault}. Another program has the port, "
            "or the address is not this machine's. Set HEADRACE_LISTEN to a free host:port "
            "(port 0 takes any)."
        ) from fault
    return bound
