"""What a webhook's request is to a flow: `trigger`, its start key, its answer. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from headrace_core.ids import TenantId, stable_hash
from headrace_core.workflow.expression import ExprError, render
from headrace_core.workflow.plan import Trigger
from headrace_core.workflow.values import time_text

WITHHELD = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers that a flow does not get to see: what it maps is logged."""
_MESSAGE_ID = "webhook-id"
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRequest:
    """`headers` with names in lower case. `body` as it came."""

    headers: Mapping[str, str]
    query: str
    body: bytes
    time_ms: int


class Unmapped(Exception):
    """The trigger's templates do not give what they should for this request."""


def trigger_values(trigger: str, request: HookRequest) -> Mapping[str, Any]:
    return {
        "trigger": {
            "id": trigger,
            "time": time_text(request.time_ms),
            "headers": {
                name: value for name, value in request.headers.items() if name not in WITHHELD
            },
            "query": dict(parse_qsl(request.query, keep_blank_values=True)),
            "body": _body(request),
        }
    }


def fields_of(trigger: Trigger, names: Mapping[str, Any]) -> Any:
    """The flow's inputs; without a mapping the body's fields. Raises Unmapped."""
    if trigger.mapping is None:
        return names["trigger"]["body"]
    return _rendered(render(trigger.mapping, names))


def start_key_of(
    tenant: TenantId, flow: str, name: str, trigger: Trigger, names: Mapping[str, Any]
) -> bytes | None:
    """Of the request's `dedupe`, or of its message id where the scheme has one that is signed;
    None where every request is another. Raises Unmapped."""
    if trigger.dedupe is not None:
        said = _rendered(render(trigger.dedupe, names))
    elif trigger.verify == "standard-webhooks":
        said = names["trigger"]["headers"].get(_MESSAGE_ID, "")
    else:
        return None
    if said is None or said == "":
        raise Unmapped("`dedupe` gives no value for this request")
    text = said if isinstance(said, str) else orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    return stable_hash(tenant, "hook", flow, name, text if isinstance(text, str) else text.decode())


def result_of(run_document: bytes) -> Mapping[str, Any]:
    """What whoever sent the request is told of an ended run: nothing of how it came about."""
    run = orjson.loads(run_document)
    return {name: run.get(name) for name in ("id", "status", "output")}


def _rendered(value: Any) -> Any:
    if isinstance(value, ExprError):
        raise Unmapped(str(value))
    return value


def _body(request: HookRequest) -> Any:
    """JSON where it is JSON, the fields of a form, else text."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
        pairs: Sequence[tuple[str, str]] = parse_qsl(
            request.body.decode(errors="replace"), keep_blank_values=True
        )
        return dict(pairs)
    if not request.body:
        return None
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return request.body.decode(errors="replace")
