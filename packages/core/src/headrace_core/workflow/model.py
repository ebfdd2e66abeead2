"""The definition language `flow: v1` as a model. Its JSON Schema is generated from here."""

from typing import Annotated, Literal

from pydantic import Field

from headrace_core.workflow.model_steps import Retry, Step, Steps
from headrace_core.workflow.model_triggers import Trigger
from headrace_core.workflow.model_types import (
    Cel,
    Duration,
    FlowName,
    Id,
    Maybe,
    Model,
    Object,
    Positive,
)

__all__ = ["Concurrency", "Defaults", "Flow", "Step"]


class Concurrency(Model):
    key: str
    """Template over `inputs` and `vars`: runs of the tenant with one value share the limit."""
    limit: Positive
    """Open runs of one key at a time."""
    on_conflict: Maybe[Literal["queue", "skip", "cancel_running"]] = None
    """What a further run does: waits its turn, ends at once, or takes the place of the oldest;
    `queue` if absent."""


class Defaults(Model):
    retry: Maybe[Retry] = None
    """Of every step that states none."""
    timeout: Maybe[Duration] = None
    """Of every step that states none."""


class Flow(Model):
    flow: Literal["v1"]
    """Version of the language."""
    name: FlowName
    """By which it is published, started and called."""
    title: Maybe[str] = None
    """For people."""
    description: Maybe[str] = None
    """For people."""
    tags: Maybe[Object] = None
    """For people."""
    triggers: Maybe[dict[Id, Trigger]] = None
    """What starts a run, by name."""
    inputs: Maybe[Annotated[dict[str, Object], Field(description="JSON Schema per input")]] = None
    """JSON Schema per input; one without `default` is required."""
    vars: Maybe[Object] = None
    """Constants, known as `vars.<name>`."""
    subject: Maybe[Cel] = None
    """CEL: whose personal data the payloads hold; gives them their own erasable key."""
    concurrency: Maybe[Concurrency] = None
    """How many runs of one key are open at a time."""
    timeout: Maybe[Duration] = None
    """Longest time of the whole run."""
    on_failure: Maybe[Literal["drain", "cancel", "suspend", "compensate"]] = None
    """What happens to the other steps when one has failed; `drain` if absent."""
    defaults: Maybe[Defaults] = None
    """Policies of every step that does not state its own."""
    steps: Steps
    """Name to step; their order in the file means nothing."""
    outputs: Maybe[Object] = None
    """Name to template; the run's output."""
