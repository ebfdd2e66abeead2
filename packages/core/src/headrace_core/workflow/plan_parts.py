"""Parts of a plan: policies, kinds of steps and triggers, resolved and in milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from headrace_core.workflow.firing import Catchup, OnConflict, Overlap
from headrace_core.workflow.template import Expression, Template

EVENT_KEEP_MS = 86_400_000
"""How long an event that came early is kept where `keep` says nothing."""


class Jitter(StrEnum):
    NONE = "none"
    FULL = "full"
    EQUAL = "equal"


class OnFailure(StrEnum):
    DRAIN = "drain"
    CANCEL = "cancel"
    SUSPEND = "suspend"
    COMPENSATE = "compensate"


class OnError(StrEnum):
    FAIL = "fail"
    CATCH = "catch"
    OUTPUT = "output"


class OnExpire(StrEnum):
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


class UsesKind(StrEnum):
    ACTION = "action"
    FLOW = "flow"
    WORKER = "worker"


class Effect(StrEnum):
    """What an operation does outside; it drives retry, replay and the effect row."""

    NONE = "none"
    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"


class Idempotency(StrEnum):
    """How an operation takes our key. NONE is at most once, with `unknown_outcome`."""

    NONE = "none"
    HEADER = "header"
    NATURAL = "natural"
    PROBE = "probe"


class TriggerKind(StrEnum):
    MANUAL = "manual"
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Edge:
    """One `needs` entry; `port` is empty for a plain edge."""

    source: str
    port: str = ""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`on` and `not_on` hold dotted error types, matched by prefix; an empty `on` means all."""

    max_attempts: int = 1
    initial_ms: int = 1_000
    factor: float = 2.0
    max_ms: int = 60_000
    jitter: Jitter = Jitter.FULL
    on: tuple[str, ...] = ()
    not_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """What a step calls. `reference` is as written (`http.get@1`); `locked` is what it meant at
    publish: the hash of a sub-flow's plan, the full version of an action, empty for a worker."""

    kind: UsesKind
    name: str
    reference: str
    locked: str = ""
    effect: Effect = Effect.WRITE
    idempotency: Idempotency = Idempotency.NONE
    version: int = 0
    """Of a sub-flow: its number."""


@dataclass(frozen=True, slots=True)
class Case:
    """`when` is None only in the last case, which then always holds."""

    port: str
    when: Expression | None = None


@dataclass(frozen=True, slots=True)
class Foreach:
    """A measure of tolerated failures that is None says nothing; without any, none is tolerated."""

    items: Expression
    alias: str
    key: Expression | None = None
    where: Expression | None = None
    max_parallel: int = 100
    tolerated_failures: int | None = None
    tolerated_percent: float | None = None

    def tolerated(self, count: int) -> int:
        """How many of `count` items may fail. Where both measures are given, both bound it."""
        bounds: list[int] = []
        if self.tolerated_failures is not None:
            bounds.append(self.tolerated_failures)
        if self.tolerated_percent is not None:
            # Exactly what the author wrote: 0.57 % of 10,000 are 57, and not 56.
            bounds.append(int(Fraction(str(self.tolerated_percent)) * count / 100))
        return min(bounds, default=0)


@dataclass(frozen=True, slots=True)
class Repeat:
    until: Expression
    max: int
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class EventWait:
    topic: str
    key: Template
    match: Expression | None = None
    keep_ms: int = EVENT_KEEP_MS


@dataclass(frozen=True, slots=True)
class Wait:
    """Exactly one of the three first; `until` renders to an RFC 3339 time."""

    for_ms: int | None = None
    until: Template | None = None
    event: EventWait | None = None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Escalation:
    after_ms: int
    to: Template
    via: Template | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """`form` is a JSON Schema of what the decider fills in."""

    assignees: Template
    title: Template | None = None
    form: Mapping[str, object] | None = None
    expires_ms: int | None = None
    on_expire: OnExpire = OnExpire.EXPIRED
    escalate: tuple[Escalation, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    message: Template
    type: str = "flow.fail"


@dataclass(frozen=True, slots=True)
class Fallback:
    """An action in place of the step's own, with attempts of its own, or an output."""

    uses: Action | None = None
    arguments: Template | None = None
    output: Template | None = None
    retry: RetryPolicy = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Compensation:
    uses: Action
    arguments: Template | None = None
    retry: RetryPolicy = RetryPolicy()


@dataclass(frozen=True, slots=True)
class RateLimit:
    key: Template
    per_ms: int
    limit: int


@dataclass(frozen=True, slots=True)
class Concurrency:
    key: Template
    limit: int
    on_conflict: OnConflict = OnConflict.QUEUE


@dataclass(frozen=True, slots=True)
class Input:
    """An input without `default` in its schema is required."""

    name: str
    schema: Mapping[str, object]

    @property
    def required(self) -> bool:
        return "default" not in self.schema


@dataclass(frozen=True, slots=True)
class Trigger:
    """`mapping` maps what came to inputs; without it the body's fields are the inputs."""

    kind: TriggerKind
    mapping: Template | None = None
    every_ms: int | None = None
    cron: str = ""
    timezone: str = "UTC"
    overlap: Overlap = Overlap.ALLOW
    catchup: Catchup = Catchup.LAST
    path: str = ""
    verify: str = "none"
    secret: str = ""
    dedupe: Template | None = None
    respond: str = "accepted"
    topic: str = ""
    match: Expression | None = None
