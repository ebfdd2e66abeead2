"""What a partition remembers beside its runs. Written by `partition.apply` alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace_core.ids import Correlation, EventId, LimitKey, PlanHash, RunId, StepKey, TenantId
from headrace_core.partition.events import Message
from headrace_core.payload import Stored
from headrace_core.workflow.firing import Catchup, Overlap


class PartitionView(Protocol):
    @property
    def partition(self) -> int: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def chain(self) -> bytes: ...
    @property
    def start_keys(self) -> Mapping[bytes, "StartKey"]: ...
    @property
    def brief_keys(self) -> Mapping[bytes, "StartKey"]: ...
    @property
    def schedules(self) -> Mapping[str, "Schedule"]: ...
    @property
    def scheduled_runs(self) -> Mapping[RunId, str]: ...
    @property
    def outboxes(self) -> Mapping[int, "Outbox"]: ...
    @property
    def inboxes(self) -> Mapping[int, int]: ...
    @property
    def waiters(self) -> Mapping[Correlation, Sequence["Waiter"]]: ...
    @property
    def kept_events(self) -> Mapping[Correlation, Sequence["KeptEvent"]]: ...
    @property
    def events_published(self) -> int: ...
    @property
    def kept_bytes(self) -> int: ...
    @property
    def run_limits(self) -> Mapping[LimitKey, "RunLimit"]: ...
    @property
    def rates(self) -> Mapping[LimitKey, "Rate"]: ...


START_KEY_KEPT_MS = 86_400_000
BRIEF_KEY_KEPT_MS = 60_000
KEPT_BYTES_SWEPT_FROM = 262_144
RATES_SWEPT_FROM = 256
KEPT_EVENT_BYTES = 300
"""What a kept event takes beside its content."""


@dataclass(frozen=True, slots=True)
class StartKey:
    fingerprint: bytes
    run: RunId
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """`fired_ms` is the due time of the last firing, 0 before the first. `open` are its runs that
    have not ended, kept where they may not overlap; `queued` the times of firings that wait for
    that, oldest first."""

    tenant: TenantId
    flow: str
    version: int
    plan: PlanHash
    trigger: str
    every_ms: int
    next_due_ms: int
    fired_ms: int = 0
    cron: str = ""
    timezone: str = ""
    overlap: Overlap = Overlap.ALLOW
    catchup: Catchup = Catchup.LAST
    open: tuple[RunId, ...] = ()
    queued: tuple[int, ...] = ()


@dataclass(slots=True)
class Outbox:
    """Messages sent to one partition and not yet acknowledged, by number, in order."""

    sent: int = 0
    acknowledged: int = 0
    messages: dict[int, Message] = field(default_factory=dict[int, Message])


@dataclass(slots=True)
class Waiter:
    """A step that waits for an event; it was sent all events numbered up to `seen`."""

    tenant: TenantId
    run: RunId
    step: StepKey
    since_ms: int
    seen: int = 0


@dataclass(slots=True)
class RunLimit:
    """Runs of one `concurrency` key. `holders` hold a place, oldest first, and say whether they
    were told to make way; `queue` wait for one, in the order in which they asked."""

    tenant: TenantId
    flow: str
    limit: int
    holders: dict[RunId, bool] = field(default_factory=dict[RunId, bool])
    queue: list[RunId] = field(default_factory=list[RunId])


@dataclass(slots=True)
class Rate:
    """When the newest calls of a `rate_limit` key begin, at most `limit` of them, oldest first."""

    tenant: TenantId
    per_ms: int
    limit: int
    begins_ms: list[int] = field(default_factory=list[int])

    def is_over(self, now_ms: int) -> bool:
        """Whether none of them counts any more."""
        return self.begins_ms[-1] + self.per_ms <= now_ms


@dataclass(frozen=True, slots=True)
class KeptEvent:
    event: EventId
    tenant: TenantId
    content: Stored
    number: int
    published_ms: int
    expires_at_ms: int

    @property
    def size_bytes(self) -> int:
        return len(self.content) + KEPT_EVENT_BYTES


@dataclass(slots=True)
class PartitionState:
    """`start_keys` are the clients' own, kept long; `brief_keys` were made by the gateway for a
    client that gave none and only have to outlive the gateway's own retries. `inboxes` holds the
    highest number received from each source partition, `scheduled_runs` the open runs that a
    schedule's next firing has to respect. `kept_events` take
    `kept_bytes`; they are looked through for expired ones when these reach `kept_bytes_swept`, and
    `rates` for those that are over when there are `rates_swept`."""

    partition: int
    time_ms: int = 0
    chain: bytes = b""
    start_keys: dict[bytes, StartKey] = field(default_factory=dict[bytes, StartKey])
    brief_keys: dict[bytes, StartKey] = field(default_factory=dict[bytes, StartKey])
    schedules: dict[str, Schedule] = field(default_factory=dict[str, Schedule])
    scheduled_runs: dict[RunId, str] = field(default_factory=dict[RunId, str])
    outboxes: dict[int, Outbox] = field(default_factory=dict[int, Outbox])
    inboxes: dict[int, int] = field(default_factory=dict[int, int])
    waiters: dict[Correlation, list[Waiter]] = field(
        default_factory=dict[Correlation, list[Waiter]]
    )
    kept_events: dict[Correlation, list[KeptEvent]] = field(
        default_factory=dict[Correlation, list[KeptEvent]]
    )
    kept_bytes: int = 0
    kept_bytes_swept: int = KEPT_BYTES_SWEPT_FROM
    events_published: int = 0
    run_limits: dict[LimitKey, RunLimit] = field(default_factory=dict[LimitKey, RunLimit])
    rates: dict[LimitKey, Rate] = field(default_factory=dict[LimitKey, Rate])
    rates_swept: int = RATES_SWEPT_FROM
