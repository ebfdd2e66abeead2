"""How a command fails: what is wrong and what to do on stderr, and an exit code.

With --json the failure is also the one document on stdout: `{"error": {"code", "message"}}`.
"""

import functools
from collections.abc import Callable
from typing import Any

import typer

from headrace_cli.api_client import DefinitionRefused
from headrace_cli.console import Console, open_console
from headrace_cli.exit_code import ExitCode, exit_code_of
from headrace_core.errors import HeadraceError, InvalidInput

UNNAMED = "HR-0000"
"""The code of an error that has no page."""


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with errors of the tree told to whoever sits there."""

    @functools.wraps(command)
    def run(*arguments: Any, **values: Any) -> None:
        try:
            command(*arguments, **values)
        except HeadraceError as fault:
            code = report(open_console(as_json=bool(values.get("as_json"))), fault)
            raise typer.Exit(code) from fault
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None

    return run


def report(console: Console, fault: HeadraceError) -> ExitCode:
    """Tell it; the exit code that it means."""
    console.say(failure_text(fault))
    if console.as_json:
        console.answer_json({"error": failure_document(fault)})
    return exit_code_of(fault)


def failure_text(fault: HeadraceError) -> str:
    """For people: the faults of a definition as a compiler prints them, others as a list."""
    code = "" if fault.code == UNNAMED else f"{fault.code}: "
    head = f"headrace: {code}{fault.message}"
    match fault:
        case DefinitionRefused():
            return f"{fault.rendered}{head}"
        case InvalidInput():
            return "\n".join([head, *(f"  {one}" for one in fault.faults)])
        case _:
            return head


def failure_document(fault: HeadraceError) -> dict[str, Any]:
    document: dict[str, Any] = {"code": fault.code, "message": fault.message}
    if isinstance(fault, InvalidInput) and fault.faults:
        document["faults"] = list(fault.faults)
    if isinstance(fault, DefinitionRefused):
        document["diagnostics"] = fault.diagnostics
    return document
