"""A definition as plain data, with the place of every key and value of its text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from headrace_core.workflow.canonical import EXACT_INTEGER_MAX
from headrace_core.workflow.fault import Fault, in_order, path_text

NODES_MAX: Final = 50_000
DEPTH_MAX: Final = 64

DocumentPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Counted from 1; `end` is the column after the last one on the first line."""

    line: int
    column: int
    end: int

    @property
    def width(self) -> int:
        return self.end - self.column


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, and its key where it has one. `style` is the scalar's quoting."""

    value: Span
    key: Span | None = None
    style: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """`data` is None only where the text could not be read at all."""

    data: Any
    text: str = ""
    places: Mapping[DocumentPath, Place] = field(default_factory=dict[DocumentPath, Place])

    def place_of(self, path: DocumentPath) -> Place | None:
        """The place of the path or of the nearest thing around it."""
        for length in range(len(path), -1, -1):
            place = self.places.get(path[:length])
            if place is not None:
                return place
        return None

    def key_span(self, path: DocumentPath) -> Span | None:
        place = self.places.get(path)
        if place is None:
            near = self.place_of(path)
            return near.key or near.value if near else None
        return place.key or place.value

    def value_span(self, path: DocumentPath) -> Span | None:
        place = self.place_of(path)
        return place.value if place else None

    def span_inside(self, path: DocumentPath, value: str, offset: int, length: int) -> Span | None:
        """Where characters of a text value stand in the source.

        Exact for texts written on one line and for literal blocks; else where the value begins.
        """
        place = self.places.get(path)
        if place is None:
            return self.value_span(path)
        line_offset = value.count("\n", 0, offset)
        start = value.rfind("\n", 0, offset) + 1
        end = value.find("\n", offset)
        piece = value[start : end if end >= 0 else len(value)]
        line = place.value.line + line_offset + (1 if place.style in ("|", ">") else 0)
        lines = self.text.splitlines()
        if not piece or line > len(lines) or (line_offset and place.style != "|"):
            return place.value
        first = place.value.column - 1 if line == place.value.line else 0
        found = lines[line - 1].find(piece, first)
        if found < 0:
            return place.value
        column = found + offset - start + 1
        return Span(line, column, column + max(1, min(length, len(piece) - (offset - start))))


def from_data(data: Any) -> tuple[Document, list[Fault]]:
    """A document that came as JSON: the same bounds, no places."""
    nodes = 0
    stack: list[tuple[Any, DocumentPath]] = [(data, ())]
    faults: list[Fault] = []
    while stack:
        node, path = stack.pop()
        nodes += 1
        if nodes > NODES_MAX or len(path) > DEPTH_MAX:
            message = f"a definition has at most {NODES_MAX} values, {DEPTH_MAX} deep"
            return Document(None), [too_large(message)]
        if isinstance(node, dict):
            stack.extend((value, (*path, str(key))) for key, value in _members(node))
        elif isinstance(node, list):
            stack.extend((value, (*path, index)) for index, value in enumerate(_items(node)))
        elif not _is_exact(node):
            message = f"{str(node)[:40]} is no number that JSON carries exactly"
            faults.append(Fault("HR-1008", message, "write it as text", path_text(path)))
    return Document(data), in_order(faults)


def _members(node: Any) -> Sequence[tuple[Any, Any]]:
    return list(node.items())


def _items(node: Any) -> Sequence[Any]:
    return node


def _is_exact(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= EXACT_INTEGER_MAX


def too_large(message: str, span: Span | None = None) -> Fault:
    remedy = "split the flow into sub-flows; large data belongs in inputs or blobs"
    place = (span.line, span.column, span.end) if span else (0, 0, 0)
    return Fault("HR-1006", message, remedy, "", *place)
