"""Whether a webhook was sent by whoever holds the secret. Pure; compares in constant time."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping

TOLERANCE_S = 300
"""So far a signed time may be from now: an older request is a replay."""
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
HMAC_HEADERS = ("x-hub-signature-256", "x-signature-256")
_STANDARD_PREFIX = "whsec_"
Headers = Mapping[str, str]


def webhook_fault(scheme: str, secret: str, headers: Headers, body: bytes, now_s: int) -> str:
    """Why the request is not to be believed, or the empty text. Header names in lower case."""
    check = _SCHEMES.get(scheme)
    return check(secret, headers, body, now_s) if check is not None else "the scheme is unknown"


def _standard(secret: str, headers: Headers, body: bytes, now_s: int) -> str:
    """Standard Webhooks, symmetric: HMAC-SHA256 over id, time and body."""
    message, time, signatures = (headers.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE))
    if not message or not time or not signatures:
        return f"{ID}, {TIMESTAMP} or {SIGNATURE} is missing"
    if not time.isascii() or not time.isdigit() or abs(int(time) - now_s) > TOLERANCE_S:
        return f"{TIMESTAMP} is more than {TOLERANCE_S} s from now"
    try:
        key = base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True)
    except binascii.Error:
        return "the secret is not base64 after its whsec_"
    signed = f"{message}.{time}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    given = [one.partition(",")[2] for one in signatures.split() if one.startswith("v1,")]
    return _unless_one_equals(expected, given)


def _hmac(secret: str, headers: Headers, body: bytes, now_s: int) -> str:
    """`sha256=<hex>` over the body. It holds no time: only `dedupe` helps against a replay."""
    expected = hmac.digest(secret.encode(), body, hashlib.sha256).hex().encode()
    found = [headers[name] for name in HMAC_HEADERS if name in headers]
    given = [one.removeprefix("sha256=").lower() for one in found]
    return _unless_one_equals(expected, given)


def _bearer(secret: str, headers: Headers, body: bytes, now_s: int) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = [token.strip()] if scheme.lower() == "bearer" else []
    return _unless_one_equals(secret.encode(), given)


def _unless_one_equals(expected: bytes, given: list[str]) -> str:
    if not expected:
        return "the secret is empty"
    if not given:
        return "there is no signature"
    equal = [hmac.compare_digest(expected, one.encode()) for one in given]
    return "" if any(equal) else "the signature is another"


_SCHEMES: Mapping[str, Callable[[str, Headers, bytes, int], str]] = {
    "standard-webhooks": _standard,
    "hmac": _hmac,
    "bearer": _bearer,
}
