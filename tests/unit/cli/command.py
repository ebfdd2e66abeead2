"""The command line in this process, for commands that need no service."""

from typer.testing import CliRunner, Result

from headrace_cli.__main__ import app

SETTINGS = ("HEADRACE_HOME", "HEADRACE_URL", "HEADRACE_API_KEY", "HEADRACE_TENANT")


def headrace(*arguments: str, given: bytes | None = None) -> Result:
    """`given` is stdin. No setting of the environment reaches the command."""
    environment: dict[str, str | None] = dict.fromkeys(SETTINGS)
    return CliRunner().invoke(app, list(arguments), input=given, env=environment)
