"""YAML 1.2 text to plain data with the place of every key and value. Only home of ruamel.yaml.

Only what JSON has: no tags, no merge keys, no second document. Text is read as a stream of
events, with bounds on bytes, nodes, depth and aliases, so that a bomb costs nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from headrace_core.workflow.document import (
    DEPTH_MAX,
    NODES_MAX,
    Document,
    DocumentPath,
    Place,
    Span,
    too_large,
)
from headrace_core.workflow.fault import Fault, in_order, path_text
from headrace_core.workflow.plain_yaml import read_plain
from headrace_core.workflow.scalars import JsonScalar, NotExact, plain_scalar

TEXT_BYTES_MAX: Final = 1_048_576
ALIASES_MAX: Final = 50

_NOT_PRINTABLE = re.compile(
    "[^\\t\\x20-\\x7e\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]"
)


def load(text: str | bytes) -> tuple[Document, list[Fault]]:
    """The document as far as it could be read, and every fault of the text."""
    if len(text) > TEXT_BYTES_MAX or (isinstance(text, str) and _too_long(text)):
        return Document(None), [too_large(f"a definition has at most {TEXT_BYTES_MAX} bytes")]
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as fault:
            message = f"byte {fault.start} is not UTF-8"
            return Document(None), [Fault("HR-1001", message, "save the file as UTF-8", "")]
    plain = read_plain(text)
    return (plain, []) if plain is not None else load_fully(text)


def load_fully(text: str) -> tuple[Document, list[Fault]]:
    """By the full parser, whatever is in the text."""
    return _Builder(text).build()


def _too_long(text: str) -> bool:
    return len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX


class _Stop(Exception):
    """Reading on makes no sense; the faults found so far stand."""


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that is being read. `size` counts the nodes in it, aliases
    expanded."""

    data: dict[str, Any] | list[Any]
    path: DocumentPath
    anchor: str | None
    span: Span
    key: str | None = None
    key_span: Span | None = None
    size: int = 1
    skip_value: bool = False


@dataclass(frozen=True, slots=True)
class _Anchored:
    data: Any
    size: int


