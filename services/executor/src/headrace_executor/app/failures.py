"""Errors of attempts: dotted types as the definition language knows them."""

from headrace_core.errors import BlobMissing, KeyErased, NotFound, PayloadTampered, SetupError
from headrace_core.workflow.plan_parts import Action, Effect, Idempotency
from headrace_worker.messages import Outcome

EXPRESSION = "expr.error"
INPUT_INVALID = "input.invalid"
INPUT_ERASED = "input.erased"
INPUT_MISSING = "input.missing"
INPUT_TAMPERED = "input.tampered"
OUTPUT_INVALID = "output.invalid"
TIMEOUT = "timeout.attempt"
CODE = "code.error"


class StepFailed(Exception):
    """The attempt failed and had no effect. `message` is for the flow's author."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message


def as_step_failure(fault: Exception) -> StepFailed:
    """What a fault met while an attempt was prepared or evaluated means for its step."""
    if isinstance(fault, StepFailed):
        return fault
    if isinstance(fault, KeyErased):
        return StepFailed(INPUT_ERASED, fault.message)
    if isinstance(fault, BlobMissing):
        return StepFailed(INPUT_MISSING, fault.message)
    if isinstance(fault, PayloadTampered):
        return StepFailed(INPUT_TAMPERED, fault.message)
    if isinstance(fault, NotFound | SetupError):
        return StepFailed(INPUT_INVALID, fault.message)
    return StepFailed(CODE, f"the executor met a fault of its own: {type(fault).__name__}")


def interrupted(action: Action | None, *, cancelled: bool) -> Outcome:
    """The word on a call that was cut off and said nothing itself: its effect may have happened."""
    if action is None or action.effect in (Effect.NONE, Effect.READ):
        return Outcome.CANCELLED if cancelled else Outcome.FAILED
    if action.idempotency is Idempotency.NONE:
        return Outcome.UNKNOWN
    return Outcome.AMBIGUOUS
