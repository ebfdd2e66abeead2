"""Subscribe: a run's events from any number on, then live."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from headrace.history.v1 import history_service_pb2 as pb
from headrace_core.errors import InvalidInput
from headrace_core.ids import RunId, TenantId
from headrace_history.api.json_text import json_text
from headrace_history.app.follower import Follower

MESSAGE_BYTES = 900_000


async def handle(
    follower: Follower, request: pb.SubscribeRequest
) -> AsyncGenerator[pb.SubscribeResponse, None]:
    if request.after_sequence < 0:
        raise InvalidInput("after_sequence is the number of an event, or 0 for all of them")
    following = follower.follow(
        TenantId(request.tenant), RunId(request.run), request.after_sequence
    )
    async with aclosing(following):
        async for followed in following:
            events: list[bytes] = []
            size = 0
            for text in map(json_text, followed.events):
                if events and size + len(text) > MESSAGE_BYTES:
                    yield pb.SubscribeResponse(events=events)
                    events, size = [], 0
                events.append(text)
                size += len(text)
            yield pb.SubscribeResponse(events=events, ended=followed.ended)
