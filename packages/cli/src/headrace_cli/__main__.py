"""The command `headrace`."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headrace_cli.home import DEFAULT_HOME
from headrace_cli.up import Suite, UpOptions, stop_on_signals
from headrace_core.errors import HeadraceError

app = typer.Typer(
    name="headrace",
    help="Headrace: durable AI workflows for many tenants.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="HEADRACE_HOME", help="State of this installation.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One line of JSON for programs.")]


class Ports(StrEnum):
    DEFAULT = "default"
    AUTO = "auto"


@app.callback()
def headrace() -> None:
    """Headrace: durable AI workflows for many tenants."""


@app.command()
def up(
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,  # noqa: FBT002 - how typer declares a flag
    ports: Annotated[
        Ports, typer.Option(help="auto: any free ports; default: the API on 8080.")
    ] = Ports.DEFAULT,
    api_port: Annotated[
        int | None, typer.Option(help="Port of the API.", min=1, max=65_535)
    ] = None,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error; logs are in HOME/logs.")
    ] = "info",
) -> None:
    """Run the services and their database on this machine until Ctrl-C."""

    def say(line: str) -> None:
        typer.echo(line, err=True)

    options = UpOptions(home, ports is Ports.AUTO, api_port, log_level)
    suite = Suite(options, say)
    stop_on_signals(suite)
    suite.start()
    summary = suite.summary()
    if as_json:
        typer.echo(json.dumps(summary))
        sys.stdout.flush()
    else:
        typer.echo(f"API        {summary['api']}   (documentation: {summary['api']}/docs)")
        typer.echo(f"Admin key  {summary['admin_key']}")
        typer.echo(f"Home       {summary['home']}   (logs in {summary['home']}/logs)")
        typer.echo("Ctrl-C stops everything; started again, unfinished runs go on.")
    try:
        suite.run_until_stopped()
    finally:
        say("Stopping")
        suite.stop()


def main() -> None:
    """Exit code 1 for a refused command or a fault, 2 for a wrong command line."""
    try:
        app()
    except HeadraceError as error:
        typer.echo(f"headrace: {error.code}: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
