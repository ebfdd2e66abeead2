"""Checks of single expressions and templates: they parse, their names are known, types fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.expression import (
    Embedded,
    Problem,
    ProblemKind,
    UnclosedExpression,
    scan_source,
    split,
)
from headrace_core.workflow.fault import did_you_mean
from headrace_core.workflow.names import Found, Names, bound_problems, mention_problems
from headrace_core.workflow.report import Report
from headrace_core.workflow.template import OPENING
from headrace_core.workflow.tokens import tokens

FUNCTIONS = (
    *("size", "has", "all", "exists", "exists_one", "map", "filter", "contains", "startsWith"),
    *("endsWith", "matches", "int", "uint", "double", "string", "bool", "bytes", "type", "dyn"),
    *("timestamp", "duration", "getFullYear", "getMonth", "getDate", "getDayOfMonth"),
    *("getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    *("charAt", "indexOf", "lastIndexOf", "join", "split", "replace", "substring", "trim"),
    *("lowerAscii", "upperAscii", "format", "reverse", "orValue", "or", "value", "hasValue"),
    *("greatest", "least", "abs", "ceil", "floor", "round", "trunc", "sign", "encode", "decode"),
)
FOREIGN_FUNCTIONS = {
    "len": "size",
    "length": "size",
    "count": "size",
    "toUpper": "upperAscii",
    "upper": "upperAscii",
    "toLower": "lowerAscii",
    "lower": "lowerAscii",
    "includes": "contains",
    "startswith": "startsWith",
    "endswith": "endsWith",
    "str": "string",
    "toString": "string",
    "float": "double",
}
"""What other languages call it."""

_CODES = {
    ProblemKind.SYNTAX: "HR-1301",
    ProblemKind.TYPE: "HR-1302",
    ProblemKind.NAME: "HR-1303",
    ProblemKind.FUNCTION: "HR-1303",
    ProblemKind.BOUND: "HR-1306",
}
_FITTING = {
    "bool": ("bool",),
    "list": ("list<",),
    "key": ("string", "int", "bool"),
    "string": ("string",),
    "any": ("",),
}
_WANTED = {
    "bool": "true or false",
    "list": "a list",
    "key": "a text or a number",
    "string": "a text",
}
_REMEDIES = {
    "bool": "write a comparison, such as x == 1 or size(x) > 0",
    "list": "name a list, such as steps.NAME.output.rows",
    "key": "name a member that differs for each item",
    "string": "convert it with string(x)",
}
_NO_JSON = ("optional_type", "type<", "type(")


@dataclass(frozen=True, slots=True)
class _Source:
    """`code` stands at `offset` of the text value at `path`."""

    code: str
    text: str
    offset: int
    path: DocumentPath


class ExpressionCheck:
    def __init__(self, report: Report) -> None:
        self._report = report

    def bare(self, code: str | None, path: DocumentPath, names: Names, wanted: str) -> str:
        """A control expression that must give a `bool`, `list`, `key` or `string`. Answers the
        type's signature, dyn where it is not known."""
        if code is None:
            return "dyn"
        if code.strip().startswith(OPENING):
            message = f"`{path[-1]}` takes a bare expression"
            self._report.at_value("HR-1309", path, message, "write it without ${{ and }}")
            return "dyn"
        found = self._check(_Source(code, code, 0, path), names)
        if found != "dyn" and not found.startswith(_FITTING[wanted]):
            message = f"`{path[-1]}` wants {_WANTED[wanted]}, but this gives {_type_text(found)}"
            self._report.at_value("HR-1302", path, message, _REMEDIES[wanted])
        return found

    def template(self, data: Any, path: DocumentPath, names: Names) -> None:
        """JSON data whose strings may hold expressions."""
        for text, place in _texts(data, path):
            self._text(text, place, names)

    def plain(self, data: Any, path: DocumentPath, remedy: str) -> None:
        """Data in which nothing is evaluated, so that braces are a mistake."""
        for text, place in _texts(data, path):
            at = text.index(OPENING)
            part = range(at, at + len(OPENING))
            message = "no expression is evaluated here"
            self._report.inside("HR-1309", place, text, part, message, remedy)

    def _text(self, text: str, path: DocumentPath, names: Names) -> None:
        try:
            parts = split(text)
        except UnclosedExpression as fault:
            part = range(fault.offset, fault.offset + len(OPENING))
            remedy = "close it with }}; an opened quote or brace hides the end"
            self._report.inside("HR-1307", path, text, part, str(fault), remedy)
            return
        for one in parts:
            if isinstance(one, Embedded):
                found = self._check(_Source(one.source, text, one.offset, path), names)
                if found.startswith(_NO_JSON):
                    part = range(one.offset, one.offset + len(one.source))
                    message = f"this gives {_type_text(found)}, which JSON does not have"
                    remedy = "end an optional with .orValue(...)"
                    self._report.inside("HR-1302", path, text, part, message, remedy)

    def _check(self, source: _Source, names: Names) -> str:
        """The type's signature, dyn where it is not known."""
        result = names.checker.check(source.code)
        found = list(_problems(source.code, () if isinstance(result, str) else result, names))
        for code, problem in found:
            self._tell(source, code, problem)
        return "dyn" if found or not isinstance(result, str) else result

    def _tell(self, source: _Source, code: str, problem: Problem) -> None:
        remedy = problem.remedy
        if problem.kind is ProblemKind.FUNCTION:
            remedy = _function_remedy(problem.name)
        at = problem.offset
        length = next((len(one.text) for one in tokens(source.code) if one.offset == at), 1)
        part = range(source.offset + at, source.offset + at + length)
        self._report.inside(code, source.path, source.text, part, problem.message, remedy)


def _problems(code: str, said: tuple[Problem, ...], names: Names) -> Iterator[Found]:
    """What the engine said and what it cannot know, each once; of broken syntax only the first."""
    if any(problem.kind in (ProblemKind.SYNTAX, ProblemKind.BOUND) for problem in said):
        yield _CODES[said[0].kind], said[0]
        return
    scan = scan_source(code)
    own = list(bound_problems(((one.text, one.offset) for one in scan.bound), names))
    for mention in scan.mentions:
        own += mention_problems(mention, names)
    yield from own
    told = {problem.name for _, problem in own}
    for problem in said:
        root = problem.name.split(".", 1)[0]
        if problem.kind is not ProblemKind.NAME or root not in told:
            yield _CODES[problem.kind], problem


def _function_remedy(name: str) -> str:
    if name in FOREIGN_FUNCTIONS:
        return f"CEL calls it {FOREIGN_FUNCTIONS[name]!r}"
    return did_you_mean(name, FUNCTIONS) or "see the functions of CEL"


def _texts(data: Any, path: DocumentPath) -> Iterator[tuple[str, DocumentPath]]:
    """All strings with an opening brace, with their places."""
    if isinstance(data, str):
        if OPENING in data:
            yield data, path
    elif isinstance(data, dict):
        for key, value in cast(dict[str, Any], data).items():
            yield from _texts(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(cast(list[Any], data)):
            yield from _texts(value, (*path, index))


def _type_text(signature: str) -> str:
    for start, text in (("list<", "a list"), ("map<", "an object"), ("type", "a type")):
        if signature.startswith(start):
            return text
    if signature.startswith("optional_type"):
        return "an optional"
    return {"null": "null", "bool": "true or false"}.get(signature, f"a value of type {signature}")
