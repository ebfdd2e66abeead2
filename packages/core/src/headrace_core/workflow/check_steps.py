"""Checks of single steps that need neither graph nor expressions."""

import re
from collections.abc import Mapping
from datetime import datetime

from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.duration import duration_ms, duration_text
from headrace_core.workflow.inputs import schema_fault
from headrace_core.workflow.level import Level
from headrace_core.workflow.model_steps import Approval, Case, Retry, Step, Wait
from headrace_core.workflow.references import ROOTS
from headrace_core.workflow.report import Report
from headrace_core.workflow.template import OPENING

FAN_OUTS_MAX = 3
_RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import"}
    | {"in", "let", "loop", "namespace", "null", "package", "return", "true", "var", "void"}
    | {"while"}
)
"""Of CEL's grammar: an expression that uses one as a name does not parse."""

_ANY_KIND = frozenset({"title", "needs", "join", "cancel_others", "when", "on_error", "sensitive"})
_REPEATED = frozenset({"foreach", "repeat"})
_CALLING = frozenset(
    {"with", "mode", "retry", "timeout", "deadline", "heartbeat", "fallback", "compensate"}
    | {"idempotency_key", "priority", "rate_limit"}
)
KEYS: Mapping[str, frozenset[str]] = {
    "uses": _ANY_KIND | _REPEATED | _CALLING,
    "switch": _ANY_KIND,
    "wait": _ANY_KIND | _REPEATED,
    "approval": _ANY_KIND | _REPEATED,
    "group": _ANY_KIND | _REPEATED | {"outputs", "timeout", "deadline", "compensate", "priority"},
    "set": _ANY_KIND | _REPEATED,
    "fail": _ANY_KIND,
}
"""Which keys mean something beside which kind; any other would silently do nothing."""


def check_step(level: Level, name: str, step: Step, report: Report) -> None:
    path = level.path_of(name)
    _check_keys(step, path, report)
    _check_durations(step, path, report)
    if step.switch is not None:
        _check_switch(step.switch, (*path, "switch"), report)
    if step.wait is not None:
        _check_wait(step.wait, (*path, "wait"), report)
    if step.approval is not None:
        _check_approval(step.approval, (*path, "approval"), report)
    if step.foreach is not None:
        _check_foreach(level, step.foreach.as_, path, report)
    if step.mode == "detach" and step.uses and not step.uses.startswith("flow/"):
        message = "only a sub-flow can be detached"
        report.at_value("HR-1109", (*path, "mode"), message, "remove `mode`, or call a flow")
    if step.heartbeat is not None and step.uses and step.uses.startswith("flow/"):
        message = "a sub-flow gives no sign of life"
        remedy = "write `timeout`, or `heartbeat` for the steps of the flow that is called"
        report.at_key("HR-1109", (*path, "heartbeat"), message, remedy)


def _check_keys(step: Step, path: DocumentPath, report: Report) -> None:
    kind = step.kind
    for field in sorted(step.model_fields_set - {kind}):
        key = field.rstrip("_")
        if key not in KEYS[kind]:
            message = f"`{key}` means nothing for a step of kind `{kind}`"
            report.at_key(
                "HR-1109", (*path, key), message, "remove it, or move it to the step it is for"
            )


def _check_durations(step: Step, path: DocumentPath, report: Report) -> None:
    for key in ("timeout", "deadline", "heartbeat"):
        check_duration(getattr(step, key), (*path, key), report, least_ms=1)
    check_retry(step.retry, (*path, "retry"), report)
    if step.compensate is not None:
        check_retry(step.compensate.retry, (*path, "compensate", "retry"), report)
    if step.repeat is not None:
        check_duration(step.repeat.delay, (*path, "repeat", "delay"), report)
    if step.rate_limit is not None:
        check_duration(step.rate_limit.per, (*path, "rate_limit", "per"), report, least_ms=1)


