"""`headrace publish` and `headrace workflows`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace_cli.api_client import ApiClient
from headrace_cli.definitions import PathsArgument
from headrace_cli.rendering.lists import render_workflows
from headrace_cli.session import Session, connected

SHOWN_LETTERS_MAX = 200


@connected
def publish(
    session: Session,
    paths: PathsArgument,
    label: Annotated[
        str, typer.Option(help="Label to move to the new versions; an empty one moves none.")
    ] = "stable",
) -> None:
    """Publish definitions: each becomes the next version of its workflow.

    Flows that others of them call are published first. The same content is the same version.
    """
    # Reading definitions costs a third of a second, which the other commands need not spend.
    from headrace_cli.flow_files import callees_first, read_flow_files

    files = callees_first(read_flow_files(paths))
    api = session.as_tenant()
    published: list[Mapping[str, Any]] = []
    for file in files:
        # Said at once: a refusal of the next file does not undo this one.
        published.append(_publish(api, file.shown, file.text, label))
        if not session.console.as_json:
            session.console.answer(published_line(published[-1]))
    if session.console.as_json:
        session.console.answer_json({"published": published})


@connected
def workflows(session: Session) -> None:
    """List workflows with their versions and labels."""
    answer = session.as_tenant().get("/v1/workflows")
    if session.console.as_json:
        session.console.answer_json(answer)
    elif answer["workflows"]:
        session.console.answer(render_workflows(answer["workflows"], session.console.style))
    else:
        session.console.say("No workflow is published yet: headrace publish FILE")


def published_line(version: Mapping[str, Any]) -> str:
    label = f", labelled {version['label']}" if version["label"] else ""
    known = "" if version["new"] else " (was published before)"
    return f"{version['name']}@{version['version']}{label}{known}"


def _publish(api: ApiClient, shown: str, text: bytes, label: str) -> Mapping[str, Any]:
    # A long path would be refused: it is only shown.
    name = shown if len(shown) <= SHOWN_LETTERS_MAX else Path(shown).name
    return api.post_text("/v1/workflows", text, label=label, file=name)
