"""What the gateway needs: the owners of partitions, history, keys and published workflows."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headrace_core.errors import InvalidState
from headrace_core.ids import Correlation, EventId, LetterId, PlanHash, RunId, StepKey, TenantId
from headrace_core.partition.events import EventStart
from headrace_core.payload import INLINE_BYTES_MAX, Stored
from headrace_core.run.events import RunForked
from headrace_core.run.state import RunView
from headrace_core.run.status import Repair
from headrace_core.workflow.plan import Plan, Trigger
from headrace_runtime.api_keys import StoredKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    tenant: TenantId
    actor: str
    run: RunId
    flow: str
    version: int
    plan: PlanHash
    input: Stored
    trigger: str
    start_key: bytes
    fingerprint: bytes
    client_key: bool
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """`repeated` says that the start key was known and `run` is the earlier run."""

    run: RunId
    repeated: bool


@dataclass(frozen=True, slots=True)
class SealedEdit:
    """An operator's edit of one step; `value` is sealed under the run's key."""

    step: StepKey
    repair: Repair
    value: Stored
    port: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Without a rhythm it is removed."""

    tenant: TenantId
    flow: str
    trigger: str
    version: int
    plan: PlanHash
    rhythm: Trigger | None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, and the step of the run that it is about."""

    letter: LetterId
    run: RunId
    step: StepKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """`reason` is sealed under the letter's run."""

    tenant: TenantId
    actor: str
    letter: Letter
    reason: Stored
    start_key: bytes
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """`begin` is the new run's first event, its payloads sealed for `run`. With a `letter` it is
    that letter's replay."""

    tenant: TenantId
    actor: str
    run: RunId
    begin: RunForked
    start_key: bytes
    fingerprint: bytes
    client_key: bool
    letter: Letter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`content` is sealed under the event's id; `starts` are the runs that it starts."""

    tenant: TenantId
    actor: str
    event: EventId
    correlation: Correlation
    content: Stored
    keep_ms: int
    start_key: bytes
    fingerprint: bytes
    client_key: bool
    starts: Sequence[EventStart] = ()


@dataclass(frozen=True, slots=True)
class Signal:
    """`content` is sealed under the run."""

    tenant: TenantId
    actor: str
    run: RunId
    name: str
    signal: EventId
    content: Stored


@dataclass(frozen=True, slots=True)
class Taken:
    """`repeated` says that the event was known, and `event` is the earlier one."""

    event: EventId
    repeated: bool


class MaybeDone(InvalidState):
    """A refusal of a command that had been sent before, on a stream that broke unanswered.

    It may be the echo of the command's own success: only the run itself can tell.
    """


class Scheduler(Protocol):
    """Finds the partition's owner, follows it during a takeover for a few seconds.

    Raises Unavailable when there is no owner for longer, and the error of the tree that the
    owner answered (NotFound, InvalidState, KeyReused, ...). What returns is durable. A command
    whose stream broke is sent again: harmless for a start and an event, which their keys protect,
    for a signal, which its id protects, and for a schedule; `cancel`, `decide` and `resume`
    then raise MaybeDone in place of InvalidState.
    """

    async def start(self, start: Start) -> Started: ...

    async def fork(self, fork: Fork) -> Started: ...

    async def cancel(self, tenant: TenantId, actor: str, run: RunId, reason: Stored) -> None: ...

    async def decide(
        self,
        tenant: TenantId,
        actor: str,
        run: RunId,
        step: StepKey,
        decision: str,
        answer: Stored,
    ) -> None: ...

    async def resume(
        self, tenant: TenantId, actor: str, run: RunId, edits: Sequence[SealedEdit]
    ) -> None: ...

    async def discard(self, discard: Discard) -> None: ...

    async def publish_event(self, event: Event) -> Taken: ...

    async def signal(self, signal: Signal) -> Taken: ...

    async def set_schedule(self, actor: str, schedule: Schedule) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Empty and 0 stand for "all"; times are epoch milliseconds."""

    flow: str = ""
    status: str = ""
    started_after_ms: int = 0
    started_before_ms: int = 0
    limit: int = 50
    cursor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Empty stands for "all"."""

    flow: str = ""
    status: str = ""
    run: str = ""
    limit: int = 50
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class ForkPoint:
    """A run at an end of a turn, payloads as stored; `begun` has begun by now, also after it."""

    state: RunView
    state_hash: str
    begun: frozenset[str]


