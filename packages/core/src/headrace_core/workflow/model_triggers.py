"""What starts a run."""

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from headrace_core.workflow.model_types import Cel, Duration, Maybe, Model, Object


class Webhook(Model):
    path: str
    """Of the address, `/v1/hooks/<tenant>/<path>`."""
    verify: Maybe[Literal["standard-webhooks", "hmac", "bearer", "none"]] = None
    """How a request proves where it comes from; `none` if absent."""
    secret: Maybe[str] = None
    """Name of the secret that signs the requests, or `${{ secrets.NAME }}`."""
    dedupe: Maybe[str] = None
    """Template: two requests with one value start one run."""
    respond: Maybe[Literal["accepted", "result"]] = None
    """What the sender gets: that it was accepted, or the run when it has ended; `accepted` if
    absent."""


def secret_name(written: str) -> str:
    """The secret that a webhook's `secret` names; the empty text if it names none."""
    found = _SECRET.fullmatch(written)
    return found["name"] if found is not None else ""


_SECRET = re.compile(
    r"(?P<open>\$\{\{\s*secrets\.)?(?P<name>[A-Za-z][A-Za-z0-9_-]{0,63})(?(open)\s*\}\})"
)


def _exactly_one_rhythm(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": ["cron"]}, {"required": ["every"]}]


class Schedule(Model):
    model_config = Model.model_config | {"json_schema_extra": _exactly_one_rhythm}

    cron: Maybe[str] = None
    """Minute, hour, day, month, weekday."""
    every: Maybe[Duration] = None
    """One firing in each such time, from 1s."""
    timezone: Maybe[str] = None
    """A name of the time zone database, such as Europe/Berlin; UTC if absent."""
    overlap: Maybe[Literal["allow", "skip", "queue", "cancel_running"]] = None
    """What a firing does while an earlier run is open; `allow` if absent."""
    catchup: Maybe[Literal["none", "last", "all"]] = None
    """Which firings that were missed are made up for; `last` if absent."""

    @model_validator(mode="after")
    def _one_rhythm(self) -> "Schedule":
        if (self.cron is None) == (self.every is None):
            raise PydanticCustomError("one_of", "a schedule has either `cron` or `every`")
        return self


class EventFilter(Model):
    topic: str
    """Of the events that start a run."""
    match: Maybe[Cel] = None
    """CEL over `trigger`: only events for which it is true."""


class WebhookTrigger(Model):
    webhook: Webhook
    """A request to the gateway starts a run."""
    with_: Maybe[Object] = Field(None, alias="with")
    """Input name to template over `trigger`."""


class ScheduleTrigger(Model):
    schedule: Schedule
    """Time starts runs."""
    with_: Maybe[Object] = Field(None, alias="with")
    """Input name to template over `trigger`."""


class EventTrigger(Model):
    event: EventFilter
    """A published event starts a run."""
    with_: Maybe[Object] = Field(None, alias="with")
    """Input name to template over `trigger`."""


class ManualTrigger(Model):
    manual: Object
    """Somebody starts it; has no settings."""


TRIGGER_KINDS = ("webhook", "schedule", "event", "manual")


def _kind(value: Any) -> str | None:
    """The tag is no possible key, so that it cannot be taken for one in an error's location."""
    if not isinstance(value, dict):
        return None
    kinds = [kind for kind in TRIGGER_KINDS if kind in value]
    return f"<{kinds[0]}>" if len(kinds) == 1 else None


Trigger = Annotated[
    Annotated[WebhookTrigger, Tag("<webhook>")]
    | Annotated[ScheduleTrigger, Tag("<schedule>")]
    | Annotated[EventTrigger, Tag("<event>")]
    | Annotated[ManualTrigger, Tag("<manual>")],
    Discriminator(
        _kind,
        custom_error_type="trigger_kind",
        custom_error_message="a trigger is one of webhook, schedule, event, manual",
    ),
]
