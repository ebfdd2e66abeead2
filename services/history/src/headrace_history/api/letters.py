"""ListLetters and GetLetter."""

from headrace.history.v1 import history_service_pb2 as pb
from headrace_core.ids import TenantId
from headrace_history.api.json_text import json_text
from headrace_history.app.letter_list import LetterList


async def handle_list(
    letters: LetterList, request: pb.ListLettersRequest
) -> pb.ListLettersResponse:
    found, cursor = await letters.page(
        TenantId(request.tenant),
        request.flow,
        request.status,
        request.run,
        request.limit,
        request.cursor,
    )
    return pb.ListLettersResponse(letters=list(map(json_text, found)), next_cursor=cursor)


async def handle_get(letters: LetterList, request: pb.GetLetterRequest) -> pb.GetLetterResponse:
    document = await letters.one(TenantId(request.tenant), request.letter)
    return pb.GetLetterResponse(letter=json_text(document))
