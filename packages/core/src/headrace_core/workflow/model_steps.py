"""A step: exactly one kind, and the keys that every kind shares."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from headrace_core.workflow.model_types import (
    WHOLE,
    Cel,
    Count,
    Duration,
    Factor,
    Id,
    Maybe,
    Model,
    Needs,
    Object,
    Percent,
    Positive,
    Texts,
    Uses,
)

STEP_KINDS = ("uses", "switch", "wait", "approval", "group", "set", "fail")


class Backoff(Model):
    initial: Maybe[Duration] = None
    factor: Maybe[Factor] = None
    max: Maybe[Duration] = None
    jitter: Maybe[Literal["none", "full", "equal"]] = None


class Retry(Model):
    max_attempts: Annotated[int, Field(ge=1, le=100), WHOLE]
    """All attempts, the first one included."""
    backoff: Maybe[Backoff] = None
    on: Maybe[Texts] = None
    """Error types to retry, matched by prefix, such as `timeout` or `http.5xx`."""
    not_on: Maybe[Texts] = None


class AtLeast(Model):
    at_least: Positive


class Tolerate(Model):
    failures: Maybe[Count] = None
    percent: Maybe[Percent] = None
    """Of all items."""


class Foreach(Model):
    in_: Cel = Field(alias="in")
    """CEL: the list, evaluated once."""
    as_: Id = Field(alias="as")
    """Name by which an item is known in the step."""
    key: Maybe[Cel] = None
    """CEL: identity of an item; its index if absent. Two items with one key fail the step."""
    where: Maybe[Cel] = None
    """CEL: items for which it is false do not exist."""
    max_parallel: Maybe[Positive] = None
    """Open items at a time; 100 if absent."""
    tolerate: Maybe[Tolerate] = None


class Repeat(Model):
    until: Cel
    max: Annotated[int, Field(ge=1, le=1000), WHOLE]
    delay: Maybe[Duration] = None


class RecoveredOutput(Model):
    output: Any


class FallbackUses(Model):
    uses: Uses
    with_: Maybe[Object] = Field(None, alias="with")


class Compensate(Model):
    uses: Uses
    with_: Maybe[Object] = Field(None, alias="with")
    retry: Maybe[Retry] = None


class RateLimit(Model):
    key: str
    per: Duration
    limit: Positive


def _not_error(schema: dict[str, Any]) -> None:
    schema["not"] = {"const": "error"}


class Case(Model):
    port: Annotated[Id, Field(json_schema_extra=_not_error)]
    when: Maybe[Cel] = None
    """CEL; only the last case may lack it."""

    @model_validator(mode="after")
    def _port_is_free(self) -> "Case":
        if self.port == "error":
            raise PydanticCustomError("port_error", "a port may not be named `error`")
        return self


class EventWait(Model):
    topic: str
    key: str
    match: Maybe[Cel] = None
    keep: Maybe[Duration] = None
    """How long an event that came early is kept."""


class Wait(Model):
    for_: Maybe[Duration] = Field(None, alias="for")
    until: Maybe[str] = None
    """An RFC 3339 time, or a template that gives one."""
    event: Maybe[EventWait] = None
    expires: Maybe[Duration] = None


class Escalation(Model):
    after: Duration
    to: Texts
    via: Maybe[Texts] = None


class Approval(Model):
    assignees: Texts
    title: Maybe[str] = None
    form: Maybe[Object] = None
    """JSON Schema of what the decider fills in."""
    expires: Maybe[Duration] = None
    on_expire: Maybe[Literal["approved", "rejected", "expired"]] = None
    """Port taken when nobody decided in time; `expired` if absent."""
    escalate: Maybe[Annotated[list[Escalation], Field(min_length=1)]] = None


class Fail(Model):
    type: Maybe[str] = None
    message: str


def _word_or_object(value: Any) -> str:
    return "<object>" if isinstance(value, dict) else "<word>"


def _uses_or_output(value: Any) -> str:
    return "<output>" if isinstance(value, dict) and "output" in value else "<uses>"


Join = Annotated[
    Annotated[Literal["all", "any", "settled", "always"], Tag("<word>")]
    | Annotated[AtLeast, Tag("<object>")],
    Discriminator(_word_or_object),
]
OnError = Annotated[
    Annotated[Literal["fail", "catch"], Tag("<word>")]
    | Annotated[RecoveredOutput, Tag("<object>")],
    Discriminator(_word_or_object),
]
FallbackEntry = Annotated[
    Annotated[FallbackUses, Tag("<uses>")] | Annotated[RecoveredOutput, Tag("<output>")],
    Discriminator(_uses_or_output),
]


def _exactly_one_kind(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": [kind]} for kind in STEP_KINDS]


class Step(Model):
    model_config = Model.model_config | {"json_schema_extra": _exactly_one_kind}

    title: Maybe[str] = None
    needs: Maybe[Needs] = None
    """Steps, or ports of steps (`route.hot`), that this one comes after."""
    join: Maybe[Join] = None
    """When enough of `needs` have ended; `all` if absent."""
    cancel_others: Maybe[bool] = None
    when: Maybe[Cel] = None
    """CEL: the step is skipped if it is false."""
    with_: Maybe[Object] = Field(None, alias="with")
    """Arguments; strings may hold `${{ CEL }}`."""
    mode: Maybe[Literal["wait", "detach"]] = None
    foreach: Maybe[Foreach] = None
    repeat: Maybe[Repeat] = None
    retry: Maybe[Retry] = None
    timeout: Maybe[Duration] = None
    """Longest time of one attempt; of a sub-flow, of its run."""
    deadline: Maybe[Duration] = None
    """Longest time of all attempts, those of `fallback` included, and the waits between them."""
    heartbeat: Maybe[Duration] = None
    fallback: Maybe[Annotated[list[FallbackEntry], Field(min_length=1)]] = None
    """What is tried, in turn, when all attempts have failed; of a fan-out, for each item."""
    on_error: Maybe[OnError] = None
    compensate: Maybe[Compensate] = None
    idempotency_key: Maybe[str] = None
    priority: Maybe[Annotated[int, Field(ge=-10, le=10), WHOLE]] = None
    rate_limit: Maybe[RateLimit] = None
    sensitive: Maybe[bool] = None
    """Keeps input and output out of lists, search, live text and logs."""
    outputs: Maybe[Object] = None
    """Of a group: name to template."""

    uses: Maybe[Uses] = None
    """An action, a flow (`flow/name@stable`) or a worker's task."""
    switch: Maybe[Annotated[list[Case], Field(min_length=1)]] = None
    """The first case that holds is taken."""
    wait: Maybe[Wait] = None
    approval: Maybe[Approval] = None
    group: "Maybe[Steps]" = None
    set: Maybe[Object] = None
    """Name to template; the step's output."""
    fail: Maybe[Fail] = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Step":
        kinds = [kind for kind in STEP_KINDS if kind in self.model_fields_set]
        if not kinds:
            raise PydanticCustomError(
                "no_kind", "a step needs one of {kinds}", {"kinds": ", ".join(STEP_KINDS)}
            )
        if len(kinds) > 1:
            raise PydanticCustomError(
                "many_kinds",
                "a step is of one kind, not of several: {kinds}",
                {"kinds": ", ".join(kinds)},
            )
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in STEP_KINDS if kind in self.model_fields_set)


Steps = Annotated[dict[Id, Step], Field(min_length=1)]
Step.model_rebuild()
