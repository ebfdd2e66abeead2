"""Every error as an answer of the type application/problem+json."""

import secrets
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace_api_gateway.domain.problems import (
    MEDIA_TYPE,
    InternalFault,
    MethodNotAllowed,
    Problem,
    problem_of,
)
from headrace_core.errors import (
    HeadraceError,
    InvalidInput,
    NotFound,
    PayloadError,
    RequestError,
    Unavailable,
)
from headrace_runtime.postgres.pool import CONNECTION_LOST
from headrace_runtime.telemetry import Logger

_ANSWERS = (RequestError, Unavailable, PayloadError)
"""What may be said to a client in its own words; anything else is for our eyes."""


class Problems:
    """Turns whatever was raised into a problem, and logs what is our fault."""

    def __init__(self, log: Logger) -> None:
        self._log = log

    def of(self, fault: BaseException, path: str) -> Problem:
        return problem_of(self._known(fault, path), path)

    def response(self, fault: BaseException, path: str) -> Response:
        problem = self.of(fault, path)
        return Response(
            orjson.dumps(problem.document),
            problem.status,
            problem.headers,
            media_type=MEDIA_TYPE,
        )

    def handle(self, app: FastAPI) -> None:
        async def respond(request: Request, fault: Exception) -> Response:
            return self.response(fault, request.url.path)

        for kind in (HeadraceError, HTTPException, RequestValidationError, Exception):
            app.add_exception_handler(kind, respond)

    def _known(self, fault: BaseException, path: str) -> HeadraceError:
        match fault:
            case HeadraceError() if isinstance(fault, _ANSWERS):
                return fault
            case HTTPException():
                return _of_routing(fault, path)
            case RequestValidationError():
                return InvalidInput("The request cannot be read.", _faults(fault.errors()))
            case _ if isinstance(fault, CONNECTION_LOST):
                self._log.warning("database away", path=path, error=fault)
                return Unavailable(
                    "The database does not answer at the moment. Send the request again."
                )
            case _:
                incident = secrets.token_hex(6)
                self._log.failure("request failed", fault, incident=incident, path=path)
                return InternalFault(incident)


def _of_routing(fault: HTTPException, path: str) -> HeadraceError:
    if fault.status_code == 404:
        return NotFound(f"There is nothing at {path}. All routes are in /openapi.json.")
    if fault.status_code == 405:
        allowed = (fault.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"{path} answers {allowed}.", allowed)
    return InvalidInput(f"The request cannot be read: {fault.detail}")


def _faults(errors: Sequence[Any]) -> list[str]:
    return [
        f"{'.'.join(str(part) for part in error['loc'] if part != 'body') or 'body'}: "
        f"{error['msg']}"
        for error in errors
    ]
