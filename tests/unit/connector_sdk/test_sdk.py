"""Outcomes, authorisation and typed input: what an author of a connector relies on."""

from dataclasses import dataclass
from typing import Any

import pytest

from headrace_connector_sdk import (
    ActionCall,
    ActionDescriptor,
    ActionInput,
    BadInput,
    Effect,
    Idempotency,
    Outcome,
    Word,
    authorisation_of,
    read_input,
)


@dataclass
class NoContext:
    """These calls need nothing of the service."""

    async def open_secret(self, name: str) -> Any:
        raise AssertionError(name)

    def hide(self, value: str) -> None:
        raise AssertionError

    def acting(self) -> None:
        raise AssertionError


def call(effect: Effect, idempotency: Idempotency, key: str) -> ActionCall:
    action = ActionDescriptor(
        name="x.y",
        version="1.0.0",
        title="",
        effect=effect,
        idempotency=idempotency,
        input_schema={},
    )
    return ActionCall(
        tenant="acme",
        action=action,
        input={},
        idempotency_key=key,
        timeout_s=1,
        context=NoContext(),
    )


@pytest.mark.parametrize(
    ("effect", "idempotency", "key", "word", "acted"),
    [
        (Effect.READ, Idempotency.NONE, "", Word.RETRY, False),
        (Effect.NONE, Idempotency.NONE, "", Word.RETRY, False),
        (Effect.WRITE, Idempotency.HEADER, "k", Word.RETRY, True),
        (Effect.WRITE, Idempotency.PROBE, "k", Word.RETRY, True),
        (Effect.DESTRUCTIVE, Idempotency.NATURAL, "k", Word.RETRY, True),
        (Effect.WRITE, Idempotency.HEADER, "", Word.UNKNOWN_OUTCOME, True),
        (Effect.WRITE, Idempotency.NATURAL, "", Word.UNKNOWN_OUTCOME, True),
        (Effect.WRITE, Idempotency.NONE, "k", Word.UNKNOWN_OUTCOME, True),
    ],
)
def test_what_a_lost_answer_means_follows_from_the_action(
    effect: Effect, idempotency: Idempotency, key: str, word: Word, *, acted: bool
) -> None:
    outcome = call(effect, idempotency, key).lost("network", "cut")
    assert (outcome.word, outcome.may_have_acted) == (word, acted)


def test_an_outcome_that_says_nothing_was_done_cannot_say_that_something_may_have_been() -> None:
    for word in (Word.PERMANENT, Word.AUTH_EXPIRED, Word.RATE_LIMITED):
        with pytest.raises(AssertionError):
            Outcome(word=word, error_type="x", may_have_acted=True)
    with pytest.raises(AssertionError):
        Outcome(word=Word.PERMANENT)
    with pytest.raises(AssertionError):
        Outcome(word=Word.SUCCESS, error_type="x")


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ("token", "Bearer token"),
        (" token\n", "Bearer token"),
        ("Basic dXNlcjpw", "Basic dXNlcjpw"),
        ("bearer abc", "bearer abc"),
        ("Bot abc", "Bot abc"),
    ],
)
def test_auth_is_a_token_or_a_scheme_with_its_value(auth: str, header: str) -> None:
    found = authorisation_of(auth)
    assert found.header == header
    assert auth.strip() not in repr(found)


@pytest.mark.parametrize("auth", ["", "  ", "two words", "a\r\nX: y", "\u20ac-token"])
def test_auth_that_no_header_can_hold_is_refused_without_showing_it(auth: str) -> None:
    with pytest.raises(ValueError, match="`auth`") as refused:
        authorisation_of(auth)
    assert not auth.strip() or auth not in str(refused.value)


class Mail(ActionInput):
    to: str
    copies: int = 1


def test_input_is_strict_closed_and_silent_about_values() -> None:
    assert read_input(Mail, {"to": "a@example.com"}) == Mail(to="a@example.com")
    with pytest.raises(BadInput) as refused:
        read_input(Mail, {"to": 7, "copies": "3-secret", "cc": "hidden-value"})
    assert str(refused.value) == (
        "to: Input should be a valid string; copies: Input should be a valid integer; "
        "cc: Extra inputs are not permitted"
    )
