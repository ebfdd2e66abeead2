"""What every view of a run says in the same words: its head, a step's outcome, its tokens."""

from collections.abc import Iterator, Mapping
from typing import Any

from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import (
    clock_text,
    due_text,
    duration_text,
    error_text,
    payload_text,
    printable,
    time_ms,
)

LABEL_COLUMNS = 9

Document = Mapping[str, Any]


def run_head(run: Document, style: Style) -> list[str]:
    status: str = run["status"]
    lines = [f"{style.paint('strong', run_title(run))}  {style.paint(status, _outcome(run))}"]
    lines.append(_line("run", run["id"]))
    if run.get("started_at"):
        origin = f"{clock_text(run['started_at'])} by {run['started_by']} ({run['trigger']})"
        lines.append(_line("started", origin))
    forked = run.get("forked_from")
    if forked:
        lines.append(_line("forked", f"from {forked['run']} at event {forked['sequence']}"))
    parent = run.get("parent")
    if parent:
        lines.append(_line("parent", f"{parent['run']}, step {parent['step']}"))
    room = style.width - LABEL_COLUMNS
    lines += (
        _line(name, payload_text(run[name], style, room))
        for name in ("input", "output")
        if run.get(name) is not None
    )
    if run.get("error"):
        lines.append(_line("error", style.paint("failed", _run_error(run["error"]))))
    if run.get("cancel"):
        lines.append(_line("cancel", f"cause: {run['cancel']['cause']}"))
    return lines


def run_title(run: Document) -> str:
    return f"{run['flow']}@{run['version']}"


def step_remark(step: Document) -> str:
    """The status, and what explains it."""
    status: str = step["status"]
    return f"{status} {'; '.join(_explanations(step))}".rstrip()


def usage_line(run: Document) -> list[str]:
    """Tokens of all attempts by model; nothing where no model was asked."""
    return [
        _line(
            "tokens",
            f"{used['model']}: {used['input_tokens']} read, {used['output_tokens']} written",
        )
        for used in run.get("usage", ())
    ]


def decision_hints(run: Document) -> list[str]:
    """Commands that decide what the run waits for."""
    return [
        f"headrace approve {run['id']} {name} [--reject]"
        for name, step in run.get("steps", {}).items()
        if step["status"] == "waiting" and step.get("waiting") == "approval"
    ]


def _outcome(run: Document) -> str:
    took = duration_text(run.get("duration_ms"))
    return f"{run['status']} in {took}" if took else run["status"]


def _run_error(error: Document) -> str:
    step = f" (step {error['step']})" if error.get("step") else ""
    return printable(error_text(error)) + step


def _explanations(step: Document) -> Iterator[str]:
    status = step["status"]
    if status == "waiting":
        since_ms = time_ms(step.get("ready_at")) or 0
        due = f" until {due_text(step['due_at'], since_ms)}" if step.get("due_at") else ""
        yield f"for {step.get('waiting', 'something')}{due}"
    if step.get("skip_reason"):
        yield step["skip_reason"].replace("_", " ")
    if step.get("port"):
        yield f"port {step['port']}"
    if step.get("recovered"):
        yield "recovered"
    if step.get("fallback"):
        yield f"fallback {step['fallback']}"
    items = step.get("items")
    if items:
        failed = f", {items['failed']} failed" if items["failed"] else ""
        yield f"{items['succeeded']} of {items['count']} items{failed}"
    if step.get("error"):
        yield error_text(step["error"])
    attempts = step.get("attempts", ())
    if status == "running" and attempts:
        yield f"attempt {step['attempt']}"


def _line(label: str, text: str) -> str:
    return f"{label:{LABEL_COLUMNS}}{text}"