class History(Protocol):
    """Answers are JSON documents, passed on as they are. A run that was accepted is always known
    here. Raises NotFound for another tenant's run as for none, Unavailable when history is away.
    """

    async def run(self, tenant: TenantId, run: RunId) -> bytes: ...

    async def runs(self, tenant: TenantId, wanted: RunFilter) -> tuple[Sequence[bytes], str]:
        """A page, and the cursor of the next one or the empty text."""
        ...

    async def state(self, tenant: TenantId, run: RunId, sequence: int) -> tuple[bytes, str, int]:
        """State, its hash, and the number of the event it ends at."""
        ...

    async def fork_point(self, tenant: TenantId, run: RunId, sequence: int) -> ForkPoint:
        """`sequence` 0 is the newest. Raises InvalidInput where no turn ends."""
        ...

    async def events(
        self, tenant: TenantId, run: RunId, after: int, limit: int
    ) -> tuple[Sequence[bytes], bool]:
        """A page, and whether there are more."""
        ...

    async def letters(self, tenant: TenantId, wanted: LetterFilter) -> tuple[Sequence[bytes], str]:
        """A page, and the cursor of the next one or the empty text."""
        ...

    async def letter(self, tenant: TenantId, letter: str) -> bytes: ...

    async def usage(self, tenant: TenantId, from_ms: int, to_ms: int) -> bytes: ...

    async def wait_for_end(self, tenant: TenantId, run: RunId, wait_ms: int) -> tuple[bytes, bool]:
        """The run, and whether it has ended."""
        ...

    def export(self, tenant: TenantId, run: RunId) -> AsyncIterator[bytes]: ...

    def subscribe(
        self, tenant: TenantId, run: RunId, after: int
    ) -> AsyncIterator[tuple[Sequence[bytes], bool]]:
        """Events without gap or repeat, and whether these are the run's last."""
        ...


class KeyStore(Protocol):
    async def find(self, key_id: str) -> StoredKey | None: ...

    async def add(
        self, key_id: str, tenant: TenantId, secret_hash: bytes, name: str, role: str
    ) -> StoredKey:
        """Raises NotFound for an unknown tenant."""
        ...

    async def of_tenant(self, tenant: TenantId) -> Sequence[StoredKey]: ...

    async def revoke(self, tenant: TenantId, key_id: str) -> None:
        """May be repeated. Raises NotFound."""
        ...


class TenantSealer(Protocol):
    """Seals payloads of one tenant."""

    async def seal(
        self, run: RunId, json: bytes, inline_bytes_max: int = INLINE_BYTES_MAX
    ) -> Stored:
        """What is too large for a record is durable in the blob store when this returns."""
        ...


class PayloadMover(Protocol):
    """Reads payloads of one tenant's runs and gives them to another run of it."""

    async def open(self, run: RunId, stored: Stored) -> bytes:
        """Raises BlobMissing, KeyErased or PayloadTampered."""
        ...

    def reseal(self, source: RunId, target: RunId, stored: Stored, subject_key: int = 0) -> Stored:
        """Raises BlobMissingHere for what `open` brings to hand, KeyErased."""
        ...

    async def store_blobs(self) -> None:
        """What was sealed as a reference is durable when this returns."""
        ...


@dataclass(frozen=True, slots=True)
class Startable:
    """A version of a flow, at hand."""

    version: int
    plan: Plan


class Flows(Protocol):
    async def startable(self, tenant: TenantId, flow: str, version: str) -> Startable:
        """`version` is a number or a label; a label may be a second old. Raises NotFound."""
        ...

    async def plan(self, tenant: TenantId, plan: PlanHash) -> Plan: ...

    async def sealer(self, tenant: TenantId, subject_key: int = 0) -> TenantSealer:
        """Of payloads of a run without a data subject, or of one with this subject's key."""
        ...

    async def subject_key(self, tenant: TenantId, plan: Plan, fields: Mapping[str, Any]) -> int:
        """The key of the data subject of a run with this input, made if need be; 0 for a flow
        without `subject`. Raises InvalidInput for an input that names nobody."""
        ...

    async def mover(self, tenant: TenantId) -> PayloadMover: ...
