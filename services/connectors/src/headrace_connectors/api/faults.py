"""Errors of the tree as gRPC statuses: the code stands in the trailing metadata."""

from collections.abc import Awaitable, Mapping
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio

from headrace_core.errors import (
    HeadraceError,
    InvalidInput,
    NotFound,
    TooLarge,
    Unavailable,
)
from headrace_runtime.postgres.pool import CONNECTION_LOST

CODE_KEY = "headrace-code"
Context = grpc.aio.ServicerContext[Any, Any]
Response = TypeVar("Response")
_STATUS: Mapping[type[HeadraceError], grpc.StatusCode] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}


async def answer(context: Context, handled: Awaitable[Response]) -> Response:
    try:
        return await handled
    except HeadraceError as fault:
        await _refuse(context, fault)
    except CONNECTION_LOST:
        away = "The database of connectors does not answer at the moment. Try again."
        await _refuse(context, Unavailable(away))


async def _refuse(context: Context, fault: HeadraceError) -> NoReturn:
    status = _STATUS.get(type(fault), grpc.StatusCode.INTERNAL)
    await context.abort(status, fault.message, ((CODE_KEY, fault.code),))
