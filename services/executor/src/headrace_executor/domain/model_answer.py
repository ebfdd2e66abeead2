"""What is asked of a model, and what its answer says: the shape of OpenAI's chat completions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from headrace_executor.domain.model_faults import (
    CONTENT_FILTER,
    PROTOCOL,
    REFUSAL,
    TRUNCATED,
    ModelFailed,
    excerpt_of,
    fault_of_status,
)

_TOKENS_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`messages` are (role, text); `schema` is in the strict form."""

    model: str
    messages: tuple[tuple[str, str], ...]
    schema: Mapping[str, Any]
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Tokens are 0 where the endpoint does not count them."""

    text: str
    refusal: str = ""
    finish: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


def read_answer(document: Any) -> Answer:
    """Raises ModelFailed for what is no chat completion."""
    members = _members(document)
    choices = members.get("choices")
    if not isinstance(choices, list) or not choices:
        # Some gateways report the fault of what is behind them with status 200.
        raise _reported(members)
    choice = _members(cast("list[Any]", choices)[0])
    message = _members(choice.get("message"))
    usage = _members(members.get("usage"))
    parts = message.get("content")
    return Answer(
        text=_text(parts, "text"),
        refusal=_text(message.get("refusal"), "") or _text(parts, "refusal", only_parts=True),
        finish=_text(choice.get("finish_reason"), ""),
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def text_of(answer: Answer) -> str:
    """The whole text of an answer. Raises ModelFailed for one that is no answer, or a part."""
    if answer.refusal:
        raise ModelFailed(REFUSAL, f"the model refused: {excerpt_of(answer.refusal)}")
    if answer.finish == "content_filter":
        raise ModelFailed(CONTENT_FILTER, "the provider's content filter cut the answer off")
    if answer.finish == "length":
        raise ModelFailed(
            TRUNCATED,
            f"the answer was cut off after {answer.output_tokens} tokens: raise `max_tokens`,"
            " or ask for less",
        )
    return answer.text


def error_parts(document: Any) -> tuple[frozenset[str], str]:
    """The codes and the message of an error document; whatever it is, some message."""
    members = _members(document)
    error = members.get("error", members)
    if isinstance(error, str):
        return frozenset(), error
    parts = _members(error)
    codes = frozenset(str(parts[name]) for name in ("code", "type") if parts.get(name))
    message = parts.get("message") or parts.get("detail") or members.get("detail")
    if message is None and isinstance(document, str):
        message = document
    return codes, message if isinstance(message, str) else ""


def _reported(members: Mapping[str, Any]) -> ModelFailed:
    codes, message = error_parts(members)
    for code in codes:
        if code.isascii() and code.isdigit() and 400 <= int(code[:9]) <= 599:
            return fault_of_status(int(code), codes, message)
    said = f": {excerpt_of(message)}" if message else ""
    return ModelFailed(
        PROTOCOL, f"the model's endpoint answered with something else than a completion{said}"
    )


def _members(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _text(value: Any, member: str, *, only_parts: bool = False) -> str:
    """A text, or that member of each part of a list of parts."""
    if isinstance(value, str):
        return "" if only_parts else value
    if not member or not isinstance(value, Sequence):
        return ""
    parts = (_members(part).get(member) for part in cast("Sequence[Any]", value))
    return "".join(part for part in parts if isinstance(part, str))


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return max(0, min(value, _TOKENS_MAX))
