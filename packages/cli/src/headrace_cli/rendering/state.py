"""The state of a run at one of its events, and what a replay proved."""

from collections.abc import Mapping
from typing import Any

from headrace_cli.rendering.run_text import run_head, step_remark
from headrace_cli.rendering.style import Style
from headrace_cli.rendering.table import render_table
from headrace_cli.rendering.values import clock_text, payload_text, printable

OUTPUT_COLUMNS = 60


def render_state(answer: Mapping[str, Any], style: Style) -> str:
    """`answer` holds `sequence`, `state` and `state_hash`, as the API's state does."""
    state: Mapping[str, Any] = answer["state"]
    lines = run_head(state, style)
    lines.append(f"event    {answer['sequence']}, {clock_text(state.get('time'))}")
    lines.append(f"hash     {answer['state_hash']}")
    rows = [
        [
            printable(name),
            step["status"],
            str(step["attempt"] or ""),
            _content(step, style),
        ]
        for name, step in state.get("steps", {}).items()
    ]
    text = "\n".join(lines) + "\n"
    if not rows:
        return text
    return f"{text}\n{render_table(('STEP', 'STATUS', 'ATTEMPT', 'OUTPUT'), rows, style, 1)}"


def _content(step: Mapping[str, Any], style: Style) -> str:
    if step.get("output") is not None:
        return payload_text(step["output"], style, OUTPUT_COLUMNS)
    remark = step_remark(step).removeprefix(step["status"]).strip()
    return printable(remark)
