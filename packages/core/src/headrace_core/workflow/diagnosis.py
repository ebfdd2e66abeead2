"""What the expression engine says, in the words of somebody who writes a flow.

The engine's texts are matched loosely: one that is not known is passed on as it is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_ENTRY = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_OVERLOAD = re.compile(r"found no matching overload for '(.+)' applied to '\((.*)\)'")
_MISSING_OVERLOAD = re.compile(r"No matching overloads found : (.+?)(?:\((.*)\))?$")
_UNDECLARED = re.compile(r"undeclared reference to '(.+?)'")
_UNEXPECTED = re.compile(r"(?:mismatched|extraneous) input '(.+?)' expecting")
_UNRECOGNISED = re.compile(r"token recognition error at: '(.*)'$")
_NO_ALTERNATIVE = re.compile(r"no viable alternative at input '(.*)'$")
_MISSING_KEY = re.compile(r'Key not found in map : "?(.*?)"?$')
_NO_VALUE = re.compile(r'No value with name "(.*)" found')
_INDEX = re.compile(r"Index error: index=(-?\d+) size=(\d+)")
_STATUS = re.compile(r"^[A-Z_]+: (.*?)(?: \[[A-Z_]+\])?$", re.DOTALL)
_OPERATOR = re.compile(r"^(?:_(\W{1,2})_|(\W)_)$")
_SYNTAX = "Syntax error:"
_WORDS = {"and": "&&", "or": "||", "not": "!", "is": "=="}
_FOLLOW_UPS = ("'*error*'", "<<nil>> parsetree")
_MIXED = "ints and doubles do not mix: convert one, as in double(x) or int(x), or write 2.0 for 2"


class ProblemKind(Enum):
    SYNTAX = "syntax"
    TYPE = "type"
    NAME = "name"
    FUNCTION = "function"
    BOUND = "bound"


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault in an expression; `offset` counts characters of its source."""

    kind: "ProblemKind"
    message: str
    remedy: str
    offset: int = 0
    name: str = ""
    """The name or function that is not known."""


def compile_problems(source: str, said: str) -> Iterator[Problem]:
    """Every problem that the engine named, but only the first where the syntax is broken."""
    for line, column, text in _ENTRY.findall(said):
        if any(mark in text for mark in _FOLLOW_UPS):
            continue
        offset = _offset(source, int(line), int(column))
        yield _problem(source, text, offset)
        if text.startswith(_SYNTAX):
            return
    if not _ENTRY.search(said):
        yield Problem(ProblemKind.BOUND, _bound(said), "split it over several steps")


def evaluation_message(said: str) -> str:
    """One sentence for an error value or an exception of the engine."""
    status = _STATUS.match(said)
    text = status.group(1) if status else said
    if found := _NO_VALUE.match(text):
        return f"{found.group(1)!r} is not known here"
    if found := _MISSING_KEY.match(text):
        return f"there is no {found.group(1)!r} in the value"
    if found := _INDEX.match(text):
        return f"index {found.group(1)} is outside a list of {found.group(2)}"
    if found := _MISSING_OVERLOAD.match(text):
        types = found.group(2) or ""
        mixed = "; " + _MIXED if "int" in types and "double" in types else ""
        return _no_overload(found.group(1), types) + mixed
    if "SELECT to non-message" in text:
        return "a member was asked of a value that is no object"
    if "Iteration budget" in text or "recursion" in text:
        return _bound(said)
    return text


def _problem(source: str, text: str, offset: int) -> Problem:
    if found := _OVERLOAD.match(text):
        message, remedy = _overload(found.group(1), found.group(2))
        return Problem(ProblemKind.TYPE, message, remedy, offset)
    if found := _UNDECLARED.match(text):
        return _undeclared(source, found.group(1), offset)
    is_syntax = text.startswith(_SYNTAX)
    text = text.removeprefix(_SYNTAX).strip()
    if found := _UNRECOGNISED.match(text):
        return _unrecognised(found.group(1), offset)
    found = _UNEXPECTED.match(text) or _NO_ALTERNATIVE.match(text)
    if found and found.group(1) == "<EOF>":
        return _syntax("the expression ends too early", "complete or remove what is open", offset)
    if found:
        word = found.group(1)
        remedy = f"CEL writes {_WORDS[word]}" if word in _WORDS else "remove or correct it"
        return _syntax(f"{word!r} is not expected here", remedy, offset)
    kind = ProblemKind.SYNTAX if is_syntax else ProblemKind.TYPE
    return Problem(kind, text, "see the CEL language definition", offset)


def _syntax(message: str, remedy: str, offset: int) -> Problem:
    return Problem(ProblemKind.SYNTAX, message, remedy, offset)


def _unrecognised(text: str, offset: int) -> Problem:
    if text.startswith(("'", '"')):
        return _syntax("this text is not a valid string", "check its quotes and escapes", offset)
    if text.strip() == "=":
        return _syntax("'=' is not an operator", "compare with ==", offset)
    return _syntax(f"{text!r} is not part of the language", "remove it", offset)


def _undeclared(source: str, name: str, offset: int) -> Problem:
    if source[offset : offset + 1] == "(":
        start = max(0, offset - len(name))
        message = f"there is no function {name!r}"
        return Problem(ProblemKind.FUNCTION, message, "", start, name)
    # The engine points at the last dot of a path; the path began before it.
    start = max(0, offset - name.rfind(".")) if "." in name else offset
    return Problem(ProblemKind.NAME, f"{name!r} is not a known name", "", start, name)


def _overload(function: str, types: str) -> tuple[str, str]:
    message = _no_overload(function, types)
    if function == "_?_:_":
        return message, "both branches need one type; wrap one as dyn(x) if that is meant"
    if function in ("_&&_", "_||_", "!_"):
        return message, "write a comparison, such as x == true or size(x) > 0"
    if "int" in types and "double" in types:
        return message, _MIXED
    if function == "_+_" and "string" in types:
        return message, "convert to text first: string(x)"
    return message, "convert one side, as in int(x), double(x) or string(x)"


def _no_overload(function: str, types: str) -> str:
    types = types.replace("int64", "int")
    operator = _OPERATOR.match(function)
    if function == "_?_:_":
        return f"a condition cannot choose between ({types})"
    if function in ("<jump_condition>", "!_", "_&&_", "_||_") and not types:
        return "a condition is not true or false"
    if function in ("@in", "_in_"):
        return f"'in' does not work on ({types})" if types else "'in' needs a list or an object"
    if function == "_[_]":
        return f"({types}) cannot be indexed this way"
    if operator:
        symbol = operator.group(1) or operator.group(2)
        return f"{symbol} does not work on ({types})"
    return f"{function} does not take ({types})"


def _bound(said: str) -> str:
    if "Iteration budget" in said:
        return "the expression went through more than 10,000 items in all; use a foreach step"
    if "recursion" in said:
        return "the expression is nested more than 32 deep"
    return said


def _offset(source: str, line: int, column: int) -> int:
    lines = source.split("\n")
    if not 1 <= line <= len(lines):
        return 0
    return min(sum(len(one) + 1 for one in lines[: line - 1]) + max(column, 1) - 1, len(source))
