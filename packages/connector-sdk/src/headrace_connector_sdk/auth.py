"""The `auth` text of an action as what goes into the request."""

import re
from dataclasses import dataclass

_SCHEMES = frozenset(
    {"apikey", "basic", "bearer", "bot", "digest", "genie", "key", "negotiate", "token"}
)
_HEADER_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]+")


@dataclass(frozen=True, slots=True)
class Authorisation:
    """The value of an Authorization header; not shown."""

    header: str

    def __repr__(self) -> str:
        return "Authorisation(***)"


def authorisation_of(auth: str) -> Authorisation:
    """`auth` is a token, sent as Bearer, or a whole value with its scheme (`Basic dXNlcjpw`).

    Raises ValueError for what no header can hold; the message does not show the value.
    """
    text = auth.strip()
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError("`auth` is empty or holds characters that no HTTP header can")
    scheme, blank, _ = text.partition(" ")
    if blank and scheme.lower() in _SCHEMES:
        return Authorisation(text)
    if blank:
        raise ValueError(
            "`auth` is a token without blanks, or a scheme and its value, such as Basic dXNlcjpw"
        )
    return Authorisation(f"Bearer {text}")
