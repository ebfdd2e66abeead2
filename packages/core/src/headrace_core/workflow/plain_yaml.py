"""The plain part of YAML, read in one pass over lines: what nearly every definition is written in.

A full parser takes ten times as long and is needed for very little. So this one knows mappings and
sequences by indentation, flow collections on one line, scalars on one line and literal blocks.
Anything else, and anything that is wrong, it leaves alone: the full parser then reads the text from
its beginning, so that there is one source of faults. Tests hold the two against each other.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from headrace_core.workflow.document import (
    DEPTH_MAX,
    NODES_MAX,
    Document,
    DocumentPath,
    Place,
    Span,
)
from headrace_core.workflow.scalars import NotExact, plain_scalar

_UNUSUAL = re.compile(
    "[^\\n\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd"
    "\\U00010000-\\U0010ffff]"
)
_START = r"(?:[\w./$~+()<=;^]|-(?=[\w.]))"
_QUOTED = r"'(?P<single>(?:[^']|'')*)'|\"(?P<double>[^\"\\]*)\""
_KEY = re.compile(rf"(?:(?P<plain>[A-Za-z_][\w.@/-]*)|{_QUOTED}):(?= |$)")
_BLOCK_SCALAR = re.compile(
    rf"(?:(?P<plain>{_START}(?:[^ :#]|:(?=[^ ])|(?<=[^ ])#| +(?=[^ #:]))*)|{_QUOTED})(?= *$| +#)"
)
_FLOW_SCALAR = re.compile(
    rf"(?:(?P<plain>{_START}[^ ,:?#\[\]{{}}]*(?: +[^ ,:?#\[\]{{}}]+)*)|{_QUOTED})(?= *[,\]}}:])"
)
_TAIL = re.compile(r" *$| +#")
_BLANKS = re.compile(" *")
_LITERAL = re.compile(r"\|-?$")
_KEY_CHARACTERS_MAX: Final = 1_000
"""YAML allows 1,024 from the key to its colon."""


def read_plain(text: str) -> Document | None:
    """The document, as the full parser would read it; None where that one has to be asked."""
    if _UNUSUAL.search(text):
        return None
    try:
        return _Reader(text).document()
    except (_NotPlain, NotExact):
        return None


class _NotPlain(Exception):
    """Not of the part that is known here."""


class _Row(NamedTuple):
    """A line that says something. `number` counts from 0."""

    number: int
    indent: int
    line: str


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.split("\n")
        self._rows = list(_rows(self._lines))
        self._at = 0
        self._places: dict[DocumentPath, Place] = {}
        self._keys = 0

    def document(self) -> Document:
        if not self._rows or self._rows[0].indent or not _KEY.match(self._rows[0].line):
            raise _NotPlain
        data = self._mapping(0, (), None)
        if self._at < len(self._rows) or len(self._places) + self._keys > NODES_MAX:
            raise _NotPlain
        return Document(data, self._text, self._places)

    def _block(self, column: int, path: DocumentPath, key: Span | None) -> Any:
        """A collection whose first entry stands at `column` of the current row."""
        line = self._rows[self._at].line
        if _is_entry(line, column):
            return self._sequence(column, path, key)
        return self._mapping(column, path, key)

    def _mapping(self, column: int, path: DocumentPath, key: Span | None) -> dict[str, Any]:
        self._open(path, self._span(column, column), key)
        data: dict[str, Any] = {}
        while True:
            row = self._rows[self._at]
            found = _KEY.match(row.line, column)
            if found is None or found.end() - column > _KEY_CHARACTERS_MAX:
                raise _NotPlain
            name = _scalar_text(found)
            if name in data or name == "<<":
                raise _NotPlain
            self._keys += 1
            span = self._span(column, found.end() - 1)
            data[name] = self._value(found.end(), column, (*path, name), span)
            if not self._goes_on(column):
                return data

    def _sequence(
        self, column: int, path: DocumentPath, key: Span | None, *, indented: bool = True
    ) -> list[Any]:
        self._open(path, self._span(column, column if indented else column + 1), key)
        data: list[Any] = []
        while True:
            line = self._rows[self._at].line
            if not _is_entry(line, column):
                raise _NotPlain
            data.append(self._entry(line, column, (*path, len(data))))
            if not self._goes_on(column):
                return data
            if not indented and not _is_entry(self._rows[self._at].line, column):
                return data

    def _goes_on(self, column: int) -> bool:
        """Whether the current row is the next of a collection at `column`."""
        if self._at == len(self._rows) or self._rows[self._at].indent < column:
            return False
        if self._rows[self._at].indent > column:
            raise _NotPlain
        return True

    def _entry(self, line: str, column: int, path: DocumentPath) -> Any:
        start = _past_blanks(line, column + 1)
        if start < len(line) and (_is_entry(line, start) or _KEY.match(line, start)):
            return self._block(start, path, None)
        return self._value(column + 1, column, path, None)

    def _value(self, end: int, indent: int, path: DocumentPath, key: Span | None) -> Any:
        """What follows a colon or a dash that ends at `end`, in this row or below."""
        line = self._rows[self._at].line
        start = _past_blanks(line, end)
        if start == len(line) or line[start] == "#":
            return self._below(end, indent, path, key)
        if line[start] == "|":
            return self._literal(line, start, indent, path, key)
        if line[start] in "{[":
            value, end = self._flow(line, start, path, key)
            if not _TAIL.match(line, end):
                raise _NotPlain
        else:
            value = self._scalar(_BLOCK_SCALAR.match(line, start), path, key)
        self._at += 1
        if self._at < len(self._rows) and self._rows[self._at].indent > indent:
            raise _NotPlain
        return value

    def _below(self, end: int, indent: int, path: DocumentPath, key: Span | None) -> Any:
        row = self._rows[self._at]
        if self._at + 1 < len(self._rows):
            below = self._rows[self._at + 1]
            if below.indent > indent:
                self._at += 1
                return self._block(below.indent, path, key)
            if below.indent == indent and key is not None and _is_entry(below.line, indent):
                self._at += 1
                return self._sequence(indent, path, key, indented=False)
        nothing = Span(row.number + 1, end + 1, end + 1)
        self._place(path, nothing, key)
        self._at += 1
        return None

    def _literal(
        self, line: str, start: int, indent: int, path: DocumentPath, key: Span | None
    ) -> str:
        if not _LITERAL.match(line, start):
            raise _NotPlain
        first = self._rows[self._at].number + 1
        depth, last, texts = 0, first, list[str]()
        for number in range(first, len(self._lines)):
            one = self._lines[number]
            inner = len(one) - len(one.lstrip(" "))
            if inner == len(one):
                if inner > depth:
                    raise _NotPlain
                texts.append("")
                continue
            if inner <= indent:
                break
            if inner < depth:
                raise _NotPlain
            depth = depth or inner
            texts.append(one[depth:])
            last = number + 1
        if not depth or last == len(self._lines):
            # Empty, or without the line break at the end that makes a difference.
            raise _NotPlain
        self._place(path, self._span(start, len(line)), key, "|")
        while self._at < len(self._rows) and self._rows[self._at].number < last:
            self._at += 1
        kept = "\n".join(texts[: last - first])
        return kept if line[start:] == "|-" else kept + "\n"

    def _flow(self, line: str, start: int, path: DocumentPath, key: Span | None) -> tuple[Any, int]:
        """A node of a flow collection, and where it ends."""
        opening = line[start : start + 1]
        if opening == "{":
            self._open(path, self._span(start, start + 1), key)
            return self._flow_mapping(line, start + 1, path)
        if opening == "[":
            self._open(path, self._span(start, start + 1), key)
            return self._flow_sequence(line, start + 1, path)
        found = _FLOW_SCALAR.match(line, start)
        value = self._scalar(found, path, key)
        assert found is not None, "otherwise it is not plain"
        return value, found.end()

    def _flow_mapping(self, line: str, at: int, path: DocumentPath) -> tuple[dict[str, Any], int]:
        data: dict[str, Any] = {}
        at = _past_blanks(line, at)
        if line[at : at + 1] == "}":
            return data, at + 1
        while True:
            found = _FLOW_SCALAR.match(line, at)
            if found is None or line[found.end() : found.end() + 2] != ": ":
                raise _NotPlain
            name = _scalar_text(found)
            if name in data or name == "<<" or found.end() - at > _KEY_CHARACTERS_MAX:
                raise _NotPlain
            self._keys += 1
            start = _past_blanks(line, found.end() + 1)
            span = self._span(at, found.end())
            data[name], at = self._flow(line, start, (*path, name), span)
            at, is_over = _next_in_flow(line, at, "}")
            if is_over:
                return data, at

    def _flow_sequence(self, line: str, at: int, path: DocumentPath) -> tuple[list[Any], int]:
        data: list[Any] = []
        at = _past_blanks(line, at)
        if line[at : at + 1] == "]":
            return data, at + 1
        while True:
            value, at = self._flow(line, at, (*path, len(data)), None)
            data.append(value)
            at, is_over = _next_in_flow(line, at, "]")
            if is_over:
                return data, at

    def _scalar(self, found: "re.Match[str] | None", path: DocumentPath, key: Span | None) -> Any:
        if found is None:
            raise _NotPlain
        style = {"plain": "", "single": "'", "double": '"'}[found.lastgroup or ""]
        self._place(path, self._span(found.start(), found.end()), key, style)
        text = _scalar_text(found)
        return text if style else plain_scalar(text)

    def _open(self, path: DocumentPath, span: Span, key: Span | None) -> None:
        if len(path) >= DEPTH_MAX:
            raise _NotPlain
        self._place(path, span, key)

    def _place(self, path: DocumentPath, span: Span, key: Span | None, style: str = "") -> None:
        """As the full parser has it: what is not there is shown at its key."""
        self._places[path] = Place(key if key and not span.width else span, key, style)

    def _span(self, start: int, end: int) -> Span:
        return Span(self._rows[self._at].number + 1, start + 1, end + 1)


def _rows(lines: list[str]) -> Iterator[_Row]:
    for number, line in enumerate(lines):
        bare = line.rstrip(" ")
        indent = len(bare) - len(bare.lstrip(" "))
        if bare and bare[indent] != "#":
            yield _Row(number, indent, bare)


def _past_blanks(line: str, start: int) -> int:
    found = _BLANKS.match(line, start)
    assert found is not None, "no blank is enough"
    return found.end()


def _is_entry(line: str, column: int) -> bool:
    return line[column : column + 2] in ("- ", "-")


def _next_in_flow(line: str, at: int, closing: str) -> tuple[int, bool]:
    """Past the comma and the blanks behind it, or past the closing bracket."""
    at = _past_blanks(line, at)
    if line[at : at + 1] == closing:
        return at + 1, True
    if line[at : at + 1] != ",":
        raise _NotPlain
    at = _past_blanks(line, at + 1)
    if line[at : at + 1] == closing:
        raise _NotPlain
    return at, False


def _scalar_text(found: "re.Match[str]") -> str:
    text = found[found.lastgroup or 0]
    return text.replace("''", "'") if found.lastgroup == "single" else text
