"""Lists of runs, workflows, tenants and keys."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace_cli.rendering.run_text import run_title
from headrace_cli.rendering.style import Style
from headrace_cli.rendering.table import render_table
from headrace_cli.rendering.values import clock_text, date_text, duration_text

Documents = Sequence[Mapping[str, Any]]


def render_runs(runs: Documents, style: Style) -> str:
    heads = ("RUN", "WORKFLOW", "STATUS", "STARTED", "TOOK", "ERROR")
    rows = [
        [
            run["id"],
            run_title(run),
            run["status"],
            clock_text(run["started_at"]),
            duration_text(run["duration_ms"]),
            _error(run),
        ]
        for run in runs
    ]
    return render_table(heads, rows, style, status=2)


def render_workflows(workflows: Documents, style: Style) -> str:
    rows = [
        [
            workflow["name"],
            str(version["version"]),
            ", ".join(version["labels"]),
            date_text(version["created_at_ms"]),
            version["hash"][:12],
        ]
        for workflow in workflows
        for version in sorted(workflow["versions"], key=lambda one: -one["version"])
    ]
    return render_table(("WORKFLOW", "VERSION", "LABELS", "PUBLISHED", "HASH"), rows, style)


def render_tenants(tenants: Documents, kept: Sequence[str], style: Style) -> str:
    """`kept` are those of whom the home keeps a key."""
    rows = [
        [
            tenant["id"],
            str(tenant["weight"]),
            date_text(tenant["created_at_ms"]),
            "kept in the home" if tenant["id"] in kept else "",
        ]
        for tenant in tenants
    ]
    return render_table(("TENANT", "WEIGHT", "CREATED", "KEY"), rows, style)


def render_keys(keys: Documents, style: Style) -> str:
    rows = [
        [
            key["id"],
            key["name"],
            key["role"],
            date_text(key["created_at_ms"]),
            "revoked" if key["revoked"] else "",
        ]
        for key in keys
    ]
    return render_table(("KEY", "NAME", "ROLE", "CREATED", ""), rows, style)


def render_secrets(secrets: Documents, style: Style) -> str:
    rows = [[one["name"], str(one["version"]), clock_text(one.get("set_at"))] for one in secrets]
    return render_table(("SECRET", "VERSION", "SET"), rows, style)


def render_subjects(subjects: Documents, style: Style) -> str:
    rows = [
        [
            one["id"][:16],
            str(one["key"]),
            clock_text(one["created_at"]),
            clock_text(one["erased_at"]),
            one["erased_by"] or "",
        ]
        for one in subjects
    ]
    return render_table(("SUBJECT", "KEY", "SINCE", "ERASED", "BY"), rows, style)


def render_letters(letters: Documents, style: Style) -> str:
    heads = ("LETTER", "ADDED", "RUN", "STEP", "CALLED", "ERROR", "")
    rows = [
        [
            one["id"],
            clock_text(one["added_at"]),
            one["run"],
            one["step"],
            one["operation"],
            one["error_type"],
            "" if one["status"] == "open" else one["status"],
        ]
        for one in letters
    ]
    return render_table(heads, rows, style)


def render_egress(allowed: Documents, style: Style) -> str:
    return render_table(
        ("HOST", "PORT"), [[one["host"], str(one["port"])] for one in allowed], style
    )


def _error(run: Mapping[str, Any]) -> str:
    if not run.get("error_type"):
        return ""
    step = f" in {run['failed_step']}" if run.get("failed_step") else ""
    return f"{run['error_type']}{step}"
