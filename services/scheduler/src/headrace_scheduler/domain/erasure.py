"""A payload whose key was destroyed: the run that needs it is told so, as by any other error."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from headrace_core.errors import KeyErased
from headrace_core.run.events import StepError
from headrace_scheduler.domain.failure import INPUT_ERASED, Seals, engine_error

Asked = ParamSpec("Asked")
Value = TypeVar("Value")


def erased_error(turn: Seals, fault: KeyErased) -> StepError:
    return engine_error(turn, INPUT_ERASED, fault.message)


class OrErased:
    """Of a function that answers a value and an error: what is erased is such an error, beside
    `nothing` as the value. The function's first argument is the turn."""

    def __init__(self, nothing: Any) -> None:
        self._nothing = nothing

    def __call__(
        self, decide: Callable[Asked, tuple[Value, StepError | None]]
    ) -> Callable[Asked, tuple[Value, StepError | None]]:
        @wraps(decide)
        def guarded(*args: Asked.args, **named: Asked.kwargs) -> tuple[Value, StepError | None]:
            try:
                return decide(*args, **named)
            except KeyErased as fault:
                return self._nothing, erased_error(cast("Seals", args[0]), fault)

        return guarded
