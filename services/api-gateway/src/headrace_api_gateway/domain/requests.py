"""Requests to start a run, checked and turned into what the scheduler takes. Pure."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, cast

from headrace_core.errors import InvalidInput

KEY_LETTERS_MAX = 255
WAIT_MS_MAX = 60_000
TOPIC_LETTERS_MAX = 200
EVENT_KEY_LETTERS_MAX = 500
_REFERENCE = re.compile(r"(?P<flow>[a-z][a-z0-9-]{0,62})(?:@(?P<version>[0-9]+|[a-z][a-z0-9-]*))?")
_LABEL = re.compile(r"[a-z][a-z0-9-]{0,62}")
_WAIT = re.compile(r"(?P<number>[0-9]+)(?P<unit>ms|s|m)?")
_UNITS_MS = {"ms": 1, "s": 1_000, None: 1_000, "m": 60_000}
DEFAULT_LABEL = "stable"


@dataclass(frozen=True, slots=True)
class StartRequest:
    """`version` is a number or a label. `input` holds the fields as the client gave them."""

    flow: str
    version: str
    input: dict[str, Any]
    priority: int


def start_request(document: Any) -> StartRequest:
    """Raises InvalidInput that lists every fault of the body."""
    if not isinstance(document, dict):
        raise InvalidInput('The body must be a JSON object: {"workflow": "name", "input": {}}.')
    body = cast("dict[str, Any]", document)
    faults = [f"{name}: unknown field" for name in sorted(set(body) - _FIELDS)]
    reference = body.get("workflow")
    match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
    if match is None:
        faults.append("workflow: must be a name, or name@version with a number or a label")
    fields = body.get("input", {})
    if not isinstance(fields, dict):
        faults.append("input: must be an object")
    priority = body.get("priority", 0)
    if not isinstance(priority, int) or isinstance(priority, bool) or not -10 <= priority <= 10:
        faults.append("priority: must be an integer from -10 to 10")
    if faults:
        raise InvalidInput("The request cannot be read.", faults)
    assert match is not None
    return StartRequest(
        match["flow"],
        match["version"] or DEFAULT_LABEL,
        cast("dict[str, Any]", fields),
        cast(int, priority),
    )


@dataclass(frozen=True, slots=True)
class EventRequest:
    """`id` is the client's own, empty without; `fingerprint` is of the request as it came."""

    topic: str
    key: str
    body: Any
    id: str
    fingerprint: bytes


def check_topic(topic: str) -> str:
    """Raises InvalidInput."""
    if not topic or len(topic) > TOPIC_LETTERS_MAX or not topic.isprintable():
        raise InvalidInput(f"A topic must be 1 to {TOPIC_LETTERS_MAX} printable characters.")
    return topic


def fingerprint_of(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def check_idempotency_key(key: str) -> str:
    """Raises InvalidInput."""
    if not key or len(key) > KEY_LETTERS_MAX or not key.isprintable():
        raise InvalidInput(f"Idempotency-Key must be 1 to {KEY_LETTERS_MAX} printable characters.")
    return key


def check_label(label: str) -> str:
    """Raises InvalidInput."""
    if not _LABEL.fullmatch(label):
        raise InvalidInput(
            f"{label!r} is no label: a letter, then letters, digits and dashes, all lower case."
        )
    return label


def wait_ms(text: str | None) -> int:
    """`30s`, `500ms`, `1m` or seconds; 0 without. Raises InvalidInput."""
    if not text:
        return 0
    match = _WAIT.fullmatch(text)
    if match is None:
        raise InvalidInput(f"wait={text!r} is no duration: write 500ms, 30s or 1m.")
    asked_ms = int(match["number"]) * _UNITS_MS[match["unit"]]
    return min(asked_ms, WAIT_MS_MAX)


_FIELDS = frozenset({"workflow", "input", "priority"})
