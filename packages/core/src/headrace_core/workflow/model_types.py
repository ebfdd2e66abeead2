"""Scalars of the definition language, each with the pattern or range that the schema states.

JSON has no undefined: a key that is present with `null` is not an absent key and is refused,
unless its type says any value.
"""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from headrace_core.workflow.duration import PATTERN as DURATION_PATTERN

T = TypeVar("T")

ID_PATTERN = "^[a-z][a-z0-9_]{0,62}$"
FLOW_NAME_PATTERN = "^[a-z][a-z0-9-]{0,62}$"
NEED_PATTERN = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$"
ACTION_PATTERN = (
    r"^(flow/)?[a-z][a-z0-9_.-]*"
    r"@([0-9]+(\.[0-9]+){0,2}|[a-z][a-z0-9-]*|sha256-[0-9a-f]{64})$"
)


def _present(value: object) -> object:
    if value is None:
        raise PydanticCustomError("null_value", "a key without a value")
    return value


def _whole(value: object) -> object:
    """JSON knows one kind of number: 3.0 is the integer 3."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise PydanticCustomError("not_unique", "an entry stands twice in the list")
    return values


Maybe = Annotated[T | None, BeforeValidator(_present)]
"""A key that may be absent but not null."""

WHOLE = BeforeValidator(_whole)
"""Stands last in an annotation, so that the bounds before it apply to the integer."""
Count = Annotated[int, Field(ge=0), WHOLE]
Positive = Annotated[int, Field(ge=1), WHOLE]
Percent = Annotated[float, Field(ge=0, le=100)]
Factor = Annotated[float, Field(ge=1)]

Id = Annotated[str, Field(pattern=ID_PATTERN)]
FlowName = Annotated[str, Field(pattern=FLOW_NAME_PATTERN)]
Duration = Annotated[str, Field(pattern=DURATION_PATTERN)]
Uses = Annotated[str, Field(pattern=ACTION_PATTERN)]
Cel = Annotated[str, Field(description="CEL expression, no braces")]
Need = Annotated[str, Field(pattern=NEED_PATTERN)]
Needs = Annotated[
    list[Need], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})
]
Object = dict[str, Any]
"""Any JSON object; strings in it may be templates where the key says so."""
Texts = Annotated[list[str], Field(min_length=1)]


class Model(BaseModel):
    """Nothing is coerced and nothing unknown is ignored; attribute docstrings become the
    descriptions that an editor shows."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        populate_by_name=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )
