"""The thin loop around the protocol: one stream per scheduler, opened again when it breaks.

Messages coalesce naturally: what gathered while the last write was in flight goes with the next,
and nothing waits for a timer.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import grpc
import grpc.aio

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace.dispatch.v1 import dispatch_service_pb2_grpc as rpc
from headrace_core.errors import Forbidden, InvalidInput, RequestError, Unauthenticated
from headrace_core.payload import Stored
from headrace_worker.codec import decode, encode
from headrace_worker.messages import Attempt, AttemptKey, Result, Task
from headrace_worker.protocol import DispatchProtocol

Call = grpc.aio.StreamStreamCall[pb.WorkRequest, pb.WorkResponse]

RECONNECT_FIRST_S = 0.05
RECONNECT_MAX_S = 0.4
REDIAL_MAX_S = 0.4
"""Together well below the grace of a takeover (2 s): whoever comes back later than that finds
its open attempts given to others."""
CLOSE_S = 0.5
"""How long the last words may take to reach the schedulers."""
CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 16 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A scheduler that was restarted is dialled again at once, not after gRPC's own second.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", int(REDIAL_MAX_S * 1000)),
    # In spite of its name how long one dial may take, over a slow network too.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    # A proxy variable of the environment is meant for the outside world.
    ("grpc.enable_http_proxy", 0),
)

_log = logging.getLogger(__name__)


_REFUSALS: Mapping[grpc.StatusCode, type[RequestError]] = {
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
}
"""Answers that no further try changes."""


class AttemptClosed(Exception):
    """A record has closed the attempt: its notes and its result are of no use any more."""


class Runner(Protocol):
    """Whoever runs attempts. Called in the receive loop: nothing here may wait.

    Every task accepted ends with exactly one `DispatchClient.finish`, unless `closed` came first.
    """

    def accept(self, tasks: Sequence[Task]) -> None: ...

    def cancel(self, attempt: Attempt) -> None: ...

    def closed(self, attempt: Attempt) -> None: ...


class DispatchClient:
    """`chance` answers 0..1 and spreads reconnects."""

    def __init__(
        self,
        protocol: DispatchProtocol,
        addresses: Sequence[str],
        chance: Callable[[], float],
    ) -> None:
        self.protocol = protocol
        self._addresses = tuple(dict.fromkeys(addresses))
        self._chance = chance
        self._wake = {address: asyncio.Event() for address in self._addresses}
        self._quiet = asyncio.Event()
        self._closing = False
        self._ended = asyncio.Event()
        self._connected: set[str] = set()
        self._noted: dict[tuple[AttemptKey, int], asyncio.Future[None]] = {}

    @property
    def connected(self) -> int:
        """Streams on which a scheduler has answered."""
        return len(self._connected)

    async def run(self, runner: Runner) -> None:
        """Until `close` or a cancellation. One task per scheduler; a broken stream is opened
        again, and one scheduler's absence does not reach the others.

        Raises Unauthenticated, Forbidden or InvalidInput when a scheduler refuses this process.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for address in self._addresses:
                    group.create_task(
                        self._keep_stream(address, runner), name=f"dispatch {address}"
                    )
        except BaseExceptionGroup as group:
            refused = group.subgroup(RequestError)
            if refused is None:
                raise
            raise refused.exceptions[0] from None
        finally:
            self._ended.set()

    def finish(self, result: Result) -> None:
        """The attempt's one word; kept and sent until an owner acknowledges it."""
        owner = self.protocol.finish(result)
        if owner is not None:
            self._wake[owner].set()

    def beat(self, attempt: AttemptKey) -> None:
        """The attempt is alive."""
        owner = self.protocol.beat(attempt)
        if owner is not None:
            self._wake[owner].set()

    async def note(self, attempt: AttemptKey, payload: Stored) -> None:
        """Returns when the note is in the log. Raises AttemptClosed."""
        number = self.protocol.note(attempt, payload)
        if number is None:
            raise AttemptClosed
        noted = asyncio.get_running_loop().create_future()
        self._noted[attempt, number] = noted
        owner = self.protocol.owner_of(attempt)
        if owner is not None:
            self._wake[owner].set()
        try:
            await noted
        finally:
            self._noted.pop((attempt, number), None)

    def set_window(self, window: int) -> None:
        """How many attempts may be open or on their way here from now on."""
        self.protocol.set_window(window)
        self._wake_all()

    async def drain(self, time_s: float) -> bool:
        """No new tasks; True when every accepted attempt ended and was acknowledged in time.

        Every stream is opened anew without credits, which is how a scheduler learns that
        nothing more is to come this way.
        """
        self.protocol.start_drain()
        self._wake_all()
        try:
            async with asyncio.timeout(time_s):
                while self.protocol.open or self.protocol.unacknowledged:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Hand open attempts back, so that they are given to others at once, and end `run`."""
        self.protocol.give_back()
        self._closing = True
        self._wake_all()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._ended.wait()
        except TimeoutError:
            _log.warning("a scheduler did not take the last words in time")

    def _wake_all(self) -> None:
        for wake in self._wake.values():
            wake.set()

    async def _keep_stream(self, address: str, runner: Runner) -> None:
        channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        stub = rpc.DispatchServiceStub(channel)
        failures = 0
        try:
            while True:
                answered, fault = await self._serve_stream(address, stub.Work(), runner)
                if self._closing:
                    return
                if fault is not None:
                    _say_why(address, fault, again=failures > 0)
                failures = 0 if answered else failures + 1
                limit = min(RECONNECT_MAX_S, RECONNECT_FIRST_S * 2 ** min(failures, 10))
                await asyncio.sleep(limit * (0.5 + self._chance() / 2))
        finally:
            await channel.close()

    async def _serve_stream(
        self, address: str, call: Call, runner: Runner
    ) -> tuple[bool, grpc.aio.AioRpcError | None]:
        """One stream from its opening to its end: whether the scheduler said anything on it, and
        the fault that ended it, if one did."""
        self.protocol.connect(address)
        self._wake[address].set()
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(address, call))
                fault = await self._read(address, call, runner)
                writer.cancel()
        finally:
            call.cancel()
            self.protocol.disconnect(address)
            answered = address in self._connected
            self._connected.discard(address)
        return answered, fault

    async def _read(self, address: str, call: Call, runner: Runner) -> grpc.aio.AioRpcError | None:
        try:
            while isinstance(message := await call.read(), pb.WorkResponse):
                self._connected.add(address)
                self._receive(address, message, runner)
        except grpc.aio.AioRpcError as fault:
            return fault
        return None

    def _receive(self, address: str, message: pb.WorkResponse, runner: Runner) -> None:
        received = decode(message)
        if received.welcome is not None:
            _log.info("connected to scheduler %s at %s", received.welcome.scheduler, address)
        work = self.protocol.receive(address, received)
        for attempt in work.closed:
            self._close_notes(attempt.key)
            runner.closed(attempt)
        for attempt in work.cancelled:
            runner.cancel(attempt)
        for noted in work.noted:
            future = self._noted.get(noted)
            if future is not None and not future.done():
                future.set_result(None)
        if work.tasks:
            runner.accept(work.tasks)
        self._quiet.set()
        self._wake[address].set()

    def _close_notes(self, attempt: AttemptKey) -> None:
        for (key, _), future in self._noted.items():
            if key == attempt and not future.done():
                future.set_exception(AttemptClosed())

    async def _write(self, address: str, call: Call) -> None:
        """Ends with the stream; what it could not send is sent again on the next."""
        wake, opened_draining = self._wake[address], self.protocol.draining
        try:
            while True:
                await wake.wait()
                wake.clear()
                while (message := self.protocol.next_message(address)) is not None:
                    await call.write(encode(message))
                if self._closing or (self.protocol.draining and not opened_draining):
                    await call.done_writing()
                    return
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # Not cancelled here: the reader meets the same end and says why.
            return


def _say_why(address: str, fault: grpc.aio.AioRpcError, *, again: bool) -> None:
    """Raises what the scheduler refused this process with; anything else may pass."""
    refusal = _REFUSALS.get(fault.code())
    if refusal is not None:
        raise refusal(f"The scheduler at {address} refuses this process: {fault.details()}")
    level = logging.DEBUG if again else logging.WARNING
    _log.log(level, "no stream to scheduler %s: %s", address, fault.code().name)
