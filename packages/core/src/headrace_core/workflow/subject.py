"""Whose personal data a run holds: `subject`, evaluated once, before the run begins."""

from collections.abc import Mapping
from typing import Any

from headrace_core.workflow.expression import ExprError, evaluate
from headrace_core.workflow.plan import Plan

SUBJECT_LETTERS_MAX = 1_000


def subject_of(plan: Plan, fields: Mapping[str, Any]) -> str | ExprError:
    """The data subject of a run with this input; empty for a flow without `subject`.

    An expression that gives no text, or an empty one, is an error: the payloads would otherwise be
    sealed under a key that nobody can erase.
    """
    if plan.subject is None:
        return ""
    value = evaluate(plan.subject, {"inputs": dict(fields), "vars": dict(plan.vars)})
    if isinstance(value, ExprError):
        return value
    if not isinstance(value, str) or not value:
        what = "an empty text" if value == "" else type(value).__name__
        return ExprError(f"it gave {what}, which names no data subject", plan.subject.source)
    if len(value) > SUBJECT_LETTERS_MAX:
        message = f"it gave {len(value)} letters; {SUBJECT_LETTERS_MAX} is the limit"
        return ExprError(message, plan.subject.source)
    return value
