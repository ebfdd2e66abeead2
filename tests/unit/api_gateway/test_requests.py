from typing import Any

import pytest

from headrace_api_gateway.domain.requests import (
    KEY_LETTERS_MAX,
    WAIT_MS_MAX,
    StartRequest,
    check_idempotency_key,
    check_label,
    fingerprint_of,
    start_request,
    wait_ms,
)
from headrace_core.errors import InvalidInput


def test_a_workflow_without_a_version_means_its_stable_one() -> None:
    assert start_request({"workflow": "greet"}) == StartRequest("greet", "stable", {}, 0)


@pytest.mark.parametrize(
    ("reference", "version"), [("greet@3", "3"), ("greet@draft", "draft"), ("a-b@x-1", "x-1")]
)
def test_a_version_is_a_number_or_a_label(reference: str, version: str) -> None:
    assert start_request({"workflow": reference}).version == version


def test_every_fault_of_a_start_is_named_at_once() -> None:
    body = {"workflow": "Greet!", "input": [1], "priority": 11, "flow": "greet"}
    with pytest.raises(InvalidInput) as refused:
        start_request(body)
    assert [fault.partition(":")[0] for fault in refused.value.faults] == [
        "flow",
        "workflow",
        "input",
        "priority",
    ]


@pytest.mark.parametrize("body", [None, [], "text", 3])
def test_a_body_that_is_no_object_is_refused_with_an_example(body: Any) -> None:
    with pytest.raises(InvalidInput, match=r'\{"workflow": "name"'):
        start_request(body)


def test_true_is_no_priority() -> None:
    with pytest.raises(InvalidInput):
        start_request({"workflow": "greet", "priority": True})


@pytest.mark.parametrize("key", ["", "a\nb", "x" * (KEY_LETTERS_MAX + 1)])
def test_a_key_that_could_not_stand_in_a_header_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput, match="Idempotency-Key"):
        check_idempotency_key(key)


def test_the_longest_key_is_taken_as_it_is() -> None:
    assert check_idempotency_key("x" * KEY_LETTERS_MAX) == "x" * KEY_LETTERS_MAX


@pytest.mark.parametrize("label", ["", "3", "Stable", "a_b", "-a"])
def test_a_label_that_could_be_a_number_or_a_typing_mistake_is_refused(label: str) -> None:
    with pytest.raises(InvalidInput, match="is no label"):
        check_label(label)


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [(None, 0), ("", 0), ("0", 0), ("2", 2_000), ("500ms", 500), ("30s", 30_000), ("1m", 60_000)],
)
def test_a_wait_has_a_unit_or_means_seconds(text: str | None, expected_ms: int) -> None:
    assert wait_ms(text) == expected_ms


def test_a_longer_wait_is_cut_to_the_longest() -> None:
    assert wait_ms("10m") == WAIT_MS_MAX


@pytest.mark.parametrize("text", ["soon", "-1s", "1.5s", "1h", "s"])
def test_another_wait_is_refused_with_the_forms_that_are_known(text: str) -> None:
    with pytest.raises(InvalidInput, match="500ms, 30s or 1m"):
        wait_ms(text)


def test_a_request_is_known_again_by_its_bytes() -> None:
    assert fingerprint_of(b"{}") == fingerprint_of(b"{}") != fingerprint_of(b"{ }")
