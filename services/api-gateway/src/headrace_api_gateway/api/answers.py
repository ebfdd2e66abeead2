"""What answers of JSON have in common."""

import orjson
from starlette.responses import Response

JSON = "application/json"


def json_answer(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type=JSON)
