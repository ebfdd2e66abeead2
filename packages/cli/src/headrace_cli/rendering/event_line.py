"""An event on one line: number, time, kind, step, then its other fields."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import error_text, hint_of, json_line, printable, time_of_day

KIND_COLUMNS = 19
_PLACED = ("sequence", "time", "kind", "step", "edges")
_FOR_PROGRAMS = frozenset({"token", "plan", "correlation"})
"""Long, and of no use to whoever reads along; --json has them."""
_OUTCOMES = ("Succeeded", "Failed", "Cancelled", "Skipped", "Waiting", "Suspended")


def render_event(event: Mapping[str, Any], style: Style) -> str:
    kind: str = event["kind"]
    head = f"{event['sequence']:>5}  {time_of_day(event['time'])}  "
    step = event.get("step") or ""
    fields = " ".join(
        f"{name}={_field(value)}"
        for name, value in event.items()
        if name not in _PLACED and name not in _FOR_PROGRAMS and not _is_nothing(value)
    )
    fields = f"{_edges(event.get('edges') or ())} {fields}".strip()
    rest = printable(f"{step}  {fields}" if step and fields else step or fields)
    room = style.width - len(head) - KIND_COLUMNS - 1
    shown = style.paint(_paint_of(kind), f"{kind:{KIND_COLUMNS}}")
    return f"{head}{shown} {style.shorten(rest, max(room, 20))}".rstrip()


def _edges(edges: Sequence[Mapping[str, Any]]) -> str:
    """Where the step came from: `after=caught.error`."""
    active = [edge for edge in edges if edge["state"] == "active"]
    names = [
        f"{edge['source']}.{edge['port']}" if edge["port"] else edge["source"] for edge in active
    ]
    return f"after={','.join(names)}" if names else ""


def _is_nothing(value: Any) -> bool:
    return value is None or value in ("", [], False, 0)


def _field(value: Any) -> str:
    if isinstance(value, str):
        return value
    document = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if "type" in document and "message" in document:
        return error_text(document)
    return hint_of(document) or json_line(cast("object", value))


def _paint_of(kind: str) -> str:
    return next((word.lower() for word in _OUTCOMES if kind.endswith(word)), "")
