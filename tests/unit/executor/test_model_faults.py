"""What the answers of an endpoint mean: faults in the words of `retry.on`, completions as text."""

from typing import Any

import pytest

from headrace_core.policy.retry import is_retryable
from headrace_core.workflow.plan import RetryPolicy
from headrace_executor.domain.model_answer import error_parts, read_answer, text_of
from headrace_executor.domain.model_faults import ModelFailed, fault_of_status, retry_after_ms

NOW_MS = 1_790_000_000_000
TOO_LONG = "This model's maximum context length is 4096 tokens."


def completion(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("status", "codes", "message", "error_type"),
    [
        (401, {"invalid_api_key"}, "no", "auth"),
        (403, set[str](), "no", "auth"),
        (429, {"rate_limit_exceeded"}, "slower", "http.429"),
        (429, {"insufficient_quota"}, "pay", "ai.budget.provider"),
        (400, {"context_length_exceeded"}, "no", "ai.context_too_long"),
        (400, {"exceed_context_size_error", "400"}, "no", "ai.context_too_long"),
        (400, set[str](), TOO_LONG, "ai.context_too_long"),
        (400, {"content_filter"}, "no", "ai.content_filter"),
        (400, {"invalid_json_schema"}, "no", "http.400"),
        (404, {"model_not_found"}, "no such model", "http.404"),
        (408, set[str](), "", "http.408"),
        (500, set[str](), TOO_LONG, "http.500"),
        (503, set[str](), "loading", "http.503"),
    ],
)
def test_a_status_becomes_a_typed_fault(
    status: int, codes: set[str], message: str, error_type: str
) -> None:
    fault = fault_of_status(status, frozenset(codes), message, 500)
    assert fault.error_type == error_type
    assert str(status) in fault.message and message in fault.message


@pytest.mark.parametrize(
    ("error_type", "retried"),
    [
        ("http.429", True),
        ("http.500", True),
        ("network", True),
        ("timeout.attempt", True),
        ("ai.schema_mismatch", True),
        ("ai.truncated", True),
        ("ai.content_filter", True),
        ("ai.protocol", True),
        ("ai.refusal", False),
        ("ai.budget", False),
        ("ai.budget.provider", False),
        ("ai.context_too_long", False),
        ("ai.not_configured", False),
        ("auth", False),
        ("http.404", False),
    ],
)
def test_only_what_may_be_otherwise_next_time_is_tried_again(
    error_type: str, *, retried: bool
) -> None:
    assert is_retryable(RetryPolicy(max_attempts=3), error_type) is retried


@pytest.mark.parametrize(
    ("precise", "value", "wait_ms"),
    [
        (None, None, 0),
        (None, "2", 2_000),
        (None, "1.5", 1_500),
        ("250", "7", 250),
        (None, "99999999", 86_400_000),
        (None, "Mon, 21 Sep 2026 14:13:30 GMT", 10_000),
        (None, "Mon, 21 Sep 2026 14:13:10 GMT", 0),
        (None, "soon", 0),
        ("nan", "-1", 0),
    ],
)
def test_a_wish_to_wait_is_read(precise: str | None, value: str | None, wait_ms: int) -> None:
    assert retry_after_ms(precise, value, NOW_MS) == wait_ms


def test_a_completion_is_read_with_its_tokens() -> None:
    document = {
        **completion({"content": "text", "refusal": None}),
        "usage": {"prompt_tokens": 11, "completion_tokens": 3},
    }
    answer = read_answer(document)
    assert (text_of(answer), answer.input_tokens, answer.output_tokens) == ("text", 11, 3)


def test_tokens_that_are_not_counted_are_none() -> None:
    for usage in (None, {}, {"prompt_tokens": None, "completion_tokens": -4}, "many"):
        answer = read_answer({**completion({"content": "x"}), "usage": usage})
        assert (answer.input_tokens, answer.output_tokens) == (0, 0)


def test_an_answer_in_parts_is_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "other"}, {"type": "text", "text": "b"}]
    assert text_of(read_answer(completion({"content": parts}))) == "ab"


@pytest.mark.parametrize(
    ("message", "finish", "error_type"),
    [
        ({"content": None, "refusal": "I cannot."}, "stop", "ai.refusal"),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "stop", "ai.refusal"),
        ({"content": '{"a": 1}'}, "length", "ai.truncated"),
        ({"content": ""}, "content_filter", "ai.content_filter"),
    ],
)
def test_an_answer_that_is_none_is_a_typed_fault(
    message: dict[str, Any], finish: str, error_type: str
) -> None:
    answer = read_answer(completion(message, finish))
    with pytest.raises(ModelFailed) as failed:
        text_of(answer)
    assert failed.value.error_type == error_type


@pytest.mark.parametrize("document", [None, [], {}, {"choices": []}, {"choices": None}, "hello"])
def test_what_is_no_completion_is_a_fault_of_the_protocol(document: Any) -> None:
    with pytest.raises(ModelFailed) as failed:
        read_answer(document)
    assert failed.value.error_type == "ai.protocol"


def test_a_fault_that_comes_with_status_200_is_a_fault() -> None:
    with pytest.raises(ModelFailed) as failed:
        read_answer({"error": {"code": 429, "message": "upstream is busy"}})
    assert failed.value.error_type == "http.429"
    assert "upstream is busy" in failed.value.message


@pytest.mark.parametrize(
    ("document", "codes", "message"),
    [
        ({"error": {"code": "c", "type": "t", "message": "m"}}, {"c", "t"}, "m"),
        ({"error": "m"}, set[str](), "m"),
        ({"detail": "m"}, set[str](), "m"),
        ({"message": "m", "code": 5}, {"5"}, "m"),
        ("<html>m</html>", set[str](), "<html>m</html>"),
        (None, set[str](), ""),
        ({"error": {"message": ["m"]}}, set[str](), ""),
    ],
)
def test_an_error_document_gives_codes_and_a_message(
    document: Any, codes: set[str], message: str
) -> None:
    assert error_parts(document) == (frozenset(codes), message)
