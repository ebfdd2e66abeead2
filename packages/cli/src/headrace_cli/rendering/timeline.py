"""The timeline of a run: a bar per step, below it its attempts and waits where there are several.

Takes the document of a run as the API gives it, answers text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace_cli.rendering.run_text import run_head, step_remark, usage_line
from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import duration_text, printable, time_ms

NAME_COLUMNS_MAX = 32
DURATION_COLUMNS = 12
REMARK_COLUMNS_MIN = 44
BAR_COLUMNS_MIN = 16
STEPS_MAX = 200
"""More steps than that are counted, not drawn."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of work or of waiting; `until_ms` None is open."""

    from_ms: int
    until_ms: int | None
    is_wait: bool


@dataclass(frozen=True, slots=True)
class Scale:
    start_ms: int
    end_ms: int
    columns: int

    def column(self, at_ms: int) -> int:
        length_ms = max(1, self.end_ms - self.start_ms)
        share = (min(max(at_ms, self.start_ms), self.end_ms) - self.start_ms) / length_ms
        return min(self.columns - 1, int(share * self.columns))


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    spans: Sequence[Span]
    duration_ms: int | None
    kind: str
    remark: str


def render_timeline(run: Document, style: Style, now_ms: int) -> str:
    """A run that has not ended is drawn up to `now_ms`."""
    rows = [row for step in _shown_steps(run) for row in _rows_of(*step)]
    lines = [*run_head(run, style), ""]
    if rows:
        names = min(NAME_COLUMNS_MAX, max(len(row.name) for row in rows))
        fixed = names + DURATION_COLUMNS + REMARK_COLUMNS_MIN + 3
        columns = max(BAR_COLUMNS_MIN, min(style.width - fixed, style.width // 3))
        scale = _scale(run, columns, now_ms)
        lines.append(_axis(scale, names, style))
        lines += (_row(row, scale, names, style) for row in rows)
    hidden = len(run.get("steps", {})) - STEPS_MAX
    if hidden > 0:
        lines.append(f"and {hidden} more steps: headrace show {run['id']} --json")
    lines += usage_line(run)
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _shown_steps(run: Document) -> list[tuple[str, Document]]:
    steps: Mapping[str, Document] = run.get("steps", {})
    by_beginning = sorted(steps.items(), key=lambda entry: _begins_ms(entry[1]))
    return by_beginning[:STEPS_MAX]


def _begins_ms(step: Document) -> int:
    """Steps that never began stand where they were decided; the order is stable."""
    return time_ms(step.get("ready_at")) or time_ms(step.get("ended_at")) or 1 << 60


def _scale(run: Document, columns: int, now_ms: int) -> Scale:
    start_ms = time_ms(run.get("started_at")) or 0
    # A suspended run does nothing more by itself: it ends where it stopped.
    newest_ms = time_ms(run.get("time")) or start_ms
    open_ms = newest_ms if run["status"] == "suspended" else max(now_ms, newest_ms)
    end_ms = time_ms(run.get("ended_at")) or open_ms
    return Scale(start_ms, max(start_ms, end_ms), columns)


def _rows_of(name: str, step: Document) -> Iterator[Row]:
    spans = list(_spans(step))
    ready_ms, ended_ms = time_ms(step.get("ready_at")), time_ms(step.get("ended_at"))
    took_ms = ended_ms - ready_ms if ready_ms is not None and ended_ms is not None else None
    if not spans and ready_ms is not None:
        spans = [Span(ready_ms, ended_ms, is_wait=step["status"] in ("ready", "waiting"))]
    status: str = step["status"]
    yield Row(printable(name), spans, took_ms, status, step_remark(step))
    if len(spans) > 1:
        yield from sorted(_parts(step), key=lambda row: row.spans[0].from_ms)


def _spans(step: Document) -> Iterator[Span]:
    for attempt in step.get("attempts", ()):
        from_ms = time_ms(attempt["assigned_at"])
        if from_ms is not None:
            yield Span(from_ms, time_ms(attempt["ended_at"]), is_wait=False)
    for wait in step.get("waits", ()):
        from_ms = time_ms(wait["from"])
        if from_ms is not None:
            yield Span(from_ms, time_ms(wait["until"]), is_wait=True)


def _parts(step: Document) -> Iterator[Row]:
    for attempt in step.get("attempts", ()):
        from_ms = time_ms(attempt["assigned_at"])
        if from_ms is not None:
            span = Span(from_ms, time_ms(attempt["ended_at"]), is_wait=False)
            outcome = attempt["outcome"] or "running"
            remark = f"{outcome} {attempt['error_type'] or ''}".strip()
            name = f"  attempt {attempt['number']}"
            yield Row(name, [span], attempt["duration_ms"], outcome, remark)
    for wait in step.get("waits", ()):
        from_ms = time_ms(wait["from"])
        if from_ms is not None:
            span = Span(from_ms, time_ms(wait["until"]), is_wait=True)
            remark = wait["child"] or ""
            yield Row(f"  {wait['kind']}", [span], wait["duration_ms"], "faint", remark)


def _axis(scale: Scale, names: int, style: Style) -> str:
    end = duration_text(scale.end_ms - scale.start_ms)
    rule = style.rule * max(0, scale.columns - len(end) - 3)
    return style.paint("faint", f"{'':{names}} 0 {rule} {end}")


def _row(row: Row, scale: Scale, names: int, style: Style) -> str:
    name = style.shorten(row.name, names)
    bar = style.paint(row.kind, _bar(row.spans, scale, style))
    duration = duration_text(row.duration_ms)
    before = f"{name:{names}} {bar} {duration:>{DURATION_COLUMNS}}  "
    room = style.width - names - scale.columns - DURATION_COLUMNS - 4
    remark = style.shorten(printable(row.remark), max(BAR_COLUMNS_MIN, room))
    word, _, rest = remark.partition(" ")
    return f"{before}{style.paint(row.kind, word)}{' ' + rest if rest else ''}"


def _bar(spans: Sequence[Span], scale: Scale, style: Style) -> str:
    """Work is drawn over waiting: the shorter one would not be seen."""
    cells = [" "] * scale.columns
    for span in sorted(spans, key=lambda span: not span.is_wait):
        first = scale.column(span.from_ms)
        last = scale.column(scale.end_ms if span.until_ms is None else span.until_ms)
        glyph = style.wait if span.is_wait else style.work
        if span.until_ms is not None and span.until_ms <= span.from_ms:
            glyph = style.moment
        for cell in range(first, max(first, last) + 1):
            cells[cell] = glyph
    return "".join(cells)
