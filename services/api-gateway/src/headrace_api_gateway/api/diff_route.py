"""GET /v1/runs/{run}/diff: what changed between two events of a run."""

from typing import Annotated

import orjson
from fastapi import FastAPI, Query
from starlette.responses import Response

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.answers import json_answer
from headrace_api_gateway.api.guard import Caller, needs, run_of
from headrace_api_gateway.api.run_routes import Run
from headrace_api_gateway.app.ports import History
from headrace_api_gateway.domain.authorisation import Permission
from headrace_core.run.difference import Change, changes_between

READ = needs(Permission.RUNS_READ)


class DiffRoute:
    def __init__(self, history: History) -> None:
        self._history = history

    def add_to(self, app: FastAPI) -> None:
        app.get(
            "/v1/runs/{run}/diff",
            summary="What differs between the run after two of its events",
            openapi_extra=READ,
            responses=examples.answer(examples.DIFF),
        )(self.diff)

    async def diff(
        self,
        caller: Caller,
        run: Run,
        start: Annotated[int, Query(alias="from", ge=1)] = 1,
        end: Annotated[int, Query(alias="to", ge=0)] = 0,
    ) -> Response:
        """Numbers of events, in any order; without them from the first to the newest."""
        one = run_of(run)
        before, before_hash, _ = await self._history.state(caller.tenant, one, start)
        after, after_hash, last = await self._history.state(caller.tenant, one, end)
        changes, more = changes_between(orjson.loads(before), orjson.loads(after))
        document = {
            "run": run,
            "from": {"sequence": start, "state_hash": before_hash},
            "to": {"sequence": last, "state_hash": after_hash},
            "changes": [_document(change) for change in changes],
            "more": more,
        }
        return json_answer(document)


def _document(change: Change) -> dict[str, object]:
    """What one side does not have is left out on that side."""
    document: dict[str, object] = {"path": change.path}
    if not change.added:
        document["before"] = change.before
    if not change.removed:
        document["after"] = change.after
    return document
