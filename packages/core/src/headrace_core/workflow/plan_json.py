"""Plans as JSON and back: they are stored with their version and sent between services.

Expressions and templates are written as their source, so a stored plan is readable.
"""

import json
from functools import cache

from pydantic import TypeAdapter

from headrace_core.workflow.plan import Plan


def plan_to_json(plan: Plan) -> bytes:
    """Equal plans give equal bytes. Not RFC 8785, which would make the number 1.0 an integer and
    so change what an expression over it means."""
    data = _adapter().dump_python(plan, mode="json", exclude_defaults=True)
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def plan_from_json(stored: bytes | str) -> Plan:
    """Raises pydantic.ValidationError when the bytes are not a plan of this release."""
    return _adapter().validate_json(stored)


@cache
def _adapter() -> TypeAdapter[Plan]:
    # Built on first use: it costs tens of milliseconds that not every process has to pay.
    return TypeAdapter(Plan)
