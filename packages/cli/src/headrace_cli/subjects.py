"""`headrace subjects`: whose personal data runs hold, and their erasure."""

from typing import Annotated, Any

import typer

from headrace_cli.api_client import ApiClient
from headrace_cli.rendering.lists import render_subjects
from headrace_cli.session import Session, connected

subjects = typer.Typer(help="Data subjects of a tenant, and their erasure.", no_args_is_help=True)

SubjectArgument = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="As the flows' `subject` gives it.")
]
PATH = "/v1/subjects"


@subjects.command("list")
@connected
def list_subjects(
    session: Session,
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="SUBJECT", help="Only the keys of this one.")
    ] = None,
) -> None:
    """List the data subjects that have had a key; each is known by an HMAC of its name."""
    client = session.as_tenant()
    if subject is not None:
        found = client.post(f"{PATH}/find", {"subject": subject})["subjects"]
    else:
        found = _all(client)
    if session.console.as_json:
        session.console.answer_json({"subjects": found})
    elif found:
        session.console.answer(render_subjects(found, session.console.style))
    else:
        session.console.say("No data subject has a key: no run of a flow with `subject` began.")


@subjects.command("erase")
@connected
def erase_subject(
    session: Session,
    subject: SubjectArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy a data subject's key for ever: its runs' payloads cannot be opened any more."""
    if not yes:
        typer.confirm(f"Erase {subject} for ever?", abort=True, err=True)
    answer = session.as_tenant().post(f"{PATH}/erase", {"subject": subject})
    if session.console.as_json:
        session.console.answer_json(answer)
    else:
        session.console.say(f"Erased: key {answer['key']} is destroyed")


def _all(client: ApiClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = client.get(PATH, cursor=cursor)
        found += page["subjects"]
        cursor = page["next_cursor"] or ""
        if not cursor:
            return found
