"""Routes that declare who may use them. One that does not cannot be made.

Credential and permission are looked at before anything of the body is read.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Message

from headrace_api_gateway.app.authentication import Authenticator
from headrace_api_gateway.domain.authorisation import Permission, Principal
from headrace_core.errors import NotFound, TooLarge
from headrace_core.ids import RunId, is_run_id

PUBLIC = "public"
DECLARATION = "x-permission"


class UndeclaredRoute(TypeError):
    """A bug: the route does not say who may use it."""


def needs(permission: Permission) -> dict[str, Any]:
    """For `openapi_extra` of a route."""
    return {DECLARATION: permission.value, "security": [{"apiKey": []}]}


def public() -> dict[str, Any]:
    return {DECLARATION: PUBLIC, "security": []}


def permission_of(route: BaseRoute) -> Permission | None:
    """None for a public one. Raises UndeclaredRoute."""
    extra: dict[str, Any] = getattr(route, "openapi_extra", None) or {}
    declared = extra.get(DECLARATION)
    if declared is None:
        raise UndeclaredRoute(f"{getattr(route, 'path', route)} declares no permission")
    return None if declared == PUBLIC else Permission(declared)


class Gate:
    def __init__(self, authenticator: Authenticator, body_bytes_max: int) -> None:
        self._authenticator = authenticator
        self.body_bytes_max = body_bytes_max

    async def admit(self, authorization: str | None, permission: Permission) -> Principal:
        """Raises Unauthenticated, Forbidden."""
        principal = await self._authenticator.principal(authorization)
        principal.require(permission)
        return principal

    def check_length(self, declared: str | None) -> None:
        """Of a Content-Length header, before the body is read. Raises TooLarge."""
        if declared and declared.isdigit() and int(declared) > self.body_bytes_max:
            raise self.too_large()

    def too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than the {self.body_bytes_max} bytes that are taken.")


def guarded_by(gate: Gate) -> type[APIRoute]:
    """The class of all routes of an application with this gate."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()
            permission = permission_of(self)

            async def guarded(request: Request) -> Response:
                if permission is not None:
                    authorization = request.headers.get("authorization")
                    request.state.principal = await gate.admit(authorization, permission)
                bounded = _bounded(request, gate)
                # Here and not where FastAPI would: there a fault becomes a plain 400.
                await bounded.body()
                return await answer(bounded)

            return guarded

    return GuardedRoute


def _bounded(request: Request, gate: Gate) -> Request:
    """The same request, whose body ends in TooLarge above the limit."""
    gate.check_length(request.headers.get("content-length"))
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > gate.body_bytes_max:
            raise gate.too_large()
        return message

    return Request(request.scope, receive)


def _principal(request: Request) -> Principal:
    return request.state.principal


Caller = Annotated[Principal, Depends(_principal)]


def run_of(text: str) -> RunId:
    """Raises NotFound: what cannot be an id is no run."""
    if not is_run_id(text):
        raise NotFound(f"There is no run {text!r}.")
    return RunId(text)
