"""`headrace test`: flows against their cases, offline."""

from pathlib import Path
from typing import Annotated

import typer

from headrace_cli.console import open_console
from headrace_cli.exit_code import ExitCode
from headrace_cli.failure import reported
from headrace_cli.options import JsonOption


@reported
def run_cases(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Flows, or folders with *.flow.yaml in them."),
    ],
    *,
    only: Annotated[str, typer.Option(help="Cases with this text in their name.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Play the cases of flows, without a server: answers from a file, a clock that jumps.

    The cases of NAME.flow.yaml stand beside it in NAME.cases.yaml. Exit code 1 if one fails.
    """
    # The engine costs a second, which the other commands need not spend.
    from headrace_cli.testing.report import judged_document, render_judged, summary
    from headrace_cli.testing.suite import find_suites, judged_cases

    console = open_console(as_json=as_json)
    suites, without = find_suites(paths)
    judged = [one for suite in suites for one in judged_cases(suite, only)]
    if as_json:
        console.answer_json(judged_document(judged))
    elif judged:
        console.answer(render_judged(judged, console.style))
    if without:
        console.say(f"Without cases: {', '.join(without)}")
    if not judged:
        raise typer.BadParameter(f"No case has {only!r} in its name." if only else "No cases.")
    console.say(summary(judged))
    if not all(one.holds for one in judged):
        raise typer.Exit(ExitCode.REFUSED)
