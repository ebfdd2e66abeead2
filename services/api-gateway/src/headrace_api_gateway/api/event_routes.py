"""Events and signals: what waiting runs are told from outside."""

from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.answers import json_answer
from headrace_api_gateway.api.guard import Caller, needs, run_of
from headrace_api_gateway.app.events import Events, SignalRequest
from headrace_api_gateway.domain.authorisation import Permission
from headrace_api_gateway.domain.requests import (
    EVENT_KEY_LETTERS_MAX,
    KEY_LETTERS_MAX,
    TOPIC_LETTERS_MAX,
    EventRequest,
    check_topic,
    fingerprint_of,
)


class EventBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": examples.EVENT})

    topic: str = Field(max_length=TOPIC_LETTERS_MAX)
    key: str = Field("", max_length=EVENT_KEY_LETTERS_MAX)
    body: Any = None
    id: str = Field("", max_length=KEY_LETTERS_MAX)


class SignalBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": examples.SIGNAL})

    body: Any = None


class EventRoutes:
    def __init__(self, events: Events) -> None:
        self._events = events

    def add_to(self, app: FastAPI) -> None:
        app.post(
            "/v1/events",
            summary="Publish an event to whoever waits for its topic and key",
            description="Kept for steps that wait later, as long as their `keep` says. The same "
            "`id` again, with the same topic and key, is the same event for a day.",
            status_code=202,
            openapi_extra=needs(Permission.RUNS_START),
            responses=examples.answer(examples.EVENT_TAKEN, 202),
        )(self.publish)
        app.post(
            "/v1/runs/{run}/signals/{name}",
            summary="Signal a run that waits for this topic",
            description="Ends the wait that began first; refused when no step waits for it.",
            openapi_extra=needs(Permission.RUNS_CONTROL),
            responses=examples.answer(examples.SIGNALLED),
        )(self.signal)

    async def publish(self, caller: Caller, body: EventBody, request: Request) -> Response:
        check_topic(body.topic)
        fingerprint = fingerprint_of(await request.body())
        wanted = EventRequest(body.topic, body.key, body.body, body.id, fingerprint)
        taken = await self._events.publish(caller, wanted)
        document = {
            "id": taken.event,
            "topic": body.topic,
            "key": body.key,
            "repeated": taken.repeated,
        }
        return json_answer(document, 202)

    async def signal(
        self,
        caller: Caller,
        run: Annotated[str, Path(examples=[examples.RUN_ID])],
        name: str,
        body: SignalBody | None = None,
        idempotency_key: Annotated[str, Header()] = "",
    ) -> Response:
        content = body.body if body is not None else None
        asked = SignalRequest(name, content, idempotency_key)
        taken = await self._events.signal(caller, run_of(run), asked)
        document = {"id": run, "signal": name, "repeated": taken.repeated}
        return json_answer(document)
