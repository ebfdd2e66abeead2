"""Answers of an OpenAI-compatible endpoint, in the shapes that such endpoints were seen to give."""

import json
from collections.abc import Mapping
from typing import Any

from tests.support.far_server import Answer, Received

JSON = {"content-type": "application/json"}


def completion(
    content: Any, *, finish: str = "stop", tokens: tuple[int, int] | None = (20, 5), **message: Any
) -> Answer:
    """`content` that is no text is written as JSON; `tokens` are those read and written."""
    text = content if isinstance(content, str | None) else json.dumps(content)
    document: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "small-2026-09-01",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "logprobs": None,
                "message": {"role": "assistant", "content": text, "refusal": None, **message},
            }
        ],
    }
    if tokens is not None:
        read, written = tokens
        document["usage"] = {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }
    return Answer(body=json.dumps(document).encode(), headers=JSON)


def error(
    status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    document = {"error": {"message": message, "type": "error", "param": None, "code": code or None}}
    body = json.dumps(document).encode()
    return Answer(status, body, {**JSON, **(headers or {})})


def asked(received: Received) -> dict[str, Any]:
    """The request's document."""
    return json.loads(received.body)
