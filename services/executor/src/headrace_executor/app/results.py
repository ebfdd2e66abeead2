"""What an attempt says, sealed: its output, and the message of its error."""

import orjson

from headrace_core.payload import Stored, Vault
from headrace_core.run.events import StepError
from headrace_core.workflow.template import JsonValue
from headrace_executor.app.failures import OUTPUT_INVALID, StepFailed
from headrace_executor.app.ports import Completion
from headrace_worker.messages import Outcome, Result, Task


def seal(task: Task, vault: Vault, value: JsonValue) -> Stored:
    """Raises StepFailed for what is not JSON, and what `Vault.seal` raises."""
    try:
        json = orjson.dumps(value)
    except TypeError as fault:
        raise StepFailed(OUTPUT_INVALID, f"the output is not JSON: {fault}") from fault
    return vault.seal(task.attempt.run, json)


def completed(task: Task, vault: Vault, completion: Completion) -> Result:
    """Raises what `seal` raises."""
    error = None
    if completion.error_type:
        error = error_of(task, vault, completion.error_type, completion.error_message)
    return Result(
        task.attempt,
        completion.outcome,
        seal(task, vault, completion.output),
        error,
        retry_after_ms=completion.retry_after_ms,
    )


def ended(task: Task, vault: Vault | None, outcome: Outcome, failure: StepFailed | None) -> Result:
    """Without an output."""
    error = None if failure is None else error_of(task, vault, failure.error_type, failure.message)
    return Result(task.attempt, outcome, error=error)


def error_of(task: Task, vault: Vault | None, error_type: str, message: str) -> StepError:
    """A message may quote a user's data: it is sealed, or left out where there is no key."""
    if vault is None:
        return StepError(type=error_type)
    try:
        return StepError(type=error_type, message=seal(task, vault, message))
    except Exception:  # noqa: BLE001 the type alone is worth more than no word at all
        return StepError(type=error_type)
