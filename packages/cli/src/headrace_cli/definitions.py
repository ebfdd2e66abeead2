"""`headrace validate` and `headrace schema`: the definition language, offline."""

import json
from pathlib import Path
from typing import Annotated

import typer

from headrace_cli.console import open_console
from headrace_cli.exit_code import ExitCode
from headrace_cli.failure import reported
from headrace_cli.options import JsonOption

PathsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="PATH...", help="Files, or folders with *.flow.yaml in them."),
]


@reported
def validate(paths: PathsArgument, *, as_json: JsonOption = False) -> None:
    """Check definitions without a server: every fault at once, with its place.

    A flow that a definition calls is looked for among the given files and beside it.
    """
    # The compiler costs half a second, which the other commands need not spend.
    from headrace_cli.flow_files import OfflineCompiler, read_flow_files
    from headrace_cli.verdict import render_verdict, verdict_document, verdict_line

    console = open_console(as_json=as_json)
    files = read_flow_files(paths)
    compiler = OfflineCompiler(files)
    checked = [compiler.check(file) for file in files]
    if as_json:
        console.answer_json(verdict_document(checked))
    else:
        faults = render_verdict(checked, console.style)
        if faults:
            console.answer(faults)
        console.say(verdict_line(checked))
    if any(one.faults for one in checked):
        raise typer.Exit(ExitCode.REFUSED)


def schema(*, as_json: JsonOption = False) -> None:
    """Print the JSON Schema of definitions, for editors: yaml-language-server reads it.

    It is JSON with and without --json.
    """
    from headrace_core.workflow.schema import flow_schema

    open_console(as_json=True).answer(json.dumps(flow_schema(), indent=2, ensure_ascii=False))
