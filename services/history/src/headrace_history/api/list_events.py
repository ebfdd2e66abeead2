"""ListEvents: a page of a run's events."""

from headrace.history.v1 import history_service_pb2 as pb
from headrace_core.errors import InvalidInput
from headrace_core.ids import RunId, TenantId
from headrace_history.api.json_text import json_text
from headrace_history.app.event_list import EventList


async def handle(events: EventList, request: pb.ListEventsRequest) -> pb.ListEventsResponse:
    if request.after_sequence < 0:
        raise InvalidInput("after_sequence is the number of an event, or 0 for all of them")
    documents, more = await events.page(
        TenantId(request.tenant), RunId(request.run), request.after_sequence, request.limit
    )
    return pb.ListEventsResponse(events=[json_text(document) for document in documents], more=more)
