"""What answers of JSON have in common."""

from collections.abc import Sequence

import orjson
from starlette.responses import Response

JSON = "application/json"


def json_answer(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type=JSON)


def json_page(name: str, documents: Sequence[bytes], cursor: str) -> Response:
    """A page of a list; `cursor` asks for the next one, empty on the last."""
    return json_answer({name: fragments(documents), "next_cursor": cursor or None})


def fragments(documents: Sequence[bytes]) -> list[orjson.Fragment]:
    """Documents that are JSON already, to stand in another."""
    return [orjson.Fragment(document) for document in documents]
