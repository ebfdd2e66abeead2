"""`headrace run` and `headrace watch`: start a run, follow it live, end with what it ended with."""

import json
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from headrace_cli.api_client import ApiClient, UnclearAnswer
from headrace_cli.console import Console
from headrace_cli.exit_code import ExitCode
from headrace_cli.live import follow
from headrace_cli.options import RunArgument
from headrace_cli.rendering.progress import Progress
from headrace_cli.rendering.run_text import decision_hints
from headrace_cli.session import Session, connected

SUCCEEDED = "succeeded"


@connected
def run(
    session: Session,
    workflow: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="A number or a label; default stable.")
    ],
    given: Annotated[
        str, typer.Option("--input", help="A JSON object, @FILE that holds one, or - for stdin.")
    ] = "{}",
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="The same key and request again answers the same run."),
    ] = None,
    priority: Annotated[int, typer.Option(min=-10, max=10)] = 0,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it to its end; exit 4 unless it succeeds.")
    ] = False,
) -> None:
    """Start a run of a published workflow.

    Prints the run's id, or with --wait a line per change of a step and then the output.
    """
    fields = read_input(given)
    api = session.as_tenant()
    key = idempotency_key or uuid.uuid4().hex
    body = {"workflow": workflow, "input": fields, "priority": priority}
    try:
        started = api.post("/v1/runs", body, headers={"idempotency-key": key})
    except UnclearAnswer as fault:
        raise UnclearAnswer(
            f"{fault} Whether the run was started is not known: the same command with "
            f"--idempotency-key {key} starts it or finds it."
        ) from fault
    run_id: str = started["id"]
    if wait:
        _watch(session.console, api, run_id)
    elif session.console.as_json:
        session.console.answer_json(started)
    else:
        session.console.answer(run_id)


@connected
def watch(session: Session, run: RunArgument) -> None:
    """Follow a run live from its beginning to its end; exit 4 unless it succeeds."""
    _watch(session.console, session.as_tenant(), run)


def read_input(given: str) -> Mapping[str, Any]:
    """Raises typer.BadParameter, which says what is wrong and where."""
    source, text = "--input", given
    if given == "-":
        source, text = "stdin", sys.stdin.read()
    elif given.startswith("@"):
        source = given[1:]
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise typer.BadParameter(f"{source} cannot be read: {fault}") from fault
    try:
        fields = json.loads(text)
    except ValueError as fault:
        raise typer.BadParameter(f"{source} is no JSON: {fault}") from fault
    if not isinstance(fields, dict):
        raise typer.BadParameter(f'{source} must hold a JSON object, such as {{"name": "Ada"}}.')
    return cast("dict[str, Any]", fields)


def _watch(console: Console, api: ApiClient, run: str) -> None:
    """Progress is for people: with --json only the run as it ended is printed."""
    progress = Progress(run, console.style)
    if not console.as_json:
        console.say(f"Run {run}")
    try:
        for event in follow(api.target, run):
            for line in progress.take(event):
                if not console.as_json:
                    console.say(line)
            if progress.outcome:
                break
    except KeyboardInterrupt:
        console.say(f"The run goes on: headrace watch {run}")
        raise
    document = api.get(f"/v1/runs/{run}")
    if console.as_json:
        console.answer_json(document)
    else:
        _answer_end(console, document)
    if document["status"] != SUCCEEDED:
        raise typer.Exit(ExitCode.RUN_NOT_SUCCEEDED)


def _answer_end(console: Console, run: Mapping[str, Any]) -> None:
    if run["status"] == SUCCEEDED and run["output"] is not None:
        console.answer(json.dumps(run["output"], indent=2, ensure_ascii=False))
    for hint in decision_hints(run):
        console.say(hint)
    if run["status"] != SUCCEEDED:
        console.say(f"What happened: headrace show {run['id']}")
