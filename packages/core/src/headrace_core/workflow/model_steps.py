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
    """Wait before the second attempt; `1s` if absent."""
    factor: Maybe[Factor] = None
    """By which each further wait is longer; 2 if absent."""
    max: Maybe[Duration] = None
    """Longest wait; `1m` if absent."""
    jitter: Maybe[Literal["none", "full", "equal"]] = None
    """How much of the wait is chance; `full` if absent."""


class Retry(Model):
    max_attempts: Annotated[int, Field(ge=1, le=100), WHOLE]
    """All attempts, the first one included."""
    backoff: Maybe[Backoff] = None
    """Waits between attempts."""
    on: Maybe[Texts] = None
    """Error types to retry, matched by prefix, such as `timeout` or `http.5xx`."""
    not_on: Maybe[Texts] = None
    """Error types that are not retried, matched by prefix."""


class AtLeast(Model):
    at_least: Positive
    """So many active edges."""


class Tolerate(Model):
    failures: Maybe[Count] = None
    """So many items may fail; 0 if absent."""
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
    """Failed items that do not fail the step; beside each other both bound it."""


class Repeat(Model):
    until: Cel
    """CEL: the step has ended when it is true, asked after each pass."""
    max: Annotated[int, Field(ge=1, le=1000), WHOLE]
    """Passes; one more is a failure."""
    delay: Maybe[Duration] = None
    """Wait between two passes; none if absent."""


class RecoveredOutput(Model):
    output: Any
    """Template: the output in place of the failed one."""


class FallbackUses(Model):
    uses: Uses
    """What is called in its place."""
    with_: Maybe[Object] = Field(None, alias="with")
    """Its arguments."""


class Compensate(Model):
    uses: Uses
    """What undoes the step."""
    with_: Maybe[Object] = Field(None, alias="with")
    """Its arguments; they know the output of the step."""
    retry: Maybe[Retry] = None
    """Of the undoing."""


class RateLimit(Model):
    key: str
    """Template: calls of the tenant with one value share the limit."""
    per: Duration
    """Length of time."""
    limit: Positive
    """Calls that begin in any such time."""


def _not_error(schema: dict[str, Any]) -> None:
    schema["not"] = {"const": "error"}


class Case(Model):
    port: Annotated[Id, Field(json_schema_extra=_not_error)]
    """Taken when the case holds; may not be `error`."""
    when: Maybe[Cel] = None
    """CEL; only the last case may lack it."""

    @model_validator(mode="after")
    def _port_is_free(self) -> "Case":
        if self.port == "error":
            raise PydanticCustomError("port_error", "a port may not be named `error`")
        return self


class EventWait(Model):
    topic: str
    """Of the event."""
    key: str
    """Template: the event has the same key."""
    match: Maybe[Cel] = None
    """CEL over `event` and what the step knows: only an event for which it is true."""
    keep: Maybe[Duration] = None
    """How long an event that came early is kept; `1d` if absent."""


class Wait(Model):
    for_: Maybe[Duration] = Field(None, alias="for")
    """So long."""
    until: Maybe[str] = None
    """An RFC 3339 time, or a template that gives one."""
    event: Maybe[EventWait] = None
    """Until an event comes; its content is the output."""
    expires: Maybe[Duration] = None
    """Longest wait for an event; the port `expired` is taken then."""


class Escalation(Model):
    after: Duration
    """Since the approval was asked."""
    to: Texts
    """Templates: who is asked too."""
    via: Maybe[Texts] = None
    """Where they are told."""


class Approval(Model):
    assignees: Texts
    """Templates: who is asked."""
    title: Maybe[str] = None
    """Template: what they read; the step's title if absent."""
    form: Maybe[Object] = None
    """JSON Schema of what the decider fills in."""
    expires: Maybe[Duration] = None
    """Longest wait for a decision."""
    on_expire: Maybe[Literal["approved", "rejected", "expired"]] = None
    """Port taken when nobody decided in time; `expired` if absent."""
    escalate: Maybe[Annotated[list[Escalation], Field(min_length=1)]] = None
    """Who is asked too when nobody decides in time."""


class Fail(Model):
    type: Maybe[str] = None
    """Error type, dotted."""
    message: str
    """Template: what went wrong."""


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
    """For people."""
    needs: Maybe[Needs] = None
    """Steps, or ports of steps (`route.hot`), that this one comes after."""
    join: Maybe[Join] = None
    """When enough of `needs` have ended; `all` if absent."""
    cancel_others: Maybe[bool] = None
    """With `join: any` or `at_least`: sources that still run are cancelled; `false` if absent."""
    when: Maybe[Cel] = None
    """CEL: the step is skipped if it is false."""
    with_: Maybe[Object] = Field(None, alias="with")
    """Arguments; strings may hold `${{ CEL }}`."""
    mode: Maybe[Literal["wait", "detach"]] = None
    """Of a sub-flow: `detach` does not wait for it nor inherit its failure; `wait` if absent."""
    foreach: Maybe[Foreach] = None
    """The step once for each entry of a list."""
    repeat: Maybe[Repeat] = None
    """The step again until a condition holds."""
    retry: Maybe[Retry] = None
    """Which failures are tried again, how often and when."""
    timeout: Maybe[Duration] = None
    """Longest time of one attempt; of a sub-flow, of its run."""
    deadline: Maybe[Duration] = None
    """Longest time of all attempts, those of `fallback` included, and the waits between them."""
    heartbeat: Maybe[Duration] = None
    """An attempt that is silent for so long is given up."""
    fallback: Maybe[Annotated[list[FallbackEntry], Field(min_length=1)]] = None
    """What is tried, in turn, when all attempts have failed; of a fan-out, for each item."""
    on_error: Maybe[OnError] = None
    """What a final failure means: it fails the run, leads to `.error` edges, or is this output;
    `fail` if absent."""
    compensate: Maybe[Compensate] = None
    """How the step is undone if the run fails with `on_failure: compensate`."""
    idempotency_key: Maybe[str] = None
    """Template: what the outside tells repeats by; made from run, step and item if absent."""
    priority: Maybe[Annotated[int, Field(ge=-10, le=10), WHOLE]] = None
    """A step of higher priority is given out first; 0 if absent."""
    rate_limit: Maybe[RateLimit] = None
    """How many calls of one key begin in a length of time."""
    sensitive: Maybe[bool] = None
    """Keeps input and output out of lists, search, live text and logs."""
    outputs: Maybe[Object] = None
    """Of a group: name to template."""

    uses: Maybe[Uses] = None
    """An action, a flow (`flow/name@stable`) or a worker's task."""
    switch: Maybe[Annotated[list[Case], Field(min_length=1)]] = None
    """The first case that holds is taken."""
    wait: Maybe[Wait] = None
    """For a time, or for an event."""
    approval: Maybe[Approval] = None
    """People decide."""
    group: "Maybe[Steps]" = None
    """Steps inside of this one."""
    set: Maybe[Object] = None
    """Name to template; the step's output."""
    fail: Maybe[Fail] = None
    """Fails."""

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
