"""Documents as JSON. Opened payloads are put in as they are, without being parsed."""

import orjson

from headrace_history.domain.rendering import Document, JsonText


def json_text(document: Document) -> bytes:
    return orjson.dumps(document, default=_fragment, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def _fragment(value: object) -> orjson.Fragment:
    if isinstance(value, JsonText):
        return orjson.Fragment(value.text)
    raise TypeError(f"a document cannot hold a {type(value).__name__}")
