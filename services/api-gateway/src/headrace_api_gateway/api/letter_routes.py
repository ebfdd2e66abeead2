"""Dead letters: calls that failed for good and that nothing in the definition took over."""

from typing import Annotated

from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.answers import JSON, json_answer, json_page
from headrace_api_gateway.api.guard import Caller, needs
from headrace_api_gateway.app.letters import Letters
from headrace_api_gateway.app.ports import History, LetterFilter
from headrace_api_gateway.domain.authorisation import Permission

READ, CONTROL = needs(Permission.RUNS_READ), needs(Permission.RUNS_CONTROL)
LetterName = Annotated[str, Path(examples=[examples.LETTER_ID])]


class LetterBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": examples.LETTER_REASON})

    reason: str = Field("", max_length=2_000)


class LetterRoutes:
    def __init__(self, history: History, letters: Letters) -> None:
        self._history = history
        self._letters = letters

    def add_to(self, app: FastAPI) -> None:
        one = "/v1/letters/{letter}"
        app.get(
            "/v1/letters",
            summary="List dead letters, newest first",
            description="`status` is open, replayed or discarded; empty for all.",
            openapi_extra=READ,
            responses=examples.answer(examples.LETTER_LIST),
        )(self.list_letters)
        app.get(
            one,
            summary="A dead letter with what its error says",
            openapi_extra=READ,
            responses=examples.answer(examples.LETTER),
        )(self.get_letter)
        app.post(
            f"{one}/replay",
            summary="Replay a dead letter",
            description="A suspended run goes on and tries its failed steps again. Of an ended run "
            "a fork begins, in which the letter's step and all that failed runs again, with new "
            "effects. With `preview=true` nothing is started and the answer is 200. A letter is "
            "decided once.",
            status_code=202,
            openapi_extra=CONTROL,
            responses=examples.answer(examples.REPLAYED_LETTER, 202),
        )(self.replay)
        app.post(
            f"{one}/discard",
            summary="Discard a dead letter",
            description="Nothing is tried again. A letter is decided once.",
            openapi_extra=CONTROL,
            responses=examples.answer(examples.DISCARDED_LETTER),
        )(self.discard)

    async def list_letters(
        self,
        caller: Caller,
        workflow: str = "",
        status: str = "",
        run: str = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        cursor: str = "",
    ) -> Response:
        wanted = LetterFilter(flow=workflow, status=status, run=run, limit=limit, cursor=cursor)
        return json_page("letters", *await self._history.letters(caller.tenant, wanted))

    async def get_letter(self, caller: Caller, letter: LetterName) -> Response:
        return Response(await self._history.letter(caller.tenant, letter), media_type=JSON)

    async def replay(
        self,
        caller: Caller,
        letter: LetterName,
        body: LetterBody | None = None,
        preview: Annotated[bool, Query()] = False,  # noqa: FBT002 - a query parameter
    ) -> Response:
        if preview:
            planned = await self._letters.preview(caller, letter)
            return json_answer({"id": letter, **(planned.document() if planned else {})})
        reason = body.reason if body is not None else ""
        started, planned = await self._letters.replay(caller, letter, reason)
        answer = {
            "id": letter,
            "status": "replayed",
            "as_run": started.run,
            "url": f"/v1/runs/{started.run}",
            **(planned.document() if planned else {}),
        }
        return json_answer(answer, 202)

    async def discard(
        self, caller: Caller, letter: LetterName, body: LetterBody | None = None
    ) -> Response:
        reason = body.reason if body is not None else ""
        discarded = await self._letters.discard(caller, letter, reason)
        return json_answer({"id": discarded.letter, "status": "discarded"})
