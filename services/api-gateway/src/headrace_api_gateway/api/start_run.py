"""POST /v1/runs: the one route that is hot, as plain ASGI.

FastAPI's way through routing, parameters and models would cost more than all that the request
does.
"""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from headrace_api_gateway.api.guard import Gate, needs
from headrace_api_gateway.api.problem import Problems
from headrace_api_gateway.app.ports import History, Started
from headrace_api_gateway.app.starting import Starting
from headrace_api_gateway.domain.authorisation import Permission
from headrace_api_gateway.domain.problems import MEDIA_TYPE
from headrace_api_gateway.domain.requests import wait_ms
from headrace_api_gateway.metrics import count
from headrace_core.errors import Unavailable
from headrace_core.ids import TenantId

PATH = "/v1/runs"
_JSON = b"application/json"
_LABEL = "POST /v1/runs"
Headers = list[tuple[bytes, bytes]]


class StartRunRoute(Route):
    """Also reachable directly, past the router."""

    def __init__(
        self, gate: Gate, starting: Starting, history: History, problems: Problems
    ) -> None:
        super().__init__(PATH, self.answer, methods=["POST"], include_in_schema=False)
        self.app = self.answer
        self.openapi_extra = needs(Permission.RUNS_START)
        self._gate = gate
        self._starting = starting
        self._history = history
        self._problems = problems

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun_s = time.perf_counter()
        try:
            status, headers, body = await self._start(scope, receive)
        except Exception as fault:  # noqa: BLE001 - every fault is an answer of its own
            problem = self._problems.of(fault, PATH)
            status, body = problem.status, orjson.dumps(problem.document)
            headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
            headers.append((b"content-type", MEDIA_TYPE.encode()))
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        count(_LABEL, status, time.perf_counter() - begun_s)

    async def _start(self, scope: Scope, receive: Receive) -> tuple[int, Headers, bytes]:
        authorization = client_key = length = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value.decode("latin-1")
            elif name == b"idempotency-key":
                client_key = value.decode("latin-1")
            elif name == b"content-length":
                length = value.decode("latin-1")
        principal = await self._gate.admit(authorization, Permission.RUNS_START)
        self._gate.check_length(length)
        query = scope["query_string"]
        asked_wait_ms = wait_ms(parse_qs(query.decode()).get("wait", [""])[-1]) if query else 0
        body = await self._body(receive)
        started = await self._starting.start(principal, body, client_key)
        if asked_wait_ms:
            ended = await self._ended(principal.tenant, started, asked_wait_ms)
            if ended is not None:
                return 200, _headers(started), ended
        return 202, _headers(started), orjson.dumps(_accepted(started))

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._gate.body_bytes_max:
                break
        if len(body) > self._gate.body_bytes_max:
            raise self._gate.too_large()
        return body

    async def _ended(self, tenant: TenantId, started: Started, asked_ms: int) -> bytes | None:
        try:
            document, ended = await self._history.wait_for_end(tenant, started.run, asked_ms)
        except Unavailable:
            # The run is durable whatever history does: it is accepted.
            return None
        return document if ended else None


def _accepted(started: Started) -> Mapping[str, Any]:
    return {
        "id": started.run,
        "status": "accepted",
        "url": f"{PATH}/{started.run}",
        "repeated": started.repeated,
    }


def _headers(started: Started) -> Headers:
    return [(b"content-type", _JSON), (b"location", f"{PATH}/{started.run}".encode())]
