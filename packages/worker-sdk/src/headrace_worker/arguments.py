"""A step's `with` becomes the arguments of a function, checked against its annotations."""

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from headrace_core.errors import InvalidInput
from headrace_worker.context import Context

WHOLE = "arguments"
"""A function's only parameter of this name takes the whole `with`."""
SHOWN_LETTERS_MAX = 60


class ArgumentsRefused(Exception):
    """`with` does not fit the function; the message names every fault."""


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    adapter: TypeAdapter[Any]
    required: bool


class Parameters:
    """Raises InvalidInput for a function whose parameters cannot be given by name."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._named: dict[str, _Parameter] = {}
        self._rest: _Parameter | None = None
        self._context = ""
        where = f"task function {function.__qualname__!r}"
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except NameError as fault:
            raise InvalidInput(f"{where}: an annotation cannot be read: {fault}") from fault
        for name, parameter in inspect.signature(function).parameters.items():
            hint = hints.get(name, Any)
            if hint is Context:
                self._context = name
                continue
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise InvalidInput(f"{where}: {name!r} cannot be given by name")
            required = parameter.default is parameter.empty
            known = _Parameter(name, _adapter(where, name, hint), required)
            if parameter.kind is parameter.VAR_KEYWORD:
                self._rest = known
            else:
                self._named[name] = known
        self._whole = self._rest is None and list(self._named) == [WHOLE]

    def bind(self, given: bytes, context: Context) -> dict[str, Any]:
        """Keyword arguments for the function. Raises ArgumentsRefused."""
        fields = json.loads(given or b"{}")
        if not isinstance(fields, Mapping):
            raise ArgumentsRefused("`with` must be an object")
        members = cast("Mapping[str, Any]", fields)
        faults: list[str] = []
        bound: dict[str, Any] = {}
        for name, value in {WHOLE: members}.items() if self._whole else members.items():
            parameter = self._named.get(name, self._rest)
            if parameter is None:
                faults.append(f"{name}: this task has no such argument")
            else:
                _check(name, parameter, value, bound, faults)
        if not self._whole:
            missing = [one.name for one in self._named.values() if one.required]
            faults += [f"{name}: missing" for name in missing if name not in members]
        if faults:
            raise ArgumentsRefused("; ".join(faults))
        if self._context:
            bound[self._context] = context
        return bound


def _adapter(where: str, name: str, hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint)
    except (PydanticSchemaGenerationError, PydanticUserError) as fault:
        raise InvalidInput(f"{where}: {name!r} has a type that JSON cannot have: {hint}") from fault


def _check(
    name: str, parameter: _Parameter, value: Any, bound: dict[str, Any], faults: list[str]
) -> None:
    try:
        # From JSON and strict: a date may be text, a number may not.
        bound[name] = parameter.adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as refused:
        for error in refused.errors(include_url=False, include_context=False):
            place = ".".join(map(str, (name, *error["loc"])))
            shown = json.dumps(error["input"], default=repr, ensure_ascii=False)
            shown = shown[:SHOWN_LETTERS_MAX] + "…" * (len(shown) > SHOWN_LETTERS_MAX)
            faults.append(f"{place}: {error['msg']}, not {shown}")
