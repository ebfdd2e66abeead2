"""WebSocket /v1/runs/{run}/live: a run's events from a number on, then live, to its end.

Each message is `{"events": [...], "ended": false}`. A client that was cut connects again with the
last sequence it has. The key comes in the Authorization header or, for browsers, which cannot set
one, as the first message: `{"key": "hr_live_..."}`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, cast

import orjson
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from headrace_api_gateway.api.guard import Gate, needs, run_of
from headrace_api_gateway.api.problem import Problems
from headrace_api_gateway.app.ports import History
from headrace_api_gateway.domain.authorisation import Permission, Principal
from headrace_core.errors import InvalidInput, Unauthenticated

PATH = "/v1/runs/{run}/live"
KEY_WAIT_S = 10.0
NORMAL = 1000
CLOSE_CODES = {503: 1013, 500: 1011}
"""Others are 4000 and the HTTP status: 4401, 4403, 4404."""
REASON_BYTES_MAX = 120


class LiveRoute(WebSocketRoute):
    def __init__(self, gate: Gate, history: History, problems: Problems) -> None:
        super().__init__(PATH, self.serve)
        self.openapi_extra = needs(Permission.RUNS_READ)
        self._gate = gate
        self._history = history
        self._problems = problems

    async def serve(self, socket: WebSocket) -> None:
        path = socket.url.path
        try:
            principal = await self._principal(socket)
            await self._follow(socket, principal)
            await socket.close(NORMAL)
        except WebSocketDisconnect:
            return
        except Exception as fault:  # noqa: BLE001 - every fault is told to the client
            if "websocket.http.response" in socket.scope.get("extensions", {}) and not _open(
                socket
            ):
                await socket.send_denial_response(self._problems.response(fault, path))
                return
            problem = self._problems.of(fault, path)
            code = CLOSE_CODES.get(problem.status, 4000 + problem.status)
            reason = f"{problem.document['code']}: {problem.document['detail']}"
            await _close(socket, code, reason)

    async def _principal(self, socket: WebSocket) -> Principal:
        authorization = socket.headers.get("authorization")
        if authorization is not None:
            principal = await self._gate.admit(authorization, Permission.RUNS_READ)
            await socket.accept()
            return principal
        await socket.accept()
        key = await _key_of_first_message(socket)
        return await self._gate.admit(f"Bearer {key}", Permission.RUNS_READ)

    async def _follow(self, socket: WebSocket, principal: Principal) -> None:
        run = run_of(socket.path_params["run"])
        after = _after(socket.query_params.get("after", "0"))
        leaving = asyncio.create_task(_until_left(socket))
        sending = asyncio.create_task(self._send_all(socket, principal, run, after))
        try:
            await asyncio.wait((leaving, sending), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise WebSocketDisconnect(NORMAL)
            await sending
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(leaving, sending, return_exceptions=True)

    async def _send_all(
        self, socket: WebSocket, principal: Principal, run: Any, after: int
    ) -> None:
        following = self._history.subscribe(principal.tenant, run, after)
        async with aclosing(cast("Any", following)) as messages:
            async for events, ended in messages:
                if events or ended:
                    await socket.send_text(_message(events, ended=ended))


def _message(events: Sequence[bytes], *, ended: bool) -> str:
    document = {"events": [orjson.Fragment(event) for event in events], "ended": ended}
    return orjson.dumps(document).decode()


def _after(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidInput(f"after={text!r} is not the number of an event.")
    return int(text)


async def _key_of_first_message(socket: WebSocket) -> str:
    try:
        async with asyncio.timeout(KEY_WAIT_S):
            said = orjson.loads(await socket.receive_text())
    except (TimeoutError, orjson.JSONDecodeError, KeyError):
        said = None
    key = cast("dict[str, Any]", said).get("key") if isinstance(said, dict) else None
    if not isinstance(key, str):
        raise Unauthenticated(
            'Send the key in the Authorization header, or as the first message: {"key": "..."}.'
        )
    return key


async def _until_left(socket: WebSocket) -> None:
    """What the client says meanwhile means nothing; that it leaves does."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return


def _open(socket: WebSocket) -> bool:
    return socket.application_state.name == "CONNECTED"


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    cut = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
    try:
        await socket.close(code, cut)
    except (RuntimeError, WebSocketDisconnect):
        # The client was faster.
        return
