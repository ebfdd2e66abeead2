"""Errors of attempts: dotted types as the definition language knows them."""

from headrace_core.errors import BlobMissing, KeyErased, NotFound, PayloadTampered, SetupError

EXPRESSION = "expr.error"
INPUT_INVALID = "input.invalid"
INPUT_ERASED = "input.erased"
INPUT_MISSING = "input.missing"
INPUT_TAMPERED = "input.tampered"
OUTPUT_INVALID = "output.invalid"
TIMEOUT = "timeout.attempt"
CODE = "code.error"
CANCELLED = "cancelled"
SUPERSEDED = "executor.superseded"
UNKNOWN_OUTCOME = "unknown_outcome"


class StepFailed(Exception):
    """The attempt failed before it called anything. `message` is for the flow's author."""

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
