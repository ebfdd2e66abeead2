"""`headrace run` and `headrace watch`: start a run, follow it live, end as it ended."""

import json
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from headrace_cli.api_client import UnclearAnswer
from headrace_cli.following import follow_to_end
from headrace_cli.options import RunArgument
from headrace_cli.session import Session, connected


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
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the run's id and return at once.")
    ] = False,
) -> None:
    """Start a run of a published workflow and follow it live to its end.

    Then prints its output, with --json the whole run. Exit code 4 unless it succeeds. Ctrl-C
    stops the watching, not the run.
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
    if not detach:
        follow_to_end(session, api, run_id)
    elif session.console.as_json:
        session.console.answer_json(started)
    else:
        session.console.answer(run_id)


@connected
def watch(session: Session, run: RunArgument) -> None:
    """Follow a run live from its beginning to its end; exit code 4 unless it succeeds."""
    follow_to_end(session, session.as_tenant(), run)


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
