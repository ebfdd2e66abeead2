"""What was found in definitions, for people and for programs. Pure."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from headrace_cli.flow_files import Checked
from headrace_cli.rendering.style import Style
from headrace_core.workflow.fault import render_faults


def render_verdict(checked: Sequence[Checked], style: Style) -> str:
    """Every fault of every file as a compiler prints them; empty when all are valid."""
    faulty = [one for one in checked if one.faults]
    text = "\n".join(render_faults(one.faults, one.file.lines, one.file.shown) for one in faulty)
    return "\n".join(_painted(line, style) for line in text.split("\n"))


def _painted(line: str, style: Style) -> str:
    place, error, message = line.partition(": error[")
    if error and not line.startswith(" "):
        return f"{style.paint('strong', place)}: {style.paint('failed', 'error[' + message)}"
    before, caret, after = line.partition("^")
    if caret and not before.strip(" |"):
        return f"{before}{style.paint('failed', caret + after)}"
    return line


def verdict_line(checked: Sequence[Checked]) -> str:
    faults = sum(len(one.faults) for one in checked)
    files = _counted(len(checked), "file")
    if not faults:
        return f"{files} valid"
    faulty = sum(1 for one in checked if one.faults)
    return f"{_counted(faults, 'fault')} in {faulty} of {files}"


def verdict_document(checked: Sequence[Checked]) -> dict[str, Any]:
    return {
        "valid": all(not one.faults for one in checked),
        "files": [
            {
                "file": one.file.shown,
                "name": one.file.name or None,
                "valid": not one.faults,
                "hash": one.plan.hash if one.plan is not None else None,
                "faults": [asdict(fault) for fault in one.faults],
            }
            for one in checked
        ],
    }


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
