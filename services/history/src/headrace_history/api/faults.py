"""Errors of the tree as gRPC statuses: the code stands in the trailing metadata."""

from collections.abc import Mapping
from typing import Any, NoReturn

import grpc
import grpc.aio

from headrace_core.errors import (
    HeadraceError,
    InvalidInput,
    InvalidState,
    NotFound,
    TooLarge,
    Unavailable,
)

CODE_KEY = "headrace-code"
_STATUS: Mapping[type[HeadraceError], grpc.StatusCode] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidState: grpc.StatusCode.FAILED_PRECONDITION,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}


async def refuse(context: grpc.aio.ServicerContext[Any, Any], fault: HeadraceError) -> NoReturn:
    status = _STATUS.get(type(fault), grpc.StatusCode.INTERNAL)
    await context.abort(status, fault.message, ((CODE_KEY, fault.code),))
