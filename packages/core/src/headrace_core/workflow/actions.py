"""The action descriptor: what validator, scheduler, executor and editor know of an operation."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace_core.workflow.canonical import canonical_json
from headrace_core.workflow.plan_parts import Effect, Idempotency

DEFAULT_ATTEMPTS = 3
"""Where nothing is said, and only for operations that may safely be repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionDescriptor:
    """`version` has three parts; `http.get@1` means the newest 1.x.x at publish."""

    name: str
    version: str
    title: str
    effect: Effect
    idempotency: Idempotency = Idempotency.NONE
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None = None
    description: str = ""
    lock: str = field(init=False)
    """Version and content, so that a changed description is another lock."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lock", _lock(self))

    @property
    def repeatable(self) -> bool:
        """A second call with the same key does no harm."""
        harmless = self.effect in (Effect.NONE, Effect.READ)
        return harmless or self.idempotency is not Idempotency.NONE

    @property
    def attempts(self) -> int:
        return DEFAULT_ATTEMPTS if self.repeatable else 1


def _lock(action: ActionDescriptor) -> str:
    content = {
        "name": action.name,
        "effect": action.effect.value,
        "idempotency": action.idempotency.value,
        "input": action.input_schema,
        "output": action.output_schema,
    }
    digest = hashlib.sha256(canonical_json(content)).hexdigest()
    return f"{action.version}#{digest[:16]}"
