"""Runs: read, list, events, state, export, cancel, resume, approve, usage."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.answers import JSON, fragments, json_answer, json_page
from headrace_api_gateway.api.guard import Caller, needs, run_of
from headrace_api_gateway.app.controlling import Controlling, Decision, Edit
from headrace_api_gateway.app.ports import History, RunFilter
from headrace_api_gateway.domain.authorisation import Permission
from headrace_core.ids import StepKey
from headrace_core.run.status import Repair

JSON_LINES = "application/jsonl"
READ, CONTROL = needs(Permission.RUNS_READ), needs(Permission.RUNS_CONTROL)
Run = Annotated[str, Path(examples=[examples.RUN_ID])]
Sequence = Annotated[int, Query(ge=0)]
USUAL_SPAN = timedelta(days=30)


class CancelBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": examples.CANCEL})

    reason: str = Field("", max_length=2_000)


class EditBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    step: str = Field(min_length=1, max_length=1_000)
    action: Literal["retry", "skip", "output", "input"]
    value: Any = None
    port: str = Field("", max_length=100)


class ResumeBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": examples.RESUME})

    edits: list[EditBody] = Field(default_factory=list[EditBody], max_length=500)


class DecisionBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": examples.DECISION})

    decision: Literal["approved", "rejected"]
    comment: str = Field("", max_length=10_000)
    form: dict[str, Any] | None = None


class RunRoutes:
    def __init__(self, history: History, controlling: Controlling) -> None:
        self._history = history
        self._controlling = controlling

    def add_to(self, app: FastAPI) -> None:
        one = "/v1/runs/{run}"
        app.get(
            "/v1/runs",
            summary="List runs, newest first",
            openapi_extra=READ,
            responses=examples.answer(examples.RUN_LIST),
        )(self.list_runs)
        app.get(
            one,
            summary="A run with its steps, output and timeline",
            description="Known as soon as its start was answered.",
            openapi_extra=READ,
            responses=examples.answer(examples.RUN),
        )(self.get_run)
        app.get(
            f"{one}/events",
            summary="A page of a run's events",
            openapi_extra=READ,
            responses=examples.answer(examples.EVENTS),
        )(self.list_events)
        app.get(
            f"{one}/state",
            summary="The run as it was after one of its events",
            openapi_extra=READ,
            responses=examples.answer(examples.STATE),
        )(self.state_at)
        app.get(
            f"{one}/export",
            summary="The run as JSON lines, to verify and replay offline",
            openapi_extra=READ,
            responses={200: {"content": {JSON_LINES: {"schema": {"type": "string"}}}}},
        )(self.export_run)
        app.post(
            f"{one}/cancel",
            summary="Cancel a run",
            status_code=202,
            openapi_extra=CONTROL,
            responses=examples.answer(examples.CANCELLED, 202),
        )(self.cancel_run)
        app.post(
            f"{one}/resume",
            summary="Resume a suspended run, repaired",
            description="Failed steps that no edit names are tried again.",
            status_code=202,
            openapi_extra=CONTROL,
            responses=examples.answer(examples.RESUMED, 202),
        )(self.resume_run)
        app.post(
            f"{one}/approvals/{{step:path}}",
            summary="Decide an approval",
            description="The first decision counts.",
            openapi_extra=CONTROL,
            responses=examples.answer(examples.DECIDED),
        )(self.decide_approval)
        app.get(
            "/v1/usage",
            summary="Runs, attempts, tokens and cost by day",
            openapi_extra=READ,
            responses=examples.answer(examples.USAGE),
        )(self.usage)

    async def list_runs(
        self,
        caller: Caller,
        workflow: str = "",
        status: str = "",
        started_after: datetime | None = None,
        started_before: datetime | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        cursor: str = "",
    ) -> Response:
        wanted = RunFilter(
            flow=workflow,
            status=status,
            started_after_ms=_ms(started_after),
            started_before_ms=_ms(started_before),
            limit=limit,
            cursor=cursor,
        )
        return json_page("runs", *await self._history.runs(caller.tenant, wanted))

    async def get_run(self, caller: Caller, run: Run) -> Response:
        return Response(await self._history.run(caller.tenant, run_of(run)), media_type=JSON)

    async def list_events(
        self,
        caller: Caller,
        run: Run,
        after: Sequence = 0,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> Response:
        """Events after number `after`, in order. `more` says that the page is not the last."""
        events, more = await self._history.events(caller.tenant, run_of(run), after, limit)
        return json_answer({"events": fragments(events), "more": more})

    async def state_at(self, caller: Caller, run: Run, sequence: Sequence = 0) -> Response:
        """`sequence` is the number of an event; 0 or none is the newest."""
        state, digest, at = await self._history.state(caller.tenant, run_of(run), sequence)
        return json_answer({"sequence": at, "state_hash": digest, "state": orjson.Fragment(state)})

    async def export_run(self, caller: Caller, run: Run) -> Response:
        chunks = self._history.export(caller.tenant, run_of(run))
        # Before the answer begins: an unknown run is a 404.
        first = await anext(chunks, b"")

        async def all_chunks() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        name = f'attachment; filename="{run}.jsonl"'
        headers = {"content-disposition": name}
        return StreamingResponse(all_chunks(), headers=headers, media_type=JSON_LINES)

    async def cancel_run(
        self, caller: Caller, run: Run, body: CancelBody | None = None
    ) -> Response:
        """202: the cancellation is durable; the run ends when its open attempts have."""
        reason = body.reason if body is not None else ""
        await self._controlling.cancel(caller, run_of(run), reason)
        return json_answer({"id": run, "status": "cancelling"}, 202)

    async def resume_run(
        self, caller: Caller, run: Run, body: ResumeBody | None = None
    ) -> Response:
        """202: the repair is durable and the run goes on. Any edit that cannot be made refuses
        all of them."""
        edits = [
            Edit(StepKey(one.step), Repair[one.action.upper()], one.value, one.port)
            for one in (body.edits if body is not None else ())
        ]
        await self._controlling.resume(caller, run_of(run), edits)
        return json_answer({"id": run, "status": "resumed"}, 202)

    async def decide_approval(
        self, caller: Caller, run: Run, step: str, body: DecisionBody
    ) -> Response:
        decision = Decision(body.decision, body.comment, body.form)
        await self._controlling.decide(caller, run_of(run), StepKey(step), decision)
        return json_answer({"id": run, "step": step, "decision": body.decision})

    async def usage(
        self,
        caller: Caller,
        start: Annotated[datetime | None, Query(alias="from")] = None,
        end: Annotated[datetime | None, Query(alias="to")] = None,
    ) -> Response:
        """Of the last 30 days where nothing else is said."""
        end = end or datetime.now(UTC)
        from_ms = _ms(start or end - USUAL_SPAN)
        return Response(
            await self._history.usage(caller.tenant, from_ms, _ms(end)), media_type=JSON
        )


def _ms(time: datetime | None) -> int:
    """A time without zone is UTC."""
    if time is None:
        return 0
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
