"""Errors of the tree as problem documents (RFC 9457). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from headrace_core.errors import (
    Forbidden,
    HeadraceError,
    InvalidInput,
    InvalidState,
    KeyErased,
    KeyReused,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from headrace_core.workflow.fault import Fault, render_faults

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


class MethodNotAllowed(NotFound):
    """The path is known and does not answer this method."""

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class InternalFault(HeadraceError):
    """A bug, or a part that failed in a way nobody foresaw. `incident` stands in the log too."""

    code: ClassVar[str] = "HR-0000"

    def __init__(self, incident: str) -> None:
        super().__init__(
            f"Something failed here, and nothing says that the request was carried out. The log "
            f"of api-gateway has the reason under incident {incident}."
        )


class DefinitionRefused(InvalidInput):
    """A workflow definition with faults; each carries its place."""

    def __init__(self, faults: Sequence[Fault], text: str, file: str) -> None:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"The definition has {count}.", [f"{file}:{fault}" for fault in faults])
        self.file = file
        self.diagnostics = tuple(faults)
        self.rendered = render_faults(faults, text, file)


_STATUSES: Mapping[type[HeadraceError], tuple[int, str]] = {
    Unauthenticated: (401, "Not authenticated"),
    Forbidden: (403, "Not allowed"),
    MethodNotAllowed: (405, "Method not allowed"),
    NotFound: (404, "Not found"),
    KeyReused: (422, "Idempotency key reused"),
    InvalidInput: (422, "Invalid input"),
    TooLarge: (413, "Too large"),
    Unavailable: (503, "Not available at the moment"),
    InvalidState: (409, "Not possible in this state"),
    KeyErased: (410, "Erased"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    status: int
    document: Mapping[str, object]
    headers: Mapping[str, str]


def problem_of(error: HeadraceError, instance: str) -> Problem:
    """`instance` is the path of the request."""
    status, title = status_of(error)
    document: dict[str, object] = {
        "type": f"docs/errors/{error.code}.md",
        "title": title,
        "status": status,
        "detail": error.message,
        "instance": instance,
        "code": error.code,
    }
    if isinstance(error, InvalidInput) and error.faults:
        document["faults"] = error.faults
    if isinstance(error, DefinitionRefused):
        document["diagnostics"] = [_diagnostic(fault, error.file) for fault in error.diagnostics]
        document["rendered"] = error.rendered
    return Problem(status, document, _headers(error))


def status_of(error: HeadraceError) -> tuple[int, str]:
    for kind in type(error).__mro__:
        if kind in _STATUSES:
            return _STATUSES[kind]
    return 500, "Internal fault"


def _headers(error: HeadraceError) -> Mapping[str, str]:
    match error:
        case Unavailable():
            return {"retry-after": str(RETRY_AFTER_S)}
        case Unauthenticated():
            return {"www-authenticate": "Bearer"}
        case MethodNotAllowed():
            return {"allow": error.allowed}
        case _:
            return {}


def _diagnostic(fault: Fault, file: str) -> Mapping[str, object]:
    return {
        "code": fault.code,
        "message": fault.message,
        "remedy": fault.remedy,
        "path": fault.path,
        "file": file,
        "line": fault.line,
        "column": fault.column,
        "end_column": fault.end,
    }
