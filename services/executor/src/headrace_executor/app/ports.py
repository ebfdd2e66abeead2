"""What running an attempt needs from outside."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.payload import Stored, Vault
from headrace_core.run.events import Usage
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.plan_parts import Action
from headrace_core.workflow.template import JsonValue
from headrace_executor.domain.effect_flow import Word
from headrace_runtime.delivery.effect_rules import Guard, Row, Written
from headrace_runtime.delivery.effects import ClaimAnswer, EffectKey, GiveUpAnswer
from headrace_runtime.secret_text import SecretText
from headrace_worker.messages import Attempt, AttemptKey, Outcome, Result, Task


class Plans(Protocol):
    def get_cached(self, tenant: TenantId, plan: PlanHash) -> Plan | None: ...

    async def load(self, tenant: TenantId, plan: PlanHash) -> Plan:
        """Raises NotFound, SetupError for a plan of a newer release, Unavailable."""
        ...


class AttemptVault(Vault, Protocol):
    """Payloads of one tenant. `open` raises BlobMissingHere for what `Vaults.fetch` brings."""

    @property
    def has_pending_blobs(self) -> bool: ...

    def under(self, subject_key: int) -> "AttemptVault": ...


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


class Secrets(Protocol):
    async def open_all(self, tenant: TenantId, names: Collection[str]) -> Mapping[str, SecretText]:
        """The newest value of each. Raises NotFound that names the missing, SetupError,
        Unavailable."""
        ...


class EffectRows(Protocol):
    """`headrace_runtime.delivery.effects`: every method may be repeated and raises Unavailable;
    then it may or may not have taken effect."""

    async def claim(
        self, at: EffectKey, attempt: int, claimant: str, lease_ms: int, guard: Guard
    ) -> ClaimAnswer: ...

    async def mark_done(
        self, at: EffectKey, attempt: int, claimant: str, result: Stored
    ) -> Written: ...

    async def mark_failed(self, at: EffectKey, attempt: int, claimant: str) -> Written: ...

    async def renew(self, at: EffectKey, attempt: int, claimant: str, lease_ms: int) -> Written: ...

    async def give_up(self, at: EffectKey, attempt: int, claimant: str) -> GiveUpAnswer: ...

    async def read(self, at: EffectKey) -> Row | None: ...


class Dispatch(Protocol):
    """The way back to the schedulers."""

    def finish(self, result: Result) -> None: ...

    def beat(self, attempt: AttemptKey) -> None: ...

    def set_window(self, window: int) -> None: ...


@dataclass(slots=True)
class Meter:
    """What an attempt has consumed so far; its result says it however the attempt ends."""

    usage: Usage | None = None


@dataclass(slots=True)
class Contact:
    """`begun` is set before anything leaves on which the outside may act. An attempt that is cut
    off earlier had certainly no effect."""

    begun: bool = False


def _no_limit() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of one action with its evaluated arguments, which may hold secrets' values.

    `idempotency_key` is the same over all attempts of the step, empty for what takes none;
    `left_ms` is what is left of the attempt's time, 0 without a limit.
    """

    task: Task
    action: Action
    arguments: Mapping[str, JsonValue] = field(repr=False)
    meter: Meter = field(default_factory=Meter)
    written: JsonValue = None
    """`with` as the flow has it, before evaluation."""
    idempotency_key: str = ""
    secret_names: Sequence[str] = ()
    contact: Contact = field(default_factory=Contact)
    left_ms: Callable[[], int] = _no_limit

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
    more. One that changes something outside sets `call.contact.begun` before that may happen."""

    async def run(self, call: Call) -> Completion: ...


@dataclass(frozen=True, slots=True)
class Said:
    """How one call of the connectors service ended. SILENCE may have acted."""

    word: Word
    output: JsonValue = None
    error_type: str = ""
    error_message: str = ""
    retry_after_ms: int = 0
    may_have_acted: bool = False


class Connectors(Protocol):
    async def invoke(self, call: Call) -> Said:
        """One attempt. Never raises but for cancellation; sets `call.contact.begun` once the call
        leaves this process."""
        ...
