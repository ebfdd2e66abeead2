"""`headrace fork`: a new run from the state of another, or a preview of it."""

import json
import uuid
from typing import Annotated, Any

import typer

from headrace_cli.api_client import UnclearAnswer
from headrace_cli.following import follow_to_end
from headrace_cli.options import RunArgument
from headrace_cli.rendering.fork_text import render_fork
from headrace_cli.session import Session, connected
from headrace_cli.start import read_input


@connected
def fork(
    session: Session,
    run: RunArgument,
    at: Annotated[
        int, typer.Option(min=0, help="Last event of a turn; 0 is the newest event.")
    ] = 0,
    version: Annotated[str, typer.Option(help="A number or a label; default: the same.")] = "",
    given: Annotated[
        str, typer.Option("--input", help="Inputs to replace: a JSON object, @FILE, or -.")
    ] = "{}",
    output: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP=JSON", help="An output in the place of the step's own."),
    ] = None,
    again: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Run this step again.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Kept with the new run.")] = "",
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and request again answers the same run.")
    ] = None,
    *,
    preview: Annotated[
        bool, typer.Option("--preview", help="Say what would be reused and run; start nothing.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the run's id and return at once.")
    ] = False,
) -> None:
    """Fork a run: a new one begins with what had ended, the rest of it runs again.

    Without options it goes on after the last successful steps. Steps that an edit leads on to run
    again too. What changes something outside is listed before it is started.
    """
    body = {
        "sequence": at,
        "version": version,
        "input": read_input(given),
        "outputs": dict(_assignment(text) for text in output or ()),
        "again": again or [],
        "reason": reason,
    }
    api = session.as_tenant()
    if preview:
        planned = api.post(f"/v1/runs/{run}/fork?preview=true", body)
        _answer(session, planned, render_fork(planned, session.console.style))
        return
    key = idempotency_key or uuid.uuid4().hex
    try:
        started = api.post(f"/v1/runs/{run}/fork", body, headers={"idempotency-key": key})
    except UnclearAnswer as fault:
        raise UnclearAnswer(
            f"{fault} Whether the run was forked is not known: the same command with "
            f"--idempotency-key {key} forks it or finds the fork."
        ) from fault
    if detach:
        _answer(session, started, started["id"])
        return
    session.console.say(render_fork(started, session.console.style).rstrip())
    follow_to_end(session, api, started["id"])


def _assignment(text: str) -> tuple[str, Any]:
    """Raises typer.BadParameter."""
    step, sign, value = text.partition("=")
    if not sign or not step:
        raise typer.BadParameter(f"{text!r} is not STEP=JSON, such as --output total=12.")
    try:
        return step, json.loads(value)
    except ValueError as fault:
        raise typer.BadParameter(f"the output of {step} is no JSON: {fault}") from fault


def _answer(session: Session, document: Any, text: str) -> None:
    if session.console.as_json:
        session.console.answer_json(document)
    else:
        session.console.answer(text)
