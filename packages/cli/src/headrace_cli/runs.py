"""Commands about runs that were started: list, show, events, state, export, cancel, resume,
approve.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from headrace_cli.api_client import ApiClient
from headrace_cli.console import now_ms
from headrace_cli.options import RunArgument
from headrace_cli.rendering.event_line import render_event
from headrace_cli.rendering.lists import render_runs
from headrace_cli.rendering.run_text import decision_hints
from headrace_cli.rendering.state import render_state
from headrace_cli.rendering.timeline import render_timeline
from headrace_cli.session import Session, connected
from headrace_core.errors import InvalidInput, SetupError
from headrace_core.run.status import RunStatus

PAGE_EVENTS = 1_000


@connected
def runs(
    session: Session,
    flow: Annotated[str, typer.Option(help="Of this workflow only.")] = "",
    status: Annotated[
        str,
        typer.Option(help=f"One of {', '.join(one.text for one in RunStatus)}."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
) -> None:
    """List runs, the newest first."""
    if status and status not in {one.text for one in RunStatus}:
        raise typer.BadParameter(f"{status!r} is no status of a run; see --help.")
    answer = session.as_tenant().get("/v1/runs", workflow=flow, status=status, limit=limit)
    if session.console.as_json:
        session.console.answer_json(answer)
    elif answer["runs"]:
        session.console.answer(render_runs(answer["runs"], session.console.style))
        if answer["next_cursor"]:
            session.console.say(f"There are older ones: --limit {min(500, limit * 2)}")
    else:
        session.console.say("No such run. Start one: headrace run NAME")


@connected
def show(session: Session, run: RunArgument) -> None:
    """Show a run and its timeline: steps, attempts, waits, durations, errors."""
    document = session.as_tenant().get(f"/v1/runs/{run}")
    if session.console.as_json:
        session.console.answer_json(document)
        return
    session.console.answer(render_timeline(document, session.console.style, now_ms()))
    for hint in decision_hints(document):
        session.console.say(f"Decide: {hint}")


@connected
def events(
    session: Session,
    run: RunArgument,
    after: Annotated[int, typer.Option(min=0, help="Begin after this number.")] = 0,
) -> None:
    """Print every event of a run, one a line; with --json one document a line."""
    for event in all_events(session.as_tenant(), run, after):
        if session.console.as_json:
            session.console.answer_json(event)
        else:
            session.console.answer(render_event(event, session.console.style))


@connected
def state(
    session: Session,
    run: RunArgument,
    at: Annotated[int, typer.Option(min=0, help="After this event; 0 is the newest.")] = 0,
) -> None:
    """Show the state of a run after one of its events, with its hash."""
    answer = session.as_tenant().get(f"/v1/runs/{run}/state", sequence=at)
    if session.console.as_json:
        session.console.answer_json(answer)
    else:
        session.console.answer(render_state(answer, session.console.style))


@connected
def export(
    session: Session,
    run: RunArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; - for stdout.")],
) -> None:
    """Write a run to a file that `headrace replay` verifies and replays offline.

    The file holds the keys of this run's payloads: who has it can read them.
    """
    api = session.as_tenant()
    if str(output) == "-":
        with api.download(f"/v1/runs/{run}/export") as chunks:
            for chunk in chunks:
                typer.get_binary_stream("stdout").write(chunk)
        return
    size = _download(api, f"/v1/runs/{run}/export", output)
    if session.console.as_json:
        session.console.answer_json({"run": run, "file": str(output), "bytes": size})
    else:
        session.console.say(f"{output}: {size:,} bytes. Verify: headrace replay {output}")


@connected
def cancel(
    session: Session,
    run: RunArgument,
    reason: Annotated[str, typer.Option(help="Kept with the run.")] = "",
) -> None:
    """Cancel a run; it ends when its open attempts have."""
    answer = session.as_tenant().post(f"/v1/runs/{run}/cancel", {"reason": reason})
    if session.console.as_json:
        session.console.answer_json(answer)
    else:
        session.console.say(f"{run} is being cancelled: headrace watch {run}")


@connected
def resume(
    session: Session,
    run: RunArgument,
    retry: Annotated[list[str] | None, typer.Option(help="Try this step again.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Go on without this step.")] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP=JSON", help="Take this as the step's output; STEP.PORT too."),
    ] = None,
    edited: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="STEP=JSON", help="Set these members of its `with`."),
    ] = None,
) -> None:
    """Resume a suspended run; failed steps that nothing is said of are tried again."""
    edits: list[dict[str, Any]] = [{"step": step, "action": "retry"} for step in retry or ()]
    edits += ({"step": step, "action": "skip"} for step in skip or ())
    for said in output or ():
        step, value = _step_value("--output", said)
        name, _, port = step.partition(".")
        edits.append({"step": name, "action": "output", "value": value, "port": port})
    for said in edited or ():
        step, value = _step_value("--input", said)
        edits.append({"step": step, "action": "input", "value": value})
    answer = session.as_tenant().post(f"/v1/runs/{run}/resume", {"edits": edits})
    if session.console.as_json:
        session.console.answer_json(answer)
    else:
        session.console.say(f"{run} goes on: headrace watch {run}")


@connected
def approve(
    session: Session,
    run: RunArgument,
    step: Annotated[str, typer.Argument(metavar="STEP", help="The approval's step.")],
    comment: Annotated[str, typer.Option(help="Kept with the decision.")] = "",
    *,
    reject: Annotated[bool, typer.Option("--reject", help="Decide against it.")] = False,
) -> None:
    """Decide an approval that a run waits for; the first decision counts."""
    decision = "rejected" if reject else "approved"
    body: dict[str, Any] = {"decision": decision, "comment": comment}
    answer = session.as_tenant().post(f"/v1/runs/{run}/approvals/{quote(step, safe='')}", body)
    if session.console.as_json:
        session.console.answer_json(answer)
    else:
        session.console.say(f"Step {step} of {run}: {decision}")


def _step_value(option: str, said: str) -> tuple[str, Any]:
    step, sign, text = said.partition("=")
    if not step or not sign:
        raise typer.BadParameter(f"{said!r} is not STEP=JSON.", param_hint=option)
    try:
        return step, json.loads(text)
    except ValueError as fault:
        raise typer.BadParameter(f"{text!r} is no JSON: {fault}.", param_hint=option) from fault


def all_events(api: ApiClient, run: str, after: int) -> Iterator[Any]:
    more = True
    while more:
        page = api.get(f"/v1/runs/{run}/events", after=after, limit=PAGE_EVENTS)
        yield from page["events"]
        more = page["more"] and bool(page["events"])
        after = page["events"][-1]["sequence"] if page["events"] else after


def _download(api: ApiClient, path: str, output: Path) -> int:
    """Whole or not at all: a file that was cut off must not look like an export."""
    draft = output.with_name(f".{output.name}.part")
    size = 0
    try:
        with api.download(path) as chunks, draft.open("wb") as file:
            # It holds the keys of the run.
            draft.chmod(0o600)
            for chunk in chunks:
                size += file.write(chunk)
        draft.replace(output)
    except OSError as fault:
        raise SetupError(f"{output} cannot be written: {fault.strerror or fault}.") from fault
    finally:
        draft.unlink(missing_ok=True)
    if not size:
        raise InvalidInput(f"The export of {path} is empty.")
    return size
