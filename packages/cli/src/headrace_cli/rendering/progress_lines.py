"""Progress where nothing can be drawn over: a line per change."""

from headrace_cli.rendering.progress import Change
from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import duration_text, printable

TIME_COLUMNS = 9
STEP_COLUMNS = 20
STATUS_COLUMNS = 9
REMARK_COLUMNS_MIN = 20


def progress_line(change: Change, started_ms: int, style: Style) -> str:
    """Time since the start of the run, what changed, to what, and why."""
    elapsed = duration_text(change.at_ms - started_ms)
    head = f"{elapsed:>{TIME_COLUMNS}}  {printable(change.step):{STEP_COLUMNS}}  "
    word = style.paint(change.status, f"{change.status:{STATUS_COLUMNS}}")
    room = max(REMARK_COLUMNS_MIN, style.width - len(head) - STATUS_COLUMNS - 2)
    remark = "; ".join(part for part in (duration_text(change.took_ms), change.remark) if part)
    return f"{head}{word}  {style.shorten(printable(remark), room)}".rstrip()
