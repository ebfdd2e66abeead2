"""`headrace secrets`: what connections of a tenant log in with. Values go in and never out."""

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from headrace_cli.rendering.lists import render_secrets
from headrace_cli.session import Session, connected

secrets = typer.Typer(help="Secrets of a tenant, such as passwords.", no_args_is_help=True)

SecretArgument = Annotated[str, typer.Argument(metavar="NAME", help="As flows name it.")]
PATH = "/v1/secrets"


@secrets.command("set")
@connected
def set_secret(
    session: Session,
    name: SecretArgument,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", metavar="FILE", help="Read the value from it.")
    ] = None,
) -> None:
    """Keep a value under a name: asked for at a terminal, else read from stdin or --from-file.

    It is never an argument, where other users of the machine would see it. One line break at
    its end is not part of it. The same name again is the next version.
    """
    answer = session.as_tenant().put(_path(name), {"value": read_secret_value(from_file, name)})
    if session.console.as_json:
        session.console.answer_json(answer)
    else:
        session.console.say(f"Secret {name}, version {answer['version']}")


@secrets.command("list")
@connected
def list_secrets(session: Session) -> None:
    """List names and versions, never values."""
    answer = session.as_tenant().get(PATH)
    if session.console.as_json:
        session.console.answer_json(answer)
    elif answer["secrets"]:
        session.console.answer(render_secrets(answer["secrets"], session.console.style))
    else:
        session.console.say("There is no secret yet: headrace secrets set NAME")


@secrets.command("delete")
@connected
def delete_secret(session: Session, name: SecretArgument) -> None:
    """Delete a secret with all its versions; steps that need it fail from then on."""
    session.as_tenant().delete(_path(name))
    if session.console.as_json:
        session.console.answer_json({"name": name, "deleted": True})
    else:
        session.console.say(f"Secret {name} is deleted")


def read_secret_value(from_file: Path | None, name: str) -> str:
    """Raises typer.BadParameter where there is no value, or one that is no text."""
    if from_file is None and sys.stdin.isatty():
        asked: str = typer.prompt(f"Value of {name}", hide_input=True, err=True)
        return asked
    source = "stdin" if from_file is None else str(from_file)
    try:
        content = sys.stdin.buffer.read() if from_file is None else from_file.read_bytes()
        value = content.decode()
    except OSError as fault:
        raise typer.BadParameter(f"{source} cannot be read: {fault.strerror or fault}.") from fault
    except UnicodeDecodeError as fault:
        raise typer.BadParameter(f"{source} is not UTF-8 text.") from fault
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise typer.BadParameter(f"{source} holds no value: nothing was changed.")
    return value


def _path(name: str) -> str:
    if "/" in name:
        # It would be another address of the API, however it is quoted.
        raise typer.BadParameter(f"{name!r} is no name of a secret: it holds a slash.")
    return f"{PATH}/{quote(name, safe='')}"
