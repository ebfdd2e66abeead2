"""Typed input: one frozen pydantic model per action, and faults that name their place."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

Model = TypeVar("Model", bound=BaseModel)
FAULTS_MAX = 20


class ActionInput(BaseModel):
    """Base of an action's input: strict, closed, and silent about values, which may be secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class BadInput(Exception):
    """The input does not fit the action: said before anything was done."""


def read_input(model: type[Model], given: Mapping[str, Any]) -> Model:
    """Raises BadInput that lists every fault, without the values."""
    try:
        return model.model_validate(given)
    except ValidationError as invalid:
        errors = invalid.errors(include_input=False, include_url=False, include_context=False)
        lines = [f"{_place(error['loc'])}: {error['msg']}" for error in errors[:FAULTS_MAX]]
        raise BadInput("; ".join(lines)) from None


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "input"
