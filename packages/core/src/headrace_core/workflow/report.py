"""Collects faults at their places in a document."""

from collections.abc import Sequence

from headrace_core.workflow.document import Document, DocumentPath, Span
from headrace_core.workflow.fault import Fault, in_order, path_text


class Report:
    """Everything that is wrong with one document, whoever finds it."""

    def __init__(self, document: Document, faults: Sequence[Fault] = ()) -> None:
        self.document = document
        self._faults = list(faults)
        self._paths = {fault.path for fault in faults}

    @property
    def faults(self) -> list[Fault]:
        return in_order(self._faults)

    def has(self, path: DocumentPath) -> bool:
        """Whether something was found at this very place."""
        return path_text(path) in self._paths

    def at_key(self, code: str, path: DocumentPath, message: str, remedy: str) -> None:
        self._add(code, path, message, remedy, self.document.key_span(path))

    def at_value(self, code: str, path: DocumentPath, message: str, remedy: str) -> None:
        self._add(code, path, message, remedy, self.document.value_span(path))

    def inside(
        self, code: str, path: DocumentPath, value: str, part: range, message: str, remedy: str
    ) -> None:
        """At some characters of a text value."""
        span = self.document.span_inside(path, value, part.start, len(part))
        self._add(code, path, message, remedy, span)

    def _add(
        self, code: str, path: DocumentPath, message: str, remedy: str, span: Span | None
    ) -> None:
        place = (span.line, span.column, span.end) if span else (0, 0, 0)
        fault = Fault(code, message, remedy, path_text(path), *place)
        self._faults.append(fault)
        self._paths.add(fault.path)
