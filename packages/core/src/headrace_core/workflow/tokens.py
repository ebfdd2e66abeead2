"""Tokens of a CEL expression: enough to find its end, its names and whether it is a mere path.

Follows the lexis of the CEL language definition (google/cel-spec, "Syntax"). It does not parse;
the engine does that.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum


class TokenKind(IntEnum):
    NAME = 1
    STRING = 2
    NUMBER = 3
    PUNCTUATION = 4
    UNKNOWN = 5


@dataclass(frozen=True, slots=True)
class Token:
    kind: TokenKind
    text: str
    offset: int


_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>(?:[rR][bB]?|[bB][rR])(?:\"[^\"\n]*\"|'[^'\n]*')
        |[bB]?(?:\"\"\"(?s:\\.|.)*?\"\"\"|\'\'\'(?s:\\.|.)*?\'\'\'
            |\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)
    |(?P<punctuation>==|!=|<=|>=|&&|\|\||\.\?|\[\?|[-+*/%!<>?:.,()\[\]{}])
    |(?P<unknown>.)""",
    re.VERBOSE,
)
_KINDS = {
    "string": TokenKind.STRING,
    "name": TokenKind.NAME,
    "number": TokenKind.NUMBER,
    "punctuation": TokenKind.PUNCTUATION,
    "unknown": TokenKind.UNKNOWN,
}


def tokens(text: str, start: int = 0) -> Iterator[Token]:
    for match in _TOKEN.finditer(text, start):
        group = match.lastgroup
        if group is not None and group != "space":
            yield Token(_KINDS[group], match.group(), match.start())


def plain_string(token: Token) -> str | None:
    """The value of a string literal without prefix or escapes, else None."""
    text = token.text
    if token.kind is not TokenKind.STRING or text[0] not in "'\"" or "\\" in text:
        return None
    quotes = 3 if len(text) >= 6 and text[:3] == text[0] * 3 else 1
    return text[quotes:-quotes]
