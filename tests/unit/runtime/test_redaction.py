"""Values of secrets in texts and JSON, and the object that holds them."""

import base64
import copy
import json
import pickle
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_core.errors import SetupError
from headrace_core.ids import TenantId
from headrace_runtime.keys import RootKey
from headrace_runtime.redaction import Redactor
from headrace_runtime.secret_text import SecretText
from headrace_runtime.tenant_secrets import SecretSealer

VALUE = 'p/ss "word"+ümläut'
ACME = TenantId("acme")


def redactor(*values: str) -> Redactor:
    return Redactor([SecretText("one", value) for value in values])


@pytest.mark.parametrize(
    "shown",
    [
        VALUE,
        json.dumps(VALUE)[1:-1],
        quote(VALUE, safe=""),
        quote(VALUE, safe="").lower(),
        VALUE.encode().hex(),
        VALUE.encode().hex().upper(),
    ],
)
def test_a_value_is_found_in_each_form(shown: str) -> None:
    assert redactor(VALUE).text(f"before {shown} after") == "before *** after"


@given(before=st.binary(max_size=5), after=st.binary(max_size=5))
def test_a_value_is_found_inside_base64_wherever_it_begins(before: bytes, after: bytes) -> None:
    secret = "a-long-enough-secret"
    text = base64.b64encode(before + secret.encode() + after).decode()
    hidden = redactor(secret).text(text)
    assert "***" in hidden
    assert len(hidden) < len(text) - len(secret)


def test_the_password_of_a_dsn_is_a_secret_too() -> None:
    hidden = redactor("postgresql://reader:s%2Fcret-1@db/shop")
    assert hidden.text("login reader s/cret-1 or s%2Fcret-1") == "login reader *** or ***"


def test_the_token_of_a_scheme_and_the_strings_of_json_are_secrets_too() -> None:
    hidden = redactor("Bearer abcdef-token", '{"key": {"private": ["key-material"]}}')
    assert hidden.text("abcdef-token key-material") == "*** ***"


def test_json_is_walked_with_its_names() -> None:
    document = {"a": ["secret-value", 1, None], "secret-value": {"b": "x secret-value"}}
    assert redactor("secret-value").json(document) == {
        "a": ["***", 1, None],
        "***": {"b": "x ***"},
    }


def test_what_is_nested_too_deeply_is_masked_as_a_whole() -> None:
    document: object = "secret-value"
    for _ in range(80):
        document = [document]
    assert "secret-value" not in json.dumps(redactor("secret-value").json(document))


def test_short_values_and_no_values_change_nothing() -> None:
    document = {"a": "yes"}
    assert redactor("yes").json(document) == document
    assert Redactor([]).json(document) is document


def test_a_secret_shows_itself_nowhere() -> None:
    secret = SecretText("token", "the-value")
    assert "the-value" not in f"{secret!r} {secret} {secret:>20}"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, hash):
        with pytest.raises(TypeError):
            leak(secret)
    assert secret == SecretText("other", "the-value")
    assert secret.reveal() == "the-value"


def test_a_sealed_secret_opens_only_in_its_own_place() -> None:
    sealer = SecretSealer(RootKey(bytes(32)))
    sealed = sealer.seal(ACME, "token", 1, "the-value")
    assert sealer.open(ACME, "token", 1, sealed).reveal() == "the-value"
    for place in ((TenantId("other"), "token", 1), (ACME, "key", 1), (ACME, "token", 2)):
        with pytest.raises(SetupError, match="does not open"):
            sealer.open(*place, sealed)
    with pytest.raises(SetupError, match="root key"):
        SecretSealer(RootKey(b"k" * 32)).open(ACME, "token", 1, sealed)


def test_two_sealings_of_one_value_differ() -> None:
    sealer = SecretSealer(RootKey(bytes(32)))
    assert sealer.seal(ACME, "token", 1, "v") != sealer.seal(ACME, "token", 1, "v")


def test_each_purpose_has_a_key_of_its_own() -> None:
    root = RootKey(bytes(32))
    keys = {root.derive(purpose) for purpose in ("a", "b", "a/b")}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {32}
    assert root.derive("a") == RootKey(bytes(32)).derive("a") != bytes(32)
