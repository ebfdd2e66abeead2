"""What the cases came to, for people and for programs. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headrace_cli.rendering.story import tell
from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import duration_text, printable
from headrace_cli.testing.play import Played


@dataclass(frozen=True, slots=True)
class Judged:
    """Without `differences` the case holds; without `played` it could not be played."""

    file: str
    line: int
    name: str
    differences: Sequence[str]
    played: Played | None
    took_ms: float

    @property
    def holds(self) -> bool:
        return not self.differences


def render_judged(judged: Sequence[Judged], style: Style) -> str:
    """One line per case; a failed one with what differs and what became of the steps."""
    lines: list[str] = []
    file = ""
    for one in judged:
        if one.file != file:
            file = one.file
            lines.append(style.paint("strong", file))
        lines += _lines(one, style)
    return "\n".join(lines)


def summary(judged: Sequence[Judged]) -> str:
    failed = sum(not one.holds for one in judged)
    cases = f"{len(judged)} case{'s' if len(judged) != 1 else ''}"
    return f"{cases}, {failed} failed" if failed else f"{cases} passed"


def judged_document(judged: Sequence[Judged]) -> dict[str, Any]:
    return {
        "passed": all(one.holds for one in judged),
        "cases": [
            {
                "file": one.file,
                "line": one.line,
                "name": one.name,
                "passed": one.holds,
                "differences": list(one.differences),
                "took_ms": round(one.took_ms, 3),
                "events": list(one.played.events) if one.played is not None else [],
            }
            for one in judged
        ],
    }


def _lines(one: Judged, style: Style) -> Iterator[str]:
    if one.holds:
        yield f"  {style.paint('succeeded', 'ok')}    {one.name} ({duration_text(one.took_ms)})"
        return
    yield f"  {style.paint('failed', 'FAIL')}  {one.name} (line {one.line})"
    for difference in one.differences:
        yield f"        {style.paint('failed', printable(difference))}"
    if one.played is not None:
        yield "        what happened:"
        yield from (f"          {line}" for line in _steps(one.played))


def _steps(played: Played) -> Iterator[str]:
    width = max(map(len, played.steps), default=0)
    for name, step in played.steps.items():
        why = tell(played.events, name, step.needs).because
        yield printable(f"{name:{width}}  {step.status:9}  {why}").rstrip()
