"""What running an attempt needs from outside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.payload import Stored, Vault
from headrace_core.run.events import Usage
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.plan_parts import Action
from headrace_core.workflow.template import JsonValue
from headrace_worker.messages import Attempt, Outcome, Result, Task


class Plans(Protocol):
    def get_cached(self, tenant: TenantId, plan: PlanHash) -> Plan | None: ...

    async def load(self, tenant: TenantId, plan: PlanHash) -> Plan:
        """Raises NotFound, SetupError for a plan of a newer release, Unavailable."""
        ...


class AttemptVault(Vault, Protocol):
    """Payloads of one tenant. `open` raises BlobMissingHere for what `Vaults.fetch` brings."""

    @property
    def has_pending_blobs(self) -> bool: ...


class Vaults(Protocol):
    def get_cached(self, tenant: TenantId) -> AttemptVault | None: ...

    async def load(self, tenant: TenantId) -> AttemptVault:
        """Raises NotFound for a tenant without keys, Unavailable."""
        ...

    async def fetch(self, tenant: TenantId, run: RunId, stored: Stored) -> None:
        """Bring to hand what `open` missed. Raises BlobMissing, KeyErased, PayloadTampered,
        Unavailable."""
        ...

    async def store_pending_blobs(self) -> None:
        """Whatever was sealed as a reference is durable afterwards. Raises Unavailable."""
        ...


class Dispatch(Protocol):
    """The way back to the schedulers."""

    def finish(self, result: Result) -> None: ...

    def set_window(self, window: int) -> None: ...


@dataclass(slots=True)
class Meter:
    """What an attempt has consumed so far; its result says it however the attempt ends."""

    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of one action with its evaluated arguments."""

    task: Task
    action: Action
    arguments: Mapping[str, JsonValue]
    meter: Meter = field(default_factory=Meter)
    written: JsonValue = None
    """`with` as the flow has it, before evaluation."""

    @property
    def attempt(self) -> Attempt:
        return self.task.attempt


@dataclass(frozen=True, slots=True)
class Completion:
    """How a call ended; the message of an error is in clear here and sealed by the worker."""

    outcome: Outcome
    output: JsonValue = None
    error_type: str = ""
    error_message: str = ""
    retry_after_ms: int = 0


class Transform(Protocol):
    """A pure action: runs in place in microseconds and touches nothing outside.

    `passes_through` names the argument that is the output as it stands, empty if none is.
    """

    def passes_through(self, action: str) -> str: ...

    def run(self, action: str, arguments: JsonValue) -> JsonValue:
        """Raises StepFailed."""
        ...


class Operation(Protocol):
    """An action that waits for something. Cancelled when its time is up or nobody wants it any
    more; what that means for the outside it says itself, or lets the cancellation pass."""

    async def run(self, call: Call) -> Completion: ...
