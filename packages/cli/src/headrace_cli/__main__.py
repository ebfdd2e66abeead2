"""The command `headrace`: what there is, in the order in which it is met."""

from importlib.metadata import version
from typing import Annotated

import typer

from headrace_cli import (
    definitions,
    diffs,
    egress,
    events,
    explain,
    flow_tests,
    forks,
    letters,
    replay,
    runs,
    start,
    subjects,
    tenant_secrets,
    tenants,
    up_command,
    workflows,
)
from headrace_cli.exit_code import MEANINGS

# Blank lines keep them apart: the help joins others into one paragraph.
_EXIT_CODES = "\n\n".join(f"{code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())

app = typer.Typer(
    name="headrace",
    help="Headrace: durable AI workflows for many tenants.",
    epilog=f"Exit codes:\n\n{_EXIT_CODES}",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:  # noqa: FBT001 - how typer passes a flag
    if asked:
        typer.echo(f"headrace {version('headrace-cli')}")
        raise typer.Exit


@app.callback()
def headrace(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Headrace: durable AI workflows for many tenants.

    `headrace up` runs one on this machine; the other commands find it there, or are told with
    --url and --key where another one is. Every command has --json.
    """


def _register() -> None:
    here, define = "This machine", "Definitions"
    running, administer = "Runs", "Administration"
    app.command(rich_help_panel=here)(up_command.up)
    app.command(rich_help_panel=define)(definitions.validate)
    app.command("test", rich_help_panel=define)(flow_tests.run_cases)
    app.command(rich_help_panel=define)(definitions.schema)
    app.command(rich_help_panel=define)(workflows.publish)
    app.command(rich_help_panel=define)(workflows.workflows)
    app.command(rich_help_panel=running)(start.run)
    app.command(rich_help_panel=running)(start.watch)
    app.command(rich_help_panel=running)(runs.runs)
    app.command(rich_help_panel=running)(runs.show)
    app.command(rich_help_panel=running)(runs.events)
    app.command(rich_help_panel=running)(explain.explain)
    app.command(rich_help_panel=running)(runs.state)
    app.command(rich_help_panel=running)(runs.cancel)
    app.command(rich_help_panel=running)(runs.resume)
    app.command(rich_help_panel=running)(runs.approve)
    app.command(rich_help_panel=running)(forks.fork)
    app.command(rich_help_panel=running)(diffs.diff)
    app.command(rich_help_panel=running)(events.signal)
    app.add_typer(events.event, name="event", rich_help_panel=running)
    app.add_typer(letters.letters, name="letters", rich_help_panel=running)
    app.command(rich_help_panel=running)(runs.export)
    app.command(rich_help_panel=running)(replay.replay)
    app.add_typer(tenants.tenants, name="tenants", rich_help_panel=administer)
    app.add_typer(tenants.keys, name="keys", rich_help_panel=administer)
    app.add_typer(tenant_secrets.secrets, name="secrets", rich_help_panel=administer)
    app.add_typer(subjects.subjects, name="subjects", rich_help_panel=administer)
    app.add_typer(egress.egress, name="egress", rich_help_panel=administer)


_register()


def main() -> None:
    app()


if __name__ == "__main__":
    main()
