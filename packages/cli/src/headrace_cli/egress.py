"""`headrace egress`: to which addresses the steps of a tenant may connect."""

from dataclasses import dataclass
from typing import Annotated

import typer

from headrace_cli.rendering.lists import render_egress
from headrace_cli.session import Session, connected

egress = typer.Typer(help="Addresses that a tenant's steps may connect to.", no_args_is_help=True)

AddressArgument = Annotated[
    str, typer.Argument(metavar="HOST:PORT", help="Exactly one; [::1]:80 for IPv6.")
]
PATH = "/v1/egress"
PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@egress.command("allow")
@connected
def allow(session: Session, address: AddressArgument) -> None:
    """Allow connections to one host and port, which the guard would refuse otherwise."""
    wanted = read_address(address)
    answer = session.as_tenant().put(PATH, {"host": wanted.host, "port": wanted.port})
    if session.console.as_json:
        session.console.answer_json(answer or {"host": wanted.host, "port": wanted.port})
    else:
        session.console.say(f"{wanted} is allowed")


@egress.command("list")
@connected
def list_allowed(session: Session) -> None:
    """List what is allowed beyond the public internet."""
    answer = session.as_tenant().get(PATH)
    if session.console.as_json:
        session.console.answer_json(answer)
    elif answer["allowed"]:
        session.console.answer(render_egress(answer["allowed"], session.console.style))
    else:
        session.console.say("Nothing is allowed yet: headrace egress allow HOST:PORT")


@egress.command("deny")
@connected
def deny(session: Session, address: AddressArgument) -> None:
    """Take an allowed address back."""
    unwanted = read_address(address)
    session.as_tenant().delete(PATH, host=unwanted.host, port=unwanted.port)
    if session.console.as_json:
        session.console.answer_json(
            {"host": unwanted.host, "port": unwanted.port, "allowed": False}
        )
    else:
        session.console.say(f"{unwanted} is no longer allowed")


def read_address(text: str) -> Address:
    """Raises typer.BadParameter."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    valid_port = port.isascii() and port.isdigit() and 1 <= int(port) <= PORT_MAX
    if not colon or not bare or not valid_port or (":" in bare and not bracketed) or "/" in bare:
        raise typer.BadParameter(f"{text!r} is no HOST:PORT, such as db.example.com:5432.")
    return Address(bare, int(port))
