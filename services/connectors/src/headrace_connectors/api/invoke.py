"""Invoke: one attempt as a stream of its progress and its one outcome."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

import orjson

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace_connector_sdk.outcome import Word
from headrace_connectors.app.attempts import Attempt, Attempts, Ended
from headrace_core.ids import TenantId

WORDS: Mapping[Word, "pb.Word.ValueType"] = {
    Word.SUCCESS: pb.WORD_SUCCESS,
    Word.RETRY: pb.WORD_RETRY,
    Word.RATE_LIMITED: pb.WORD_RATE_LIMITED,
    Word.AUTH_EXPIRED: pb.WORD_AUTH_EXPIRED,
    Word.PERMANENT: pb.WORD_PERMANENT,
    Word.UNKNOWN_OUTCOME: pb.WORD_UNKNOWN_OUTCOME,
    Word.CANCELLED: pb.WORD_CANCELLED,
}
_ACTING = pb.InvokeResponse(progress=pb.Progress(acting=True))


async def handle(
    attempts: Attempts, request: pb.InvokeRequest
) -> AsyncGenerator[pb.InvokeResponse, None]:
    acting = asyncio.Event()
    running = asyncio.create_task(attempts.run(_attempt(request), acting.set))
    began = asyncio.create_task(acting.wait())
    try:
        await asyncio.wait((running, began), return_when=asyncio.FIRST_COMPLETED)
        if acting.is_set():
            yield _ACTING
        yield pb.InvokeResponse(outcome=outcome_of(await running))
    finally:
        # Whoever cancels the call cancels the attempt.
        running.cancel()
        began.cancel()


def outcome_of(ended: Ended) -> pb.Outcome:
    outcome = ended.outcome
    return pb.Outcome(
        word=WORDS[outcome.word],
        output=ended.output,
        error_type=outcome.error_type,
        error_message=outcome.error_message,
        retry_after_ms=outcome.retry_after_ms,
        may_have_acted=outcome.may_have_acted,
    )


def _attempt(request: pb.InvokeRequest) -> Attempt:
    return Attempt(
        tenant=TenantId(request.tenant),
        action=request.action,
        input=_json(request.input),
        idempotency_key=request.idempotency_key,
        timeout_s=max(0, request.timeout_ms) / 1000,
        secret_names=tuple(request.secret_names),
        lock=request.lock,
        run=request.run,
        step=request.step,
    )


def _json(text: bytes) -> object:
    """None for what is no JSON: the attempt then says that the input is no object."""
    try:
        return orjson.loads(text)
    except ValueError:
        return None
