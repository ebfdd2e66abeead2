"""From the arguments of `ai.extract` to the question that is asked, and the prompt's hash."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

from headrace_executor.domain.model_answer import Question
from headrace_executor.domain.model_faults import BUDGET, NOT_CONFIGURED, ModelFailed
from headrace_executor.domain.structured_output import strict_form


def question_of(arguments: Mapping[str, Any], model: str) -> Question:
    """Of arguments that fit the descriptor; `model` is asked where they name none.

    Raises ModelFailed where no model is named or the budget does not allow it, Unsayable for a
    schema that the strict form cannot express.
    """
    named = arguments.get("model") or model
    if not named:
        raise ModelFailed(
            NOT_CONFIGURED,
            "no model is configured: set HEADRACE_AI_MODEL, or write `model` in the step",
        )
    return Question(
        model=named,
        messages=_messages(arguments["prompt"]),
        schema=strict_form(arguments["schema"]),
        max_tokens=_max_tokens(arguments),
        temperature=arguments.get("temperature"),
    )


def prompt_hash(written: Any) -> str:
    """Of the prompt as the flow has it, before evaluation.

    So it says which prompt was used, over all runs, and tells nothing of the data that was filled
    in: a hash of that could be guessed, and would stay in the log when the data's key is erased.
    Where the flow has no `prompt` of its own (all of `with` is one expression), of that.
    """
    if isinstance(written, Mapping):
        members = cast("Mapping[str, Any]", written)
        written = members.get("prompt", members)
    text = json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _messages(prompt: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    user = ("user", prompt["user"])
    return (("system", prompt["system"]), user) if prompt.get("system") else (user,)


def _max_tokens(arguments: Mapping[str, Any]) -> int | None:
    """A budget without `max_tokens` bounds the answer itself."""
    max_tokens = arguments.get("max_tokens")
    budget = arguments["budget"]["tokens"] if "budget" in arguments else None
    if max_tokens is None or budget is None:
        return budget if max_tokens is None else max_tokens
    if max_tokens > budget:
        raise ModelFailed(
            BUDGET, f"max_tokens is {max_tokens}, above the budget of {budget} tokens: not asked"
        )
    return max_tokens
