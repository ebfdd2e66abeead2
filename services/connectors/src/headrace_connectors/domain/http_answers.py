"""What an HTTP answer means: outcome by status, Retry-After, bodies, redirects."""

import base64
import email.utils
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import orjson

from headrace_connector_sdk.action import ActionCall
from headrace_connector_sdk.outcome import Outcome

# Refused before anything was done, and a repeat may help.
REPEATABLE_4XX = frozenset({408, 425})
# The server does not know how, today or tomorrow.
PERMANENT_5XX = frozenset({501, 505})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
RETRY_AFTER_MS_MAX = 24 * 3_600_000
EXCERPT_CHARACTERS = 500
# Not for the log: a session that a server opens is a credential.
HIDDEN_HEADERS = frozenset({"set-cookie"})
# What may follow a redirect to another origin: nothing that a caller set for the first one.
HARMLESS_HEADERS = frozenset({"accept", "accept-encoding", "accept-language", "user-agent"})


def failure_of(
    call: ActionCall, status: int, reason: str, excerpt: str, retry_after_ms: int
) -> Outcome:
    """The outcome of an answer that is neither 2xx nor a redirect to follow."""
    error_type = f"http.{status}"
    message = f"The server answered {status} {reason}".rstrip()
    if excerpt:
        message += f": {excerpt}"
    if status == 401:
        return Outcome.auth_expired(error_type, message)
    if status == 429:
        return Outcome.rate_limited(error_type, message, retry_after_ms)
    if status in REPEATABLE_4XX:
        return Outcome.retry(error_type, message, retry_after_ms=retry_after_ms)
    if status >= 500 and status not in PERMANENT_5XX:
        # A proxy may have answered for a server that had already begun.
        return call.lost(error_type, message, retry_after_ms)
    return Outcome.permanent(error_type, message)


def retry_after_ms(value: str | None, now_ms: int) -> int:
    """Of a Retry-After header: seconds or an HTTP date (RFC 9110, 10.2.3); 0 if there is none."""
    if not value:
        return 0
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]) * 1000, RETRY_AFTER_MS_MAX)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0, min(int(date.timestamp() * 1000) - now_ms, RETRY_AFTER_MS_MAX))


def read_body(content: bytes, content_type: str) -> Any:
    """JSON as a value, text as text, anything else as {"base64": ...}; None where there is none.

    Raises ValueError for what says that it is JSON and is not.
    """
    if not content:
        return None
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    if is_json(media_type):
        return _json(content, parameters)
    if media_type.startswith("text/") or media_type.endswith(("xml", "yaml", "javascript")):
        return _decoded(content, parameters)
    if media_type == "application/x-www-form-urlencoded":
        return _decoded(content, parameters)
    if not media_type:
        # Nothing said: JSON if it is, else text if it is.
        try:
            return _json(content, parameters)
        except ValueError:
            pass
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass
    return {"base64": base64.b64encode(content).decode()}


def is_json(media_type: str) -> bool:
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def excerpt_of(content: bytes) -> str:
    """The beginning of an error's body, on one line."""
    text = content[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace")
    return " ".join(text.split())[:EXCERPT_CHARACTERS]


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name.lower(): value for name, value in headers.items() if name.lower() not in HIDDEN_HEADERS
    }


def method_after(status: int, method: str) -> str | None:
    """The method of the next request after a redirect; None if it must not be followed.

    After 301 and 302 clients disagree on what becomes of a POST; turning a write into a read would
    report an effect that never happened.
    """
    if status in (307, 308) or method in ("GET", "HEAD"):
        return method
    return "GET" if status == 303 else None


def _json(content: bytes, parameters: str) -> Any:
    if "charset" in parameters.lower():
        return orjson.loads(_decoded(content, parameters))
    return orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))


def _decoded(content: bytes, parameters: str) -> str:
    charset = "utf-8"
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip("'\"")
    try:
        return content.decode(charset, "replace")
    except LookupError:
        return content.decode("utf-8", "replace")
