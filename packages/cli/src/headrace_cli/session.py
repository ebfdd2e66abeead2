"""What every command that talks to a Headrace gets, and the options for it on its command line."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from headrace_cli.api_client import ApiClient
from headrace_cli.connection import Connections
from headrace_cli.console import Console, open_console
from headrace_cli.failure import reported
from headrace_cli.home import DEFAULT_HOME, Home, home_at
from headrace_cli.options import HomeOption, JsonOption, KeyOption, TenantOption, UrlOption

Parameters = ParamSpec("Parameters")


@dataclass(frozen=True, slots=True)
class Session:
    console: Console
    home: Home
    connections: Connections

    def as_tenant(self) -> ApiClient:
        return ApiClient(self.connections.as_tenant())

    def as_administrator(self) -> ApiClient:
        return ApiClient(self.connections.as_administrator())


def connected(
    command: Callable[Concatenate[Session, Parameters], None],
) -> Callable[..., None]:
    """The command with the connection's options on its command line, a Session in its hand."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    options = [_option(*option) for option in _OPTIONS]

    @functools.wraps(command)
    def run(*arguments: Any, **values: Any) -> None:
        session = _session(**{name: values.pop(name) for name, _, _ in _OPTIONS})
        command(session, *arguments, **values)

    parameters = [*own, *options]
    told = reported(run)
    # What the command line shows: not the session, but the options that make one.
    vars(told)["__signature__"] = inspect.Signature(parameters)
    told.__annotations__ = {one.name: one.annotation for one in parameters}
    del vars(told)["__wrapped__"]
    return told


_OPTIONS: tuple[tuple[str, Any, Any], ...] = (
    ("as_json", JsonOption, False),
    ("url", UrlOption, None),
    ("key", KeyOption, None),
    ("tenant", TenantOption, None),
    ("home", HomeOption, DEFAULT_HOME),
)


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _session(
    *, as_json: bool, url: str | None, key: str | None, tenant: str | None, home: Path
) -> Session:
    opened = home_at(home)
    return Session(open_console(as_json=as_json), opened, Connections(opened, url, key, tenant))