def check_retry(retry: Retry | None, path: DocumentPath, report: Report) -> None:
    if retry is not None and retry.backoff is not None:
        check_duration(retry.backoff.initial, (*path, "backoff", "initial"), report)
        check_duration(retry.backoff.max, (*path, "backoff", "max"), report)


def check_duration(
    text: str | None, path: DocumentPath, report: Report, *, least_ms: int = 0
) -> None:
    if text is None:
        return
    try:
        ms = duration_ms(text)
    except ValueError as fault:
        report.at_value("HR-1108", path, str(fault), "write a shorter duration")
        return
    if ms < least_ms:
        message = f"`{path[-1]}` of {text} is too short"
        report.at_value("HR-1107", path, message, f"write {duration_text(least_ms)} or more")


def _check_switch(cases: list[Case], path: DocumentPath, report: Report) -> None:
    seen: set[str] = set()
    for index, case in enumerate(cases):
        if case.port in seen:
            message = f"the port {case.port!r} stands twice"
            remedy = "join the two conditions with ||, or rename one"
            report.at_value("HR-1207", (*path, index, "port"), message, remedy)
        seen.add(case.port)
        if case.when is None and index < len(cases) - 1:
            message = f"the cases after {case.port!r} are never taken, since it has no `when`"
            report.at_value("HR-1207", (*path, index), message, "add `when`, or move it to the end")


def _check_wait(wait: Wait, path: DocumentPath, report: Report) -> None:
    given = [key for key in ("for", "until", "event") if key in _aliases(wait)]
    if len(given) != 1:
        said = "several of" if given else "none of"
        message = f"a wait has exactly one of for, until, event; this has {said} them"
        report.at_key("HR-1106", path, message, "keep exactly one of them")
    if wait.expires is not None and wait.event is None:
        message = "only a wait for an event expires"
        report.at_key("HR-1109", (*path, "expires"), message, "remove it")
    check_duration(wait.for_, (*path, "for"), report)
    check_duration(wait.expires, (*path, "expires"), report, least_ms=1)
    if wait.event is not None:
        check_duration(wait.event.keep, (*path, "event", "keep"), report)
    if wait.until is not None and OPENING not in wait.until and not is_time(wait.until):
        remedy = "write it as 2026-01-31T08:00:00Z, or as an expression in ${{ }}"
        report.at_value("HR-1504", (*path, "until"), f"{wait.until!r} is not a time", remedy)


def _aliases(wait: Wait) -> set[str]:
    return {field.rstrip("_") for field in wait.model_fields_set}


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def is_time(text: str) -> bool:
    """RFC 3339, with its time zone."""
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(re.sub(r"\.\d+", "", text))
    except ValueError:
        return False
    return True


def _check_approval(approval: Approval, path: DocumentPath, report: Report) -> None:
    check_duration(approval.expires, (*path, "expires"), report, least_ms=1)
    for index, entry in enumerate(approval.escalate or ()):
        check_duration(entry.after, (*path, "escalate", index, "after"), report, least_ms=1)
    if approval.on_expire is not None and approval.expires is None:
        message = "`on_expire` means nothing without `expires`"
        report.at_key("HR-1109", (*path, "on_expire"), message, "add `expires`, or remove it")
    fault = schema_fault(approval.form) if approval.form is not None else None
    if fault:
        report.at_value("HR-1501", (*path, "form"), fault, "write the form as a JSON Schema")


def _check_foreach(level: Level, alias: str, path: DocumentPath, report: Report) -> None:
    depth = len(level.aliases) + 1
    if depth > FAN_OUTS_MAX:
        message = f"this fan-out is {depth} deep; {FAN_OUTS_MAX} is the limit"
        report.at_key("HR-1206", (*path, "foreach"), message, "move the inner one into a sub-flow")
    if alias in ROOTS or alias in level.aliases:
        message = f"the item name {alias!r} hides another name"
    elif alias in _RESERVED:
        message = f"the item name {alias!r} is a reserved word of CEL"
    else:
        return
    report.at_value("HR-1308", (*path, "foreach", "as"), message, "choose another name")
