"""The differences of a run between two events, a line each: `-` was, `+` is."""

from collections.abc import Iterator, Mapping
from typing import Any

from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import json_line, printable


def render_diff(answer: Mapping[str, Any], style: Style) -> str:
    ends = f"event {answer['from']['sequence']} -> event {answer['to']['sequence']}"
    lines = [style.paint("strong", f"{answer['run']}  {ends}")]
    for change in answer["changes"]:
        lines.append(printable(".".join(change["path"]) or "the run"))
        lines += _sides(change, style)
    if not answer["changes"]:
        lines.append("nothing differs")
    if answer["more"]:
        lines.append("and more: take two events that are nearer to each other")
    return "\n".join(lines) + "\n"


def _sides(change: Mapping[str, Any], style: Style) -> Iterator[str]:
    for sign, side, paint in (("-", "before", "failed"), ("+", "after", "succeeded")):
        if side in change:
            text = style.shorten(printable(json_line(change[side])), style.width - 4)
            yield f"  {style.paint(paint, f'{sign} {text}')}"
