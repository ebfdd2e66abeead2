"""Signatures of webhooks: the published example, forgeries, replays."""

import hashlib
import hmac

import pytest

from headrace_connectors.domain.webhooks import TOLERANCE_S, webhook_fault

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
AT = 1_614_265_330


HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def standard(body: bytes = BODY, at: int = AT, secret: str = SECRET) -> str:
    return webhook_fault("standard-webhooks", secret, HEADERS, body, at)


def with_header(name: str, value: str) -> str:
    return webhook_fault("standard-webhooks", SECRET, HEADERS | {name: value}, BODY, AT)


def test_the_example_of_standard_webhooks_is_verified() -> None:
    assert standard() == ""


def test_one_of_several_signatures_is_enough() -> None:
    both = "v1,AAAA v1a,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert with_header("webhook-signature", both) == ""


@pytest.mark.parametrize(
    "fault",
    [
        standard(BODY + b" "),
        with_header("webhook-id", "msg_2"),
        with_header("webhook-timestamp", str(AT + 1)),
        standard(secret="whsec_AAAA"),
    ],
)
def test_whatever_is_signed_may_not_differ(fault: str) -> None:
    assert fault == "the signature is another"


@pytest.mark.parametrize("away_s", [TOLERANCE_S + 1, -TOLERANCE_S - 1])
def test_an_old_request_and_one_of_the_future_are_refused(away_s: int) -> None:
    assert "s from now" in standard(at=AT + away_s)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_what_is_missing_is_refused(name: str) -> None:
    assert "is missing" in with_header(name, "")


@pytest.mark.parametrize("header", ["x-hub-signature-256", "x-signature-256"])
def test_an_hmac_is_over_the_body_as_it_came(header: str) -> None:
    digest = hmac.new(b"secret", BODY, hashlib.sha256).hexdigest()
    assert webhook_fault("hmac", "secret", {header: f"sha256={digest}"}, BODY, AT) == ""
    assert webhook_fault("hmac", "secret", {header: f"sha256={digest}"}, BODY + b"\n", AT) != ""
    assert webhook_fault("hmac", "other", {header: f"sha256={digest}"}, BODY, AT) != ""
    assert webhook_fault("hmac", "secret", {}, BODY, AT) == "there is no signature"


@pytest.mark.parametrize(
    ("authorization", "fault"),
    [
        ("Bearer s3cret", ""),
        ("bearer s3cret", ""),
        ("Bearer s3cre", "the signature is another"),
        ("Bearer ", "the signature is another"),
        ("Basic s3cret", "there is no signature"),
        ("", "there is no signature"),
    ],
)
def test_a_bearer_is_the_secret_itself(authorization: str, fault: str) -> None:
    assert webhook_fault("bearer", "s3cret", {"authorization": authorization}, b"", AT) == fault


def test_an_empty_secret_and_an_unknown_scheme_verify_nothing() -> None:
    assert webhook_fault("bearer", "", {"authorization": "Bearer "}, b"", AT) != ""
    assert webhook_fault("none", "s", {}, b"", AT) == "the scheme is unknown"
