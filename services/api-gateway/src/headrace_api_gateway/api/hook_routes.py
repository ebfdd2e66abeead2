"""POST /v1/hooks/{tenant}/{path}: for whoever a flow's webhook trigger believes."""

from fastapi import FastAPI, Request
from starlette.responses import Response

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.answers import json_answer
from headrace_api_gateway.api.guard import public
from headrace_api_gateway.app.ports import History
from headrace_api_gateway.app.receiving import Receiving
from headrace_api_gateway.domain.hooks import HookRequest, result_of
from headrace_core.errors import Unavailable
from headrace_core.ids import TenantId
from headrace_runtime.clock import Clock

RESULT_WAIT_MS = 30_000
"""So long `respond: result` waits for the run; then it is answered as accepted."""


class HookRoutes:
    def __init__(self, receiving: Receiving, history: History, clock: Clock) -> None:
        self._receiving = receiving
        self._history = history
        self._clock = clock

    def add_to(self, app: FastAPI) -> None:
        app.post(
            "/v1/hooks/{tenant}/{path:path}",
            summary="Start a run by its webhook trigger",
            description=(
                "The trigger says how the request is verified. 404 where there is no such webhook "
                "and where it is not verified, alike."
            ),
            status_code=202,
            openapi_extra=public(),
            responses=examples.answer(examples.HOOK_TAKEN, 202),
        )(self.receive)

    async def receive(self, request: Request, tenant: str, path: str) -> Response:
        """202: the start is durable. With `respond: result` 200 and what the run gave."""
        hook_request = HookRequest(
            headers={name.lower(): value for name, value in request.headers.items()},
            query=request.url.query,
            body=await request.body(),
            time_ms=self._clock.now_ms(),
        )
        received = await self._receiving.receive(TenantId(tenant), path, hook_request)
        run = received.started.run
        if received.wants_result:
            try:
                document, ended = await self._history.wait_for_end(
                    received.tenant, run, RESULT_WAIT_MS
                )
            except Unavailable:
                # The run is durable whatever history does: it is accepted.
                ended, document = False, b""
            if ended:
                return json_answer(result_of(document))
        accepted = {"id": run, "status": "accepted", "repeated": received.started.repeated}
        return json_answer(accepted, 202)
