"""An output given by a person in the place of a step's own: one that the step could give."""

from typing import Any

from headrace_core.workflow.inputs import ValueFault, value_faults
from headrace_core.workflow.plan import PlanStep, UsesKind
from headrace_core.workflow.resolution import Catalogue


def edited_output_faults(step: PlanStep, value: Any) -> list[ValueFault]:
    """Every way in which `value` breaks the output schema of the step's action.

    Sub-flows, workers' tasks and actions without such a schema take any value.
    """
    action = step.uses
    if action is None or action.kind is not UsesKind.ACTION:
        return []
    version = action.reference.rpartition("@")[2]
    descriptor = Catalogue().action(action.name, version)
    if descriptor is None or descriptor.output_schema is None:
        return []
    return value_faults(descriptor.output_schema, value)
