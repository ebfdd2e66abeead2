"""POST /v1/runs/{run}/fork: a new run from the state of another, or a preview of it."""

from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.answers import JSON, json_answer
from headrace_api_gateway.api.guard import Caller, needs, run_of
from headrace_api_gateway.api.run_routes import Run
from headrace_api_gateway.app.forking import Forking
from headrace_api_gateway.domain.authorisation import Permission
from headrace_api_gateway.domain.forks import ForkRequest

CONTROL = needs(Permission.RUNS_CONTROL)


class ForkBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": examples.FORK})

    sequence: int = Field(
        0, ge=0, description="Last event of a turn of the source; 0 is its newest."
    )
    version: str = Field("", max_length=64, description="A number or a label; empty: the same.")
    input: dict[str, Any] = Field({}, description="Inputs that have another value.")
    outputs: dict[str, Any] = Field({}, description="Outputs in the place of steps' own.")
    again: list[str] = Field([], max_length=500, description="Steps to run again.")
    reason: str = Field("", max_length=2_000)


class ForkRoute:
    def __init__(self, forking: Forking) -> None:
        self._forking = forking

    def add_to(self, app: FastAPI) -> None:
        app.post(
            "/v1/runs/{run}/fork",
            summary="Fork a run",
            description="Starts a new run that begins with what had ended in this one. Steps "
            "that had not ended, failed unhandled, or depend on an edit run again, with new "
            "effects. With `preview=true` nothing is started and the answer is 200.",
            status_code=202,
            openapi_extra=CONTROL,
            responses=examples.answer(examples.FORKED, 202),
        )(self.fork)

    async def fork(
        self,
        caller: Caller,
        request: Request,
        run: Run,
        body: ForkBody | None = None,
        preview: Annotated[bool, Query()] = False,  # noqa: FBT002 - a query parameter
        idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
    ) -> Response:
        """Needs no body: then it resumes after the last successful steps."""
        source = run_of(run)
        asked = _asked(body) if body is not None else ForkRequest()
        if preview:
            planned = await self._forking.preview(caller, source, asked)
            return json_answer(planned.document())
        raw = await request.body()
        started, planned = await self._forking.fork(caller, source, asked, raw, idempotency_key)
        url = f"/v1/runs/{started.run}"
        answer = {
            "id": started.run,
            "status": "accepted",
            "url": url,
            "repeated": started.repeated,
            **planned.document(),
        }
        return Response(orjson.dumps(answer), 202, {"location": url}, media_type=JSON)


def _asked(body: ForkBody) -> ForkRequest:
    return ForkRequest(
        sequence=body.sequence,
        version=body.version,
        inputs=body.input,
        outputs=body.outputs,
        again=body.again,
        reason=body.reason,
    )
