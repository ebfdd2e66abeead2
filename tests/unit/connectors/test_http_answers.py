"""What HTTP answers mean."""

import base64
from typing import Any

import pytest

from headrace_connectors.domain.http_answers import (
    excerpt_of,
    method_after,
    read_body,
    retry_after_ms,
    shown_headers,
)

NOW_MS = 1_795_608_000_000  # 2026-11-25 12:00:00 UTC


@pytest.mark.parametrize(
    ("value", "wait_ms"),
    [
        (None, 0),
        ("", 0),
        ("7", 7_000),
        (" 7 ", 7_000),
        ("-1", 0),
        ("soon", 0),
        ("999999999999", 24 * 3_600_000),
        ("Wed, 25 Nov 2026 12:00:30 GMT", 30_000),
        ("Wed, 25 Nov 2026 11:00:00 GMT", 0),
        ("Wed, 25 Nov 2126 11:00:00 GMT", 24 * 3_600_000),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, wait_ms: int) -> None:
    assert retry_after_ms(value, NOW_MS) == wait_ms


@pytest.mark.parametrize(
    ("content", "content_type", "body"),
    [
        (b"", "application/json", None),
        (b'{"a": 1}', "application/json; charset=utf-8", {"a": 1}),
        (b"\xef\xbb\xbf[1]", "application/vnd.api+json", [1]),
        ('"é"'.encode("latin-1"), "application/json; charset=latin-1", "é"),
        (b"plain", "text/plain", "plain"),
        ("é".encode("latin-1"), "text/html; charset=iso-8859-1", "é"),
        (b"\xff", "text/plain; charset=no-such", "�"),
        (b"<a/>", "application/xml", "<a/>"),
        (b"a=b", "application/x-www-form-urlencoded", "a=b"),
        (b"7", "", 7),
        (b"seven", "", "seven"),
        (b"\xff\x00", "", {"base64": base64.b64encode(b"\xff\x00").decode()}),
        (b"\x89PNG", "image/png", {"base64": base64.b64encode(b"\x89PNG").decode()}),
    ],
)
def test_a_body_is_read_as_its_type_says(content: bytes, content_type: str, body: Any) -> None:
    assert read_body(content, content_type) == body


@pytest.mark.parametrize("content", [b"{", b"NaN", b'"\\ud800"', b"[" * 5_000 + b"]" * 5_000])
def test_json_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_body(content, "application/json")


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt_of(b"a\n\n  b\xff") == "a b�"
    assert len(excerpt_of(b"x" * 10_000)) == 500


def test_sessions_of_a_server_are_not_shown() -> None:
    assert shown_headers({"Set-Cookie": "s=1", "X-A": "1"}) == {"x-a": "1"}


@pytest.mark.parametrize(
    ("status", "method", "following"),
    [
        (301, "GET", "GET"),
        (302, "HEAD", "HEAD"),
        (301, "POST", None),
        (302, "PUT", None),
        (303, "POST", "GET"),
        (307, "POST", "POST"),
        (308, "DELETE", "DELETE"),
    ],
)
def test_a_redirect_never_turns_a_write_into_a_read_that_hides_it(
    status: int, method: str, following: str | None
) -> None:
    assert method_after(status, method) == following
