"""Faults of a definition: values with a place and a remedy, printed as a good compiler prints.

Each code has a page in docs/errors; a code never changes its meaning.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CODES: Mapping[str, str] = {
    "HR-1001": "not readable as YAML",
    "HR-1002": "key stands twice",
    "HR-1003": "tag or directive",
    "HR-1004": "too many aliases",
    "HR-1005": "merge key",
    "HR-1006": "too large",
    "HR-1007": "not exactly one document",
    "HR-1008": "number that JSON does not have",
    "HR-1101": "unknown key",
    "HR-1102": "missing key",
    "HR-1103": "wrong kind of value",
    "HR-1104": "value outside the allowed ones",
    "HR-1105": "malformed name",
    "HR-1106": "not exactly one kind",
    "HR-1107": "number or list out of bounds",
    "HR-1108": "malformed duration",
    "HR-1109": "key without effect",
    "HR-1201": "unknown step",
    "HR-1202": "unknown port",
    "HR-1203": "cycle",
    "HR-1204": "join that cannot be reached",
    "HR-1205": "too many steps",
    "HR-1206": "fan-out nested too deep",
    "HR-1207": "cases of a switch",
    "HR-1301": "expression that does not parse",
    "HR-1302": "type error in an expression",
    "HR-1303": "unknown name in an expression",
    "HR-1304": "step is not upstream",
    "HR-1305": "secret in the wrong place",
    "HR-1306": "expression too long or too deep",
    "HR-1307": "expression that is not closed",
    "HR-1308": "name that hides another",
    "HR-1309": "braces around a bare expression",
    "HR-1401": "reference that does not resolve",
    "HR-1402": "sub-flows nested too deep",
    "HR-1403": "arguments that the action refuses",
    "HR-1501": "invalid JSON Schema",
    "HR-1502": "default that breaks its own schema",
    "HR-1503": "trigger that does not fit the inputs",
    "HR-1504": "malformed time, time zone or cron expression",
    "HR-1901": "not executed by this release",
}
"""Code to short name; the pages in docs/errors follow this table."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`line` and `column` count from 1, `end` is the column after the last one; all 0 where the
    definition came without text. `path` addresses the place in the document."""

    code: str
    message: str
    remedy: str
    path: str
    line: int = 0
    column: int = 0
    end: int = 0

    def __str__(self) -> str:
        where = f"{self.line}:{self.column}" if self.line else self.path or "document"
        return f"{where}: error[{self.code}]: {self.message}"


def path_text(path: Iterable[str | int]) -> str:
    """`("steps", "read", "needs", 0)` -> `steps.read.needs[0]`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """By place, each once: several checks may find the same."""
    return sorted(
        set(faults),
        key=lambda fault: (fault.line, fault.column, fault.path, fault.code, fault.message),
    )


def render_faults(faults: Sequence[Fault], text: str, file: str) -> str:
    """One block per fault: file:line:column, the line, a caret, what to do."""
    lines = text.splitlines()
    blocks = [_block(fault, lines, file) for fault in faults]
    return "\n".join(blocks)


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`did you mean ...?` for a near miss, else the empty text."""
    close = difflib.get_close_matches(word, sorted(set(candidates)), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def listed(words: Iterable[str], limit: int = 8) -> str:
    """The words for a message; a long list is cut."""
    names = sorted(set(words))
    shown = ", ".join(names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _block(fault: Fault, lines: Sequence[str], file: str) -> str:
    if not fault.line:
        place = f"{file}: error[{fault.code}]: {fault.path or 'document'}: {fault.message}\n"
        return f"{place}  help: {fault.remedy}\n"
    head = f"{file}:{fault.line}:{fault.column}: error[{fault.code}]: {fault.message}\n"
    if fault.line > len(lines):
        return f"{head}  help: {fault.remedy}\n"
    shown, column = _shown(lines[fault.line - 1], fault.column)
    number = str(fault.line)
    width = max(1, min(fault.end - fault.column, len(shown) - column + 1))
    margin = " " * len(number)
    return (
        f"{head}  {number} | {shown}\n"
        f"  {margin} | {' ' * (column - 1)}{'^' * width}\n"
        f"  help: {fault.remedy}\n"
    )


_SHOWN_MAX = 120


def _shown(line: str, column: int) -> tuple[str, int]:
    """The line, or the part around the column where it is very long."""
    line = line.replace("\t", " ").rstrip()
    if len(line) <= _SHOWN_MAX:
        return line, column
    start = max(0, min(column - 1 - _SHOWN_MAX // 2, len(line) - _SHOWN_MAX))
    part = line[start : start + _SHOWN_MAX]
    return part, column - start
