"""Channels to other services, and the loop that keeps a session on one alive."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from headrace_runtime.address import Address
from headrace_runtime.rpc.internal_calls import proving
from headrace_runtime.rpc.limits import CHANNEL_OPTIONS
from headrace_runtime.telemetry import Logger


def open_channel(address: Address, token: str = "") -> grpc.aio.Channel:
    """Connects by itself, and again after a loss; calls fail with UNAVAILABLE meanwhile.

    With the installation's internal `token` its calls are let through to internal services.
    """
    channel = grpc.aio.insecure_channel(str(address), options=CHANNEL_OPTIONS)
    return proving(channel, token) if token else channel


@dataclass(slots=True)
class Backoff:
    """Full jitter over a doubling window (the AWS architecture blog's "Exponential Backoff And
    Jitter"), so that the clients of a restarted service do not come in one wave."""

    first_ms: float = 50
    max_ms: float = 2_000
    failures: int = 0

    def next_ms(self, chance: float) -> float:
        """`chance` is in [0, 1)."""
        window = min(self.max_ms, self.first_ms * 2 ** min(self.failures, 30))
        self.failures += 1
        return window * chance

    def reset(self) -> None:
        self.failures = 0


async def keep_session(
    address: Address,
    session: Callable[[grpc.aio.Channel, Callable[[], None]], Awaitable[None]],
    log: Logger,
    *,
    token: str = "",
    backoff: Backoff | None = None,
    chance: Callable[[], float] = random.random,
) -> None:
    """Run `session` on a channel to `address`, and again whenever it returns or the connection
    breaks, until cancelled. `session` calls its second argument once it is established, which
    starts the backoff anew. Errors other than gRPC's own are the caller's.
    """
    backoff = backoff or Backoff()
    said: grpc.StatusCode | None = None
    while True:
        async with open_channel(address, token) as channel:
            try:
                await session(channel, backoff.reset)
                code, detail = grpc.StatusCode.OK, "closed by the other side"
            except grpc.aio.AioRpcError as broken:
                code, detail = broken.code(), broken.details() or ""
        # A peer that is away for long is one line, not one per attempt.
        if code is not said or backoff.failures == 0:
            log.warning("session lost", address=str(address), status=code.name, detail=detail)
        said = code
        await asyncio.sleep(backoff.next_ms(chance()) / 1000)
