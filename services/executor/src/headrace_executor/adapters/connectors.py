"""The connectors service over gRPC."""

import asyncio
from collections.abc import Mapping

import grpc
import grpc.aio
import orjson

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from headrace_executor.app.ports import Call, Said
from headrace_executor.domain.effect_flow import Word
from headrace_runtime.rpc.limits import MESSAGE_BYTES_MAX

AWAY_S = 10.0
"""So long a service that is away or stops is waited for: it is being started again."""
LOOK_S = 0.25
TIMEOUT_MARGIN_MS = 250
"""The service ends an attempt a little earlier than we would: its word is worth more than ours."""
INPUT_BYTES_MAX = MESSAGE_BYTES_MAX - 64 * 1024

_WORDS: Mapping[int, Word] = {
    pb.WORD_SUCCESS: Word.SUCCESS,
    pb.WORD_RETRY: Word.RETRY,
    pb.WORD_RATE_LIMITED: Word.RATE_LIMITED,
    pb.WORD_AUTH_EXPIRED: Word.AUTH_EXPIRED,
    pb.WORD_PERMANENT: Word.PERMANENT,
    pb.WORD_UNKNOWN_OUTCOME: Word.UNKNOWN_OUTCOME,
    pb.WORD_CANCELLED: Word.CANCELLED,
}
# Only a server says these, and it does before it does anything.
_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class ConnectorClient:
    """Implements app.ports.Connectors."""

    def __init__(self, channel: grpc.aio.Channel, away_s: float = AWAY_S) -> None:
        self._channel = channel
        self._stub = ConnectorServiceStub(channel)
        self._away_s = away_s

    async def invoke(self, call: Call) -> Said:
        try:
            request = _request(call)
        except TypeError as fault:
            return _invalid(f"the input is not JSON: {fault}")
        size = request.ByteSize()
        if size > INPUT_BYTES_MAX:
            return _invalid(f"the input has {size} bytes, and {INPUT_BYTES_MAX} are the most")
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + self._away_s
        while True:
            if not await self._reached(give_up_s - loop.time()):
                return Said(
                    Word.RETRY,
                    error_type="connectors.away",
                    error_message="the connectors service does not answer",
                )
            request.timeout_ms = _timeout_ms(call.left_ms())
            call.contact.begun = True
            said = await self._attempt(request)
            if said.word is not Word.CANCELLED or said.may_have_acted:
                return said
            # It stops, and has not begun: its successor takes the call.
            call.contact.begun = False
            if loop.time() + LOOK_S > give_up_s:
                return said
            await asyncio.sleep(LOOK_S)

    async def _reached(self, limit_s: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, limit_s)):
                await self._channel.channel_ready()
        except TimeoutError:
            return False
        return True

    async def _attempt(self, request: pb.InvokeRequest) -> Said:
        acting = False
        stream = self._stub.Invoke(request)
        try:
            async for message in stream:
                if message.HasField("outcome"):
                    return _said(message.outcome)
                acting = acting or message.progress.acting
        except grpc.aio.AioRpcError as broken:
            detail = f"{broken.code().name}: {broken.details()}"
            if broken.code() in _REFUSALS and not acting:
                return Said(
                    Word.PERMANENT,
                    error_type="connectors.error",
                    error_message=f"the connectors service refused the call ({detail})",
                )
            return _silence(f"the connection to the connectors service was lost ({detail})")
        finally:
            stream.cancel()
        return _silence("the connectors service ended the call without an outcome")


def _request(call: Call) -> pb.InvokeRequest:
    attempt = call.attempt
    return pb.InvokeRequest(
        tenant=attempt.tenant,
        action=call.action.name,
        input=orjson.dumps(call.arguments),
        idempotency_key=call.idempotency_key,
        secret_names=call.secret_names,
        lock=call.action.locked,
        run=attempt.run,
        step=attempt.step,
    )


def _timeout_ms(left_ms: int) -> int:
    if not left_ms:
        return 0
    return max(1, left_ms - min(TIMEOUT_MARGIN_MS, left_ms // 4))


def _said(outcome: pb.Outcome) -> Said:
    word = _WORDS.get(outcome.word)
    if word is None:
        return _silence(f"the connectors service said a word of a newer release: {outcome.word}")
    output = None
    if word is Word.SUCCESS and outcome.output:
        try:
            output = orjson.loads(outcome.output)
        except orjson.JSONDecodeError as fault:
            return _silence(f"the connectors service gave an output that is not JSON: {fault}")
    return Said(
        word,
        output,
        outcome.error_type,
        outcome.error_message,
        outcome.retry_after_ms,
        outcome.may_have_acted,
    )


def _silence(message: str) -> Said:
    return Said(
        Word.SILENCE, error_type="connectors.lost", error_message=message, may_have_acted=True
    )


def _invalid(message: str) -> Said:
    return Said(Word.PERMANENT, error_type="input.invalid", error_message=message)
