"""From arguments to the question, and the prompt's hash."""

from typing import Any

import pytest

from headrace_executor.domain.model_faults import ModelFailed
from headrace_executor.domain.prompt import prompt_hash, question_of
from headrace_executor.domain.structured_output import Unsayable

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def arguments(**fields: Any) -> dict[str, Any]:
    return {"prompt": {"user": "hello"}, "schema": SCHEMA, **fields}


def test_system_and_user_are_two_messages_in_this_order() -> None:
    question = question_of(arguments(prompt={"user": "u", "system": "s"}), "small")
    assert question.messages == (("system", "s"), ("user", "u"))
    assert question_of(arguments(), "small").messages == (("user", "hello"),)


def test_the_steps_own_model_comes_before_the_usual_one() -> None:
    assert question_of(arguments(model="large"), "small").model == "large"
    assert question_of(arguments(), "small").model == "small"
    assert question_of(arguments(model="large"), "").model == "large"


def test_without_any_model_it_is_not_configured() -> None:
    with pytest.raises(ModelFailed, match="HEADRACE_AI_MODEL") as failed:
        question_of(arguments(), "")
    assert failed.value.error_type == "ai.not_configured"


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({}, None),
        ({"max_tokens": 9}, 9),
        ({"budget": {"tokens": 7}}, 7),
        ({"max_tokens": 7, "budget": {"tokens": 7}}, 7),
    ],
)
def test_a_budget_bounds_the_answer(fields: dict[str, Any], bound: int | None) -> None:
    assert question_of(arguments(**fields), "small").max_tokens == bound


def test_more_tokens_than_the_budget_has_are_not_asked_for() -> None:
    with pytest.raises(ModelFailed, match="max_tokens is 8, above the budget of 7") as failed:
        question_of(arguments(max_tokens=8, budget={"tokens": 7}), "small")
    assert failed.value.error_type == "ai.budget"


def test_a_schema_beyond_the_strict_form_is_refused() -> None:
    with pytest.raises(Unsayable):
        question_of(arguments(schema={"type": "object"}), "small")


def test_the_hash_is_that_of_the_prompt_as_written() -> None:
    prompt = {"user": "Read ${{ inputs.text }}", "system": "s"}
    first = prompt_hash({"prompt": prompt, "schema": SCHEMA})
    assert len(first) == 64 and set(first) <= set("0123456789abcdef")
    reordered = {"system": "s", "user": "Read ${{ inputs.text }}"}
    assert prompt_hash({"max_tokens": 5, "prompt": reordered}) == first
    assert prompt_hash({"prompt": {**prompt, "system": "t"}}) != first
    whole = prompt_hash("${{ inputs.all }}")
    assert whole not in {first, prompt_hash(None)}
