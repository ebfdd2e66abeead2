"""Options that several commands share, so that they look the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="HEADRACE_HOME", help="State of this installation.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for programs, alone on stdout.")]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="HEADRACE_URL",
        help="Address of the API. Default: what `headrace up` runs on this machine.",
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="HEADRACE_API_KEY",
        show_envvar=True,
        help="API key. Default: the one kept in the home.",
    ),
]
TenantOption = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        envvar="HEADRACE_TENANT",
        help="Whose key of the home is used, where it keeps several.",
    ),
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
