"""`ai.extract`: structured output of a model, metered, checked against the flow's own schema."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from headrace_core.run.events import Usage
from headrace_core.workflow.builtin_actions import AI_ACTIONS
from headrace_core.workflow.inputs import value_faults
from headrace_core.workflow.template import JsonValue
from headrace_executor.app.failures import INPUT_INVALID, StepFailed
from headrace_executor.app.models import Models
from headrace_executor.app.ports import Call, Completion
from headrace_executor.domain.model_answer import Answer, Question, text_of
from headrace_executor.domain.model_faults import NOT_CONFIGURED, ModelFailed
from headrace_executor.domain.prompt import prompt_hash, question_of
from headrace_executor.domain.structured_output import Unsayable, read_output
from headrace_worker.messages import Outcome

EXTRACT = "ai.extract"
NO_ENDPOINT = "no model is configured: set HEADRACE_AI_BASE_URL and HEADRACE_AI_MODEL"
_SCHEMA = next(action.input_schema for action in AI_ACTIONS if action.name == EXTRACT)


class AiExtract:
    """Implements app.ports.Operation. Without `models` every call fails as not configured, at
    once, so that a step goes on to its fallback. `clock_s` only measures durations."""

    def __init__(self, models: Models | None, clock_s: Callable[[], float]) -> None:
        self._models = models
        self._clock_s = clock_s

    async def run(self, call: Call) -> Completion:
        if call.action.name != EXTRACT:
            raise StepFailed(INPUT_INVALID, f"there is no action {call.action.name}")
        faults = value_faults(_SCHEMA, call.arguments)
        if faults:
            raise StepFailed(INPUT_INVALID, "; ".join(map(str, faults)))
        if isinstance(call.arguments["prompt"], str):
            raise StepFailed(INPUT_INVALID, "prompt: must be an object {system, user}")
        try:
            output = await self._extracted(call)
        except ModelFailed as fault:
            return Completion(
                Outcome.FAILED,
                error_type=fault.error_type,
                error_message=fault.message,
                retry_after_ms=fault.retry_after_ms,
            )
        return Completion(Outcome.SUCCEEDED, output)

    async def _extracted(self, call: Call) -> JsonValue:
        """Raises ModelFailed and StepFailed."""
        if self._models is None:
            raise ModelFailed(NOT_CONFIGURED, NO_ENDPOINT)
        try:
            question = question_of(call.arguments, self._models.usual)
        except Unsayable as fault:
            raise StepFailed(INPUT_INVALID, str(fault)) from fault
        answer = await self._asked(call, self._models, question)
        return read_output(cast("dict[str, Any]", call.arguments["schema"]), text_of(answer))

    async def _asked(self, call: Call, models: Models, question: Question) -> Answer:
        """The attempt's usage names model and prompt also where the call fails or is cut off."""
        usage = Usage(model=question.model, prompt_hash=prompt_hash(call.written))
        begun_s = self._clock_s()
        try:
            answer = await models.ask(question)
            usage = replace(
                usage, input_tokens=answer.input_tokens, output_tokens=answer.output_tokens
            )
        finally:
            duration_ms = round(1_000 * (self._clock_s() - begun_s))
            call.meter.usage = replace(usage, duration_ms=duration_ms)
        return answer
