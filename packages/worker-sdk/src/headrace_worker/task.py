"""`@task`: a function becomes what steps call as `worker.<name>@<version>`."""

import inspect
import re
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from headrace_core.errors import InvalidInput
from headrace_worker.arguments import Parameters

NAME = re.compile(r"[a-z][a-z0-9_.-]{0,99}")
P = ParamSpec("P")
R = TypeVar("R")


class WorkerTask(Generic[P, R]):
    """Called itself, it is the function: tests of a task need no worker.

    `name` is what steps call, without `worker.`: `resize@1`.
    """

    def __init__(self, function: Callable[P, R], name: str, version: int) -> None:
        if not NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r} is not the name of a task: lower-case letters, digits, '_', '.', '-', "
                "a letter first, 100 at most."
            )
        if version < 1:
            raise InvalidInput(f"The version of task {name!r} is a number from 1, not {version}.")
        self.function = function
        self.name = f"{name}@{version}"
        self.parameters = Parameters(function)
        self.is_async = inspect.iscoroutinefunction(function)
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task worker.{self.name}>"


AnyTask = WorkerTask[Any, Any]


@overload
def task(function: Callable[P, R], /) -> WorkerTask[P, R]: ...
@overload
def task(*, name: str = "", version: int = 1) -> Callable[[Callable[P, R]], WorkerTask[P, R]]: ...


def task(function: Callable[..., Any] | None = None, /, *, name: str = "", version: int = 1) -> Any:
    """Make a function a task. Async functions run in the worker's loop, others in a thread each.

    Raises InvalidInput for a name, a version or a signature that no step could call.
    """

    def made(of: Callable[..., Any]) -> AnyTask:
        return WorkerTask(of, name or of.__name__, version)

    return made if function is None else made(function)
