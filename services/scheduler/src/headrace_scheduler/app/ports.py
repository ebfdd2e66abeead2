"""What the scheduler needs from the outside, beside the event log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_core.ids import ExecutorId, PlanHash, RunId, StepKey, TenantId
from headrace_core.partition.events import Message
from headrace_core.partition.state import StartKey
from headrace_core.payload import Stored, Vault
from headrace_core.run.state import RunView
from headrace_core.workflow.plan import Plan
from headrace_scheduler.app.inputs import Answer
from headrace_scheduler.domain.commands import RowVerdict


class Catalogue(Protocol):
    """Plans and payload keys. `load` brings both to hand; afterwards `plan` and `vault` answer
    at once, which is all that a decision may ask for."""

    async def load(self, tenant: TenantId, plan: PlanHash) -> None: ...

    def plan(self, tenant: TenantId, plan: PlanHash) -> Plan: ...

    def vault(self, tenant: TenantId) -> Vault: ...

    async def subject_key(self, tenant: TenantId, subject: str) -> int:
        """The id of this data subject's key, at hand for sealing afterwards; made if need be."""
        ...

    async def version(self, tenant: TenantId, plan: PlanHash) -> int:
        """The number under which the plan was published."""
        ...

    async def fetch(self, tenant: TenantId, owner: RunId, stored: Stored) -> None:
        """Bring a reference's content to hand. Raises PayloadError when it is gone."""
        ...

    async def store_blobs(self) -> None:
        """Make durable whatever was sealed as a reference since the last call."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The partition's folded state as of `offset`, and where the filter stood."""

    partition: int
    log_id: bytes
    offset: int
    epoch: int
    next_seq: int
    state: bytes


@dataclass(frozen=True, slots=True)
class RunRow:
    run: RunId
    tenant: TenantId
    offset: int
    first_offset: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    checkpoint: Checkpoint
    runs: Sequence[RunRow]
    start_keys: Sequence[tuple[bytes, StartKey]]


@dataclass(frozen=True, slots=True)
class SnapshotChange:
    """One transaction: the checkpoint moves to its offset, with all changed open runs written
    and the rows of all runs that ended by then deleted."""

    checkpoint: Checkpoint
    changed: Sequence[RunRow]
    ended: Sequence[RunId]
    new_start_keys: Sequence[tuple[bytes, StartKey]]
    now_ms: int


class SnapshotStore(Protocol):
    async def load(self, partition: int) -> Snapshot | None:
        """Checkpoint, rows and start keys, all read in one transaction."""
        ...

    async def save(self, change: SnapshotChange) -> bool:
        """False when a checkpoint at or above this offset, or of another log, is there: the
        writer is not the newest owner and writes nothing."""
        ...


class EffectRows(Protocol):
    """The scheduler's side of the effect rows."""

    async def close(
        self, tenant: TenantId, run: RunId, step: StepKey, fallback: int, attempt: int
    ) -> tuple[RowVerdict, Stored]:
        """Close the row of the step's last attempt, or say what it already holds."""
        ...


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way, by its number in the outbox."""

    number: int
    message: Message


class Receipt(Answer, Protocol):
    """Whoever sent a message hears of it: `accepted` and a known repeat are its durable
    acknowledgement."""

    def put_off(self, after_s: float) -> None:
        """It cannot be decided yet: it is to be sent again, and so is what comes after it."""
        ...


class Peers(Protocol):
    """The schedulers that own the other partitions. What they answer comes to
    `Delivery.acknowledge` and `send_again`."""

    async def send(self, source: int, target: int, parcels: Sequence[Parcel]) -> None:
        """On its way, in order. Raises Unavailable: nobody is known to own the target."""
        ...


class Leases(Protocol):
    """Liveness only: a wrong or late lease can never damage data."""

    @property
    def taken(self) -> frozenset[int]:
        """What the last `acquire` took: it was free, or another's, in the meantime."""
        ...

    async def acquire(self) -> Sequence[int]:
        """Take what is free or expired, renew the rest; answers all partitions held."""
        ...

    async def release(self, partitions: Sequence[int]) -> None: ...


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a dispatched attempt needs: read from the run's state after the record is durable."""

    partition: int
    epoch: int
    offset: int
    run: RunView
    step: StepKey
    attempt: int
    token: int
    lane: str
    executor: ExecutorId


class Dispatcher(Protocol):
    """The executors' streams, seen from the loop. Calls only queue; nothing here waits."""

    def dispatch(self, assignment: Assignment) -> None: ...

    def cancel(self, run: RunId, step: StepKey, attempt: int, executor: ExecutorId) -> None: ...

    def flush(self) -> None:
        """Everything of this loop pass is queued."""
        ...
