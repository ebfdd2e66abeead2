"""Plans as canonical JSON and back: they are stored with their version and sent between services.

Expressions and templates are written as their source, so a stored plan is readable.
"""

from functools import cache

from pydantic import TypeAdapter

from headrace_core.workflow.canonical import canonical_json
from headrace_core.workflow.plan import Plan


def plan_to_json(plan: Plan) -> bytes:
    return canonical_json(_adapter().dump_python(plan, mode="json", exclude_defaults=True))


def plan_from_json(stored: bytes | str) -> Plan:
    """Raises pydantic.ValidationError when the bytes are not a plan of this release."""
    return _adapter().validate_json(stored)


@cache
def _adapter() -> TypeAdapter[Plan]:
    # Built on first use: it costs tens of milliseconds that not every process has to pay.
    return TypeAdapter(Plan)
