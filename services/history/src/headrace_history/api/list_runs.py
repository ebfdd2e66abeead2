"""ListRuns: a page of a tenant's runs."""

from headrace.history.v1 import history_service_pb2 as pb
from headrace_core.errors import InvalidInput
from headrace_core.ids import TenantId
from headrace_core.run.status import RunStatus
from headrace_history.api.json_text import json_text
from headrace_history.app.ports import RunFilter
from headrace_history.app.run_list import RunList


async def handle(runs: RunList, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
    wanted = RunFilter(
        flow=request.flow,
        status=_status(request.status) if request.status else None,
        started_after_ms=request.started_after_ms,
        started_before_ms=request.started_before_ms,
    )
    page = await runs.page(TenantId(request.tenant), wanted, request.limit, request.cursor)
    return pb.ListRunsResponse(
        runs=[json_text(document) for document in page.runs], next_cursor=page.cursor
    )


def _status(text: str) -> RunStatus:
    for status in RunStatus:
        if status.text == text:
            return status
    known = ", ".join(status.text for status in RunStatus)
    raise InvalidInput(f"{text!r} is no status of a run: it is one of {known}")
