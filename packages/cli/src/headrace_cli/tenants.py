"""`headrace tenants` and `headrace keys`, for administrators."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from headrace_cli.api_client import ApiClient
from headrace_cli.connection import kept_tenants
from headrace_cli.home import Home
from headrace_cli.rendering.lists import render_keys, render_tenants
from headrace_cli.session import Session, connected
from headrace_core.errors import SetupError

tenants = typer.Typer(help="Tenants of this Headrace (administrators).", no_args_is_help=True)
keys = typer.Typer(help="API keys of a tenant (administrators).", no_args_is_help=True)

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT")]
KEPT_KEY_NAME = "command line"
EDITOR = "editor"


@tenants.command("list")
@connected
def list_tenants(session: Session) -> None:
    """List all tenants."""
    answer = session.as_administrator().get("/v1/tenants")
    if session.console.as_json:
        session.console.answer_json(answer)
    elif answer["tenants"]:
        kept = kept_tenants(session.home) if session.connections.is_own else []
        session.console.answer(render_tenants(answer["tenants"], kept, session.console.style))
    else:
        session.console.say("There is no tenant yet: headrace tenants add NAME")


@tenants.command("add")
@connected
def add_tenant(
    session: Session,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and dashes.")],
    weight: Annotated[int, typer.Option(min=1, help="Share of the executors.")] = 1,
) -> None:
    """Add a tenant, and keep an editor's key for it in the home of this machine.

    With --url no key is made: add one with `headrace keys add`.
    """
    api = session.as_administrator()
    tenant = api.post("/v1/tenants", {"id": name, "weight": weight})
    kept = session.connections.is_own and _keep_key(api, session.home, name)
    if session.console.as_json:
        session.console.answer_json({**tenant, "key_kept": kept})
        return
    session.console.answer(f"Tenant {name}")
    if kept:
        session.console.say(f"Its key is kept in {session.home.tenant_key_file(name)}.")
        session.console.say("Next: headrace publish FILE, headrace run NAME")


@keys.command("list")
@connected
def list_keys(session: Session, tenant_id: TenantArgument) -> None:
    """List a tenant's keys, without their secrets."""
    answer = session.as_administrator().get(f"/v1/tenants/{tenant_id}/keys")
    if session.console.as_json:
        session.console.answer_json(answer)
    elif answer["keys"]:
        session.console.answer(render_keys(answer["keys"], session.console.style))
    else:
        session.console.say(f"{tenant_id} has no key: headrace keys add {tenant_id} --name NAME")


@keys.command("add")
@connected
def add_key(
    session: Session,
    tenant_id: TenantArgument,
    name: Annotated[str, typer.Option(help="What it is for.")],
    role: Annotated[
        str,
        typer.Option(
            help="viewer reads, starter also starts, editor does everything, worker only serves "
            "tasks."
        ),
    ] = EDITOR,
) -> None:
    """Make an API key. It is shown this once."""
    made = _make_key(session.as_administrator(), tenant_id, name, role)
    if session.console.as_json:
        session.console.answer_json(made)
    else:
        session.console.answer(made["key"])
        session.console.say(f"Key {made['id']} ({role}). It is not shown again: keep it safe.")


@keys.command("revoke")
@connected
def revoke_key(
    session: Session,
    tenant_id: TenantArgument,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="See `headrace keys list`.")],
) -> None:
    """Revoke an API key; it is refused after at most five seconds."""
    session.as_administrator().delete(f"/v1/tenants/{tenant_id}/keys/{key_id}")
    if session.console.as_json:
        session.console.answer_json({"tenant": tenant_id, "id": key_id, "revoked": True})
    else:
        session.console.say(f"Key {key_id} of {tenant_id} is revoked")


def _make_key(api: ApiClient, tenant: str, name: str, role: str) -> Mapping[str, Any]:
    return api.post(f"/v1/tenants/{tenant}/keys", {"name": name, "role": role})


def _keep_key(api: ApiClient, home: Home, tenant: str) -> bool:
    """Whether the home has one now. One that it has stays: adding a tenant may be repeated."""
    file = home.tenant_key_file(tenant)
    if file.exists():
        return True
    made = _make_key(api, tenant, KEPT_KEY_NAME, EDITOR)
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(made["key"] + "\n")
    except OSError as fault:
        raise SetupError(f"{file} cannot be written: {fault.strerror or fault}.") from fault
    return True
