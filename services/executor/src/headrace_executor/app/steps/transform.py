"""`data.*`: pure transforms, run in place."""

from collections.abc import Mapping
from typing import cast

from headrace_core.workflow.builtin_actions import DATA_ACTIONS
from headrace_core.workflow.data_actions import DataActionFailed, run_data_action
from headrace_core.workflow.inputs import value_faults
from headrace_core.workflow.template import JsonValue
from headrace_executor.app.failures import INPUT_INVALID, StepFailed

ECHO = "data.echo"
_SCHEMAS = {action.name: action.input_schema for action in DATA_ACTIONS}
_ECHO_ARGUMENTS = {"value"}


class DataTransform:
    """Implements app.ports.Transform."""

    def passes_through(self, action: str) -> str:
        return "value" if action == ECHO else ""

    def run(self, action: str, arguments: JsonValue) -> JsonValue:
        schema = _SCHEMAS.get(action)
        if schema is None:
            raise StepFailed(INPUT_INVALID, f"there is no action {action}")
        # Whatever the value is, an echo takes it; checking it would cost more than the step.
        if not (
            action == ECHO and isinstance(arguments, dict) and set(arguments) == _ECHO_ARGUMENTS
        ):
            faults = value_faults(schema, arguments)
            if faults:
                raise StepFailed(INPUT_INVALID, "; ".join(map(str, faults)))
        try:
            return run_data_action(action, cast(Mapping[str, JsonValue], arguments))
        except DataActionFailed as fault:
            raise StepFailed(INPUT_INVALID, str(fault)) from fault
