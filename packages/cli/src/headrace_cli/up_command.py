"""`headrace up`: its options, and what it says once everything runs."""

from enum import StrEnum
from typing import Annotated

import typer

from headrace_cli.console import open_console
from headrace_cli.failure import reported
from headrace_cli.home import DEFAULT_HOME
from headrace_cli.options import HomeOption, JsonOption


class Ports(StrEnum):
    DEFAULT = "default"
    AUTO = "auto"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@reported
def up(
    *,
    ports: Annotated[
        Ports, typer.Option(help="auto: any free ports; default: the API on 8080.")
    ] = Ports.DEFAULT,
    api_port: Annotated[
        int | None, typer.Option(help="Port of the API.", min=1, max=65_535)
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option(help="Of the services; their logs are in HOME/logs.")
    ] = LogLevel.INFO,
    as_json: JsonOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Run the services and their database on this machine until Ctrl-C.

    Started again it goes on with unfinished runs. --json prints one line, when all is ready.
    """
    # Keys and the database's supervisor cost the other commands nothing.
    from headrace_cli.up import Suite, UpOptions, stop_on_signals

    console = open_console(as_json=as_json)
    suite = Suite(UpOptions(home, ports is Ports.AUTO, api_port, log_level.value), console.say)
    stop_on_signals(suite)
    suite.start()
    summary = suite.summary()
    if as_json:
        console.answer_json(summary)
    else:
        console.answer(f"API        {summary['api']}   (documentation: {summary['api']}/docs)")
        console.answer(f"Workers    {summary['worker_address']}")
        console.answer(f"Admin key  {summary['admin_key']}")
        console.answer(f"Home       {summary['home']}   (logs in {summary['home']}/logs)")
        console.answer("Ctrl-C stops everything; started again, unfinished runs go on.")
    try:
        suite.run_until_stopped()
    finally:
        console.say("Stopping")
        suite.stop()
