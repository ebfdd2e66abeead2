"""The History port over gRPC. Reads wait for a history that restarts; a live subscription resumes
by itself where it was cut."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

import grpc
import grpc.aio

from headrace.history.v1 import history_service_pb2 as pb
from headrace.history.v1.history_service_pb2_grpc import HistoryServiceStub
from headrace_api_gateway.app.ports import ForkPoint, LetterFilter, RunFilter
from headrace_core.errors import (
    BlobMissing,
    BrokenChain,
    HeadraceError,
    InvalidInput,
    InvalidState,
    KeyErased,
    NotFound,
    PayloadTampered,
    TooLarge,
    Unavailable,
)
from headrace_core.ids import RunId, TenantId
from headrace_core.run.freeze import thaw_run
from headrace_runtime.address import Address
from headrace_runtime.rpc.channel import Backoff, open_channel

READ_S = 15.0
"""Above the time that history itself waits for its projection."""
RETRY_S = 0.1
CODE_KEY = "headrace-code"

_BY_CODE: dict[str, type[HeadraceError]] = {
    kind.code: kind
    for kind in (
        BlobMissing,
        BrokenChain,
        InvalidInput,
        InvalidState,
        KeyErased,
        NotFound,
        PayloadTampered,
        TooLarge,
        Unavailable,
    )
}
_BY_STATUS: dict[grpc.StatusCode, type[HeadraceError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidState,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
}
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

Answer = TypeVar("Answer")


class HistoryClient:
    """`read_s` bounds every read, also while history is away."""

    def __init__(self, address: Address, token: str = "", *, read_s: float = READ_S) -> None:
        self._channel = open_channel(address, token)
        self._stub = HistoryServiceStub(self._channel)
        self._read_s = read_s
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        await self._channel.close()

    def is_ready(self) -> bool:
        """Also starts to connect, for whoever asks again."""
        state = self._channel.get_state(try_to_connect=True)
        return state in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE)

    async def run(self, tenant: TenantId, run: RunId) -> bytes:
        request = pb.GetRunRequest(tenant=tenant, run=run)
        return (await self._read(self._stub.GetRun, request)).run

    async def runs(self, tenant: TenantId, wanted: RunFilter) -> tuple[Sequence[bytes], str]:
        request = pb.ListRunsRequest(
            tenant=tenant,
            flow=wanted.flow,
            status=wanted.status,
            started_after_ms=wanted.started_after_ms,
            started_before_ms=wanted.started_before_ms,
            limit=wanted.limit,
            cursor=wanted.cursor,
        )
        page = await self._read(self._stub.ListRuns, request)
        return page.runs, page.next_cursor

    async def state(self, tenant: TenantId, run: RunId, sequence: int) -> tuple[bytes, str, int]:
        request = pb.StateAtRequest(tenant=tenant, run=run, sequence=sequence)
        found = await self._read(self._stub.StateAt, request)
        return found.state, found.state_hash, found.sequence

    async def fork_point(self, tenant: TenantId, run: RunId, sequence: int) -> ForkPoint:
        request = pb.ForkPointRequest(tenant=tenant, run=run, sequence=sequence)
        found = await self._read(self._stub.ForkPoint, request)
        return ForkPoint(thaw_run(found.state), found.state_hash, frozenset(found.begun))

    async def events(
        self, tenant: TenantId, run: RunId, after: int, limit: int
    ) -> tuple[Sequence[bytes], bool]:
        request = pb.ListEventsRequest(tenant=tenant, run=run, after_sequence=after, limit=limit)
        page = await self._read(self._stub.ListEvents, request)
        return page.events, page.more

    async def letters(self, tenant: TenantId, wanted: LetterFilter) -> tuple[Sequence[bytes], str]:
        request = pb.ListLettersRequest(
            tenant=tenant,
            flow=wanted.flow,
            status=wanted.status,
            run=wanted.run,
            limit=wanted.limit,
            cursor=wanted.cursor,
        )
        page = await self._read(self._stub.ListLetters, request)
        return page.letters, page.next_cursor

    async def letter(self, tenant: TenantId, letter: str) -> bytes:
        request = pb.GetLetterRequest(tenant=tenant, letter=letter)
        return (await self._read(self._stub.GetLetter, request)).letter

    async def usage(self, tenant: TenantId, from_ms: int, to_ms: int) -> bytes:
        request = pb.GetUsageRequest(tenant=tenant, from_ms=from_ms, to_ms=to_ms)
        return (await self._read(self._stub.GetUsage, request)).usage

    async def wait_for_end(self, tenant: TenantId, run: RunId, wait_ms: int) -> tuple[bytes, bool]:
        until_s = self._loop.time() + wait_ms / 1000

        def request() -> pb.WaitForEndRequest:
            left_ms = max(0, int((until_s - self._loop.time()) * 1000))
            return pb.WaitForEndRequest(tenant=tenant, run=run, wait_ms=left_ms)

        found = await self._read_again(
            self._stub.WaitForEnd, request, self._read_s + wait_ms / 1000
        )
        return found.run, found.ended

    async def export(self, tenant: TenantId, run: RunId) -> AsyncGenerator[bytes, None]:
        """Not resumed: half an export is none."""
        call = self._stub.ExportRun(
            pb.ExportRunRequest(tenant=tenant, run=run), wait_for_ready=True
        )
        try:
            async for response in call:
                yield response.chunk
        except grpc.aio.AioRpcError as fault:
            raise _error_of(fault) from None
        finally:
            call.cancel()

    async def subscribe(
        self, tenant: TenantId, run: RunId, after: int
    ) -> AsyncGenerator[tuple[Sequence[bytes], bool], None]:
        backoff = Backoff()
        away_since_s: float | None = None
        while True:
            call = self._stub.Subscribe(
                pb.SubscribeRequest(tenant=tenant, run=run, after_sequence=after)
            )
            try:
                async for message in call:
                    away_since_s = None
                    backoff.reset()
                    # Events are numbered without a hole, so their count tells where to go on.
                    after += len(message.events)
                    yield message.events, message.ended
                    if message.ended:
                        return
            except grpc.aio.AioRpcError as fault:
                if fault.code() not in _AWAY:
                    raise _error_of(fault) from None
            finally:
                call.cancel()
            now_s = self._loop.time()
            away_since_s = away_since_s or now_s
            if now_s - away_since_s > self._read_s:
                raise Unavailable("History does not answer. Connect again with the last sequence.")
            await asyncio.sleep(backoff.next_ms(1.0) / 1000)

    async def _read(self, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        return await self._read_again(method, lambda: request, self._read_s)

    async def _read_again(
        self,
        method: Callable[..., Awaitable[Answer]],
        request: Callable[[], object],
        timeout_s: float,
    ) -> Answer:
        """Reads change nothing, so one that was cut off is asked again."""
        deadline_s = self._loop.time() + timeout_s
        while True:
            left_s = deadline_s - self._loop.time()
            try:
                return await method(request(), timeout=max(0.01, left_s), wait_for_ready=True)
            except grpc.aio.AioRpcError as fault:
                is_ours = any(key == CODE_KEY for key, _ in fault.trailing_metadata() or ())
                if is_ours or fault.code() not in _AWAY or left_s <= RETRY_S:
                    raise _error_of(fault) from None
            await asyncio.sleep(RETRY_S)


def _error_of(fault: grpc.aio.AioRpcError) -> HeadraceError:
    code = next(
        (str(value) for key, value in fault.trailing_metadata() or () if key == CODE_KEY), ""
    )
    kind = _BY_CODE.get(code)
    if kind is not None:
        return kind(fault.details() or "")
    kind = _BY_STATUS.get(fault.code())
    if kind is Unavailable:
        return Unavailable("History does not answer at the moment. Send the request again.")
    if kind is not None:
        return kind(fault.details() or "")
    return HeadraceError(f"History failed: {fault.code().name}: {fault.details()}")
