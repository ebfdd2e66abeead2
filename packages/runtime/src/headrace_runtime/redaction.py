"""Takes the values of secrets out of texts and JSON before anything is stored.

A net below the real rule, which is that a secret is never put there: a value that was transformed
in another way than the ones known here (base64, URL, JSON, hexadecimal) is not found. It works on
what one call used, and must run before an event is written, since the log cannot be cleaned.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote, quote_plus, unquote, urlsplit

from headrace_runtime.secret_text import MASK, SecretText

CHARACTERS_MIN = 6
"""Shorter values are left: they occur by chance, and replacing them would destroy results."""
_DEPTH_MAX = 64


class Redactor:
    """For the secrets of one call. Without secrets everything passes as it is."""

    def __init__(self, secrets: Iterable[SecretText]) -> None:
        parts = {part for secret in secrets for part in _parts(secret.reveal())}
        forms = {form for part in parts for form in _forms(part)}
        # Longest first: a form may be the beginning of another.
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    def json(self, value: Any) -> Any:
        """The value with every string in it redacted, names of members too."""
        return self._walk(value, 0) if self._pattern else value

    def _walk(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if depth >= _DEPTH_MAX and isinstance(value, list | dict):
            # Deeper than any answer that is meant to be read: better lost than leaked.
            return MASK
        if isinstance(value, list):
            return [self._walk(one, depth + 1) for one in cast("list[Any]", value)]
        if isinstance(value, dict):
            members = cast("Mapping[str, Any]", value).items()
            return {self.text(name): self._walk(one, depth + 1) for name, one in members}
        return value


def _parts(value: str) -> Iterator[str]:
    """The secret itself, and those of its fields that are secrets too."""
    found = [value, value.strip(), *_words(value), *_password_of_url(value), *_json_strings(value)]
    yield from (part for part in found if len(part) >= CHARACTERS_MIN)


def _words(value: str) -> Iterator[str]:
    """`Bearer abc`: the token alone."""
    scheme, _, token = value.partition(" ")
    if scheme.isalpha():
        yield token.strip()


def _password_of_url(value: str) -> Iterator[str]:
    if "://" not in value:
        return
    try:
        password = urlsplit(value).password
    except ValueError:
        return
    if password:
        yield password
        yield unquote(password)


def _json_strings(value: str) -> Iterator[str]:
    if value[:1] not in ("{", "["):
        return
    try:
        open_ends: list[Any] = [json.loads(value)]
    except (ValueError, RecursionError):
        return
    while open_ends:
        one = open_ends.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            open_ends += cast("list[Any]", one)
        elif isinstance(one, dict):
            open_ends += cast("dict[str, Any]", one).values()


def _forms(part: str) -> Iterator[str]:
    raw = part.encode()
    yield part
    yield json.dumps(part)[1:-1]
    yield json.dumps(part, ensure_ascii=False)[1:-1]
    for quoted in (quote(part, safe=""), quote(part), quote_plus(part)):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda found: found.group().lower(), quoted)
    yield raw.hex()
    yield raw.hex().upper()
    yield from _base64_forms(raw)


def _base64_forms(raw: bytes) -> Iterator[str]:
    """As base64 shows it at each of the three places in a group where it may begin, without the
    characters that also depend on what stands before or after."""
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * before + raw).decode().rstrip("=")
            first = (0, 2, 3)[before]
            last = len(text) - (1 if (before + len(raw)) % 3 else 0)
            if last - first >= CHARACTERS_MIN:
                yield text[first:last]
