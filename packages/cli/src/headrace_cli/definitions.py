"""`headrace validate` and `headrace schema`: the definition language, offline."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace_cli.console import open_console
from headrace_cli.exit_code import ExitCode
from headrace_cli.failure import reported
from headrace_cli.flow_files import Checked, OfflineCompiler, read_flow_files
from headrace_cli.options import JsonOption
from headrace_core.workflow.fault import render_faults
from headrace_core.workflow.schema import flow_schema

PathsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="PATH...", help="Files, or folders with *.flow.yaml in them."),
]


@reported
def validate(paths: PathsArgument, *, as_json: JsonOption = False) -> None:
    """Check definitions without a server: every fault at once, with its place.

    A flow that a definition calls is looked for among the given files and beside it.
    """
    console = open_console(as_json=as_json)
    files = read_flow_files(paths)
    compiler = OfflineCompiler(files)
    checked = [compiler.check(file) for file in files]
    if as_json:
        console.answer_json(verdict_document(checked))
    else:
        faults = render_verdict(checked)
        if faults:
            console.answer(faults)
        console.say(verdict_line(checked))
    if any(one.faults for one in checked):
        raise typer.Exit(ExitCode.REFUSED)


def schema(*, as_json: JsonOption = False) -> None:
    """Print the JSON Schema of definitions, for editors: yaml-language-server reads it.

    It is JSON with and without --json.
    """
    open_console(as_json=True).answer(json.dumps(flow_schema(), indent=2, ensure_ascii=False))


def render_verdict(checked: Sequence[Checked]) -> str:
    """Every fault of every file as a compiler prints them; empty when all are valid."""
    faulty = [one for one in checked if one.faults]
    return "\n".join(render_faults(one.faults, one.file.lines, one.file.shown) for one in faulty)


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
