"""An action: its descriptor, one call of it, and the function that makes the call."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headrace_connector_sdk.outcome import Outcome
from headrace_core.workflow.actions import ActionDescriptor
from headrace_core.workflow.plan_parts import Effect, Idempotency

__all__ = ["ActionCall", "ActionDescriptor", "CallContext", "Connector", "Run", "Secret"]


class Secret(Protocol):
    """Shows its value to no log, pickle or JSON."""

    def reveal(self) -> str:
        """For the call that uses it; never to be kept or logged."""
        ...


class CallContext(Protocol):
    """What the service around a call gives to it."""

    async def open_secret(self, name: str) -> Secret:
        """A secret of the call's tenant. From here on its value is redacted from whatever the call
        gives back. Raises NotFound."""
        ...

    def hide(self, value: str) -> None:
        """Redact a part of the input, such as a token, from whatever the call gives back."""
        ...

    def acting(self) -> None:
        """To be called just before the outside may begin to act."""
        ...


def only_reads(action: ActionDescriptor) -> bool:
    return action.effect in (Effect.NONE, Effect.READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionCall:
    """One attempt. `idempotency_key` is the same over all attempts, empty if there is none."""

    tenant: str
    action: ActionDescriptor
    input: Mapping[str, Any]
    idempotency_key: str = ""
    timeout_s: float
    """What is left of the attempt's time."""
    context: CallContext

    @property
    def only_reads(self) -> bool:
        return only_reads(self.action)

    @property
    def repeatable(self) -> bool:
        """Whether a second attempt is safe although the first may have acted."""
        # Without a key it is called at most once, whatever the action is capable of.
        keyed = self.action.idempotency is not Idempotency.NONE and bool(self.idempotency_key)
        return self.only_reads or keyed

    def lost(self, error_type: str, message: str, retry_after_ms: int = 0) -> Outcome:
        """Nobody knows whether the outside acted: what to say then follows from the action."""
        if self.only_reads:
            return Outcome.retry(error_type, message, retry_after_ms=retry_after_ms)
        if self.repeatable:
            return Outcome.retry(
                error_type, message, retry_after_ms=retry_after_ms, may_have_acted=True
            )
        return Outcome.unknown(f"{error_type}: {message}")


Run = Callable[[ActionCall], Awaitable[Outcome]]
"""May raise BadInput and what the egress guard raises; both mean that nothing was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    id: str
    title: str
    actions: Mapping[str, tuple[ActionDescriptor, Run]]
    """By the action's full name, such as http.get."""