class _Builder:
    """One pass over the parser's events; no recursion, so depth is only a number."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines: list[str] = text.splitlines()
        self._faults: list[Fault] = []
        self._places: dict[DocumentPath, Place] = {}
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._aliases = 0
        self._nodes = 0
        self._documents = 0
        self._root: Any = None

    def build(self) -> tuple[Document, list[Fault]]:
        try:
            for event in YAML(typ="safe", pure=True).parse(self._text):
                self._take(event)
            if self._documents == 0:
                self._fault("HR-1007", "there is no document", "begin with `flow: v1`", None)
        except _Stop:
            return Document(None, self._text, self._places), in_order(self._faults)
        except YAMLError as fault:
            self._faults.append(_syntax_fault(fault, self._lines))
            return Document(None, self._text, self._places), in_order(self._faults)
        return Document(self._root, self._text, self._places), in_order(self._faults)

    def _take(self, event: Any) -> None:
        if isinstance(event, ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            self._open(event)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            self._close()
        elif isinstance(event, AliasEvent):
            self._alias(event)
        elif isinstance(event, DocumentStartEvent):
            self._start_document(event)

    def _start_document(self, event: Any) -> None:
        self._documents += 1
        span = self._span(event)
        if self._documents > 1:
            message = "a file holds one definition, and here a second document begins"
            self._fault("HR-1007", message, "move it to a file of its own", span)
            raise _Stop
        if event.version is not None or event.tags:
            message = "a definition has no YAML directives"
            self._fault("HR-1003", message, "remove the line that begins with %", span)

    def _open(self, event: Any) -> None:
        span = self._span(event)
        self._count(1, span)
        self._check_tag(event, span)
        if len(self._stack) >= DEPTH_MAX:
            self._faults.append(too_large(f"nesting is deeper than {DEPTH_MAX}", span))
            raise _Stop
        if self._is_key():
            self._bad_key(span)
        path = self._path()
        data: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
        if event.anchor:
            self._anchors[event.anchor] = None
        self._place(path, span, "")
        self._stack.append(_Open(data, path, event.anchor, span))

    def _close(self) -> None:
        closed = self._stack.pop()
        if closed.anchor:
            self._anchors[closed.anchor] = _Anchored(closed.data, closed.size)
        self._put(closed.data, closed.size)

    def _scalar(self, event: Any) -> None:
        span = self._span(event)
        self._count(1, span)
        self._check_tag(event, span)
        style = event.style or ""
        if self._is_key():
            self._key(event.value, span, style)
            return
        value = self._plain(event.value, span) if not style else event.value
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, 1)
        self._place(self._path(), span, style)
        self._put(value, 1)

    def _alias(self, event: Any) -> None:
        span = self._span(event)
        self._aliases += 1
        if self._is_key():
            self._bad_key(span)
        if self._aliases > ALIASES_MAX:
            message = f"a definition has at most {ALIASES_MAX} aliases"
            self._fault("HR-1004", message, "write the values out, or use `vars`", span)
            raise _Stop
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            known = event.anchor in self._anchors
            message = f"alias *{event.anchor} " + (
                "stands inside what it names" if known else "names no anchor above it"
            )
            self._fault("HR-1004", message, f"write &{event.anchor} at an earlier value", span)
            anchored = _Anchored(None, 1)
        self._count(anchored.size, span)
        self._place(self._path(), span, "*")
        self._put(anchored.data, anchored.size)

    def _key(self, key: str, span: Span, style: str) -> None:
        mapping = self._stack[-1]
        mapping.key, mapping.key_span, mapping.skip_value = key, span, False
        if key == "<<" and not style:
            message = "merge keys are not part of YAML 1.2"
            self._fault("HR-1005", message, "write the keys out, or use `defaults`", span)
            mapping.skip_value = True
        elif key in mapping.data:
            first = self._places[(*mapping.path, key)].key
            where = f" (first in line {first.line})" if first else ""
            message = f"key {key!r} stands twice in this object{where}"
            self._fault("HR-1002", message, "remove or rename one of the two", span)
            mapping.skip_value = True

    def _put(self, value: Any, size: int) -> None:
        if not self._stack:
            self._root = value
            return
        parent = self._stack[-1]
        parent.size += size
        if isinstance(parent.data, list):
            parent.data.append(value)
            return
        if not parent.skip_value and parent.key is not None:
            parent.data[parent.key] = value
        parent.key = None

    def _plain(self, text: str, span: Span) -> JsonScalar:
        try:
            return plain_scalar(text)
        except NotExact:
            message = f"{text[:40]} is no number that JSON carries exactly"
            self._fault("HR-1008", message, "write it in quotes, as text", span)
            return 0

    def _is_key(self) -> bool:
        return (
            bool(self._stack)
            and isinstance(self._stack[-1].data, dict)
            and (self._stack[-1].key is None)
        )

    def _bad_key(self, span: Span) -> None:
        self._fault("HR-1103", "a key is a text", "write a plain name before the colon", span)
        raise _Stop

    def _path(self) -> DocumentPath:
        if not self._stack:
            return ()
        parent = self._stack[-1]
        key = len(parent.data) if isinstance(parent.data, list) else parent.key
        return (*parent.path, key if key is not None else "")

    def _place(self, path: DocumentPath, span: Span, style: str) -> None:
        parent = self._stack[-1] if self._stack else None
        if parent is not None and parent.skip_value:
            return
        key = parent.key_span if parent and isinstance(parent.data, dict) else None
        # A value that is not there is shown at its key; the parser sees it in a later line.
        self._places[path] = Place(key if key and not span.width else span, key, style)

    def _count(self, nodes: int, span: Span) -> None:
        """Aliases count with all that they stand for, which is what a bomb multiplies."""
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            message = f"a definition has at most {NODES_MAX} values, aliases expanded"
            self._faults.append(too_large(message, span))
            raise _Stop

    def _check_tag(self, event: Any, span: Span) -> None:
        tag = event.tag
        if tag is not None and str(tag) != "!":
            shown = str(tag).replace("tag:yaml.org,2002:", "!!")
            message = f"the tag {shown} is not part of a definition"
            self._fault("HR-1003", message, "remove the tag; quote a value to make it text", span)

    def _span(self, event: Any) -> Span:
        row: int = event.start_mark.line
        column: int = event.start_mark.column + 1
        if event.end_mark.line == row:
            return Span(row + 1, column, event.end_mark.column + 1)
        width = len(self._lines[row].rstrip()) if row < len(self._lines) else 0
        return Span(row + 1, column, max(width + 1, column + 1))

    def _fault(self, code: str, message: str, remedy: str, span: Span | None) -> None:
        place = (span.line, span.column, span.end) if span else (0, 0, 0)
        self._faults.append(Fault(code, message, remedy, path_text(self._here()), *place))

    def _here(self) -> DocumentPath:
        return self._path() if self._stack else ()


def _syntax_fault(fault: YAMLError, lines: Sequence[str]) -> Fault:
    remedy = "check indentation, quotes and brackets around here"
    if isinstance(fault, MarkedYAMLError) and fault.problem_mark is not None:
        mark = fault.problem_mark
        said = " ".join(str(fault.problem).split())
        if fault.context:
            said = f"{' '.join(str(fault.context).split())}: {said}"
        # An end of the stream is shown at the last line that has text.
        line = min(mark.line, max(len(lines) - 1, 0))
        column = mark.column if line == mark.line else len(lines[line]) if lines else 0
        if "\\t" in said:
            remedy = "indent with blanks; YAML has no tabs"
        return Fault("HR-1001", said, remedy, "", line + 1, column + 1, column + 2)
    return _character_fault(lines) or Fault(
        "HR-1001", " ".join(str(fault).split())[:200], remedy, ""
    )


def _character_fault(lines: Sequence[str]) -> Fault | None:
    """The reader names only a position in its buffer; the character is found again."""
    for number, line in enumerate(lines, start=1):
        found = _NOT_PRINTABLE.search(line)
        if found:
            message = f"the character U+{ord(found.group()):04X} is not allowed in YAML"
            column = found.start() + 1
            remedy = "remove it, or write it as an escape in double quotes"
            return Fault("HR-1001", message, remedy, "", number, column, column + 1)
    return None
