"""`with` and `idempotency_key` of one attempt, evaluated from what came with its task."""

from collections.abc import Mapping
from typing import cast

from headrace_core.payload import Vault
from headrace_core.workflow.expression import ExprError, Names, evaluate, render
from headrace_core.workflow.template import (
    JsonValue,
    Template,
    expressions_of,
    without_members,
)
from headrace_core.workflow.values import build_names
from headrace_executor.app.failures import EXPRESSION, INPUT_INVALID, StepFailed
from headrace_executor.app.prepared import Prepared
from headrace_executor.app.values import Opened, TaskValues
from headrace_executor.domain.effect_flow import takes_key
from headrace_runtime.delivery.effects import EffectKey
from headrace_runtime.redaction import Redactor
from headrace_runtime.secret_text import SecretText
from headrace_worker.messages import Task

KEY_CHARACTERS_MAX = 255
"""What the systems that take such keys accept."""
SECRETS = "secrets"
NO_EDITS: Mapping[str, JsonValue] = {}
NO_SECRETS: Mapping[str, SecretText] = {}


def arguments_of(
    prepared: Prepared,
    task: Task,
    vault: Vault,
    opened: Opened,
    secrets: Mapping[str, SecretText] = NO_SECRETS,
) -> JsonValue:
    """Raises StepFailed, and what opening a payload raises."""
    template, edited = prepared.template, NO_EDITS
    if task.edited_input:
        given = opened.value(vault, task.attempt.run, task.edited_input)
        edited = cast("Mapping[str, JsonValue]", given)
        template = None if template is None else without_members(template, edited)
    if template is None:
        return dict(edited)
    names = _names(template, prepared, task, vault, opened)
    if secrets:
        names[SECRETS] = {name: secret.reveal() for name, secret in secrets.items()}
    value = _rendered(template, names, secrets)
    return {**value, **edited} if edited and isinstance(value, Mapping) else value


def outside_key(prepared: Prepared, task: Task, vault: Vault, opened: Opened) -> str:
    """What the far side takes for the step's identity, the same over all its attempts; empty for
    an action that takes no key. A fallback acts on its own, so its custom key is another one.
    Raises what `arguments_of` raises."""
    attempt, template = task.attempt, prepared.step.idempotency_key
    if prepared.action is None or not takes_key(prepared.action):
        return ""
    if template is None:
        return EffectKey.of(attempt.tenant, attempt.run, attempt.step, task.fallback).outside()
    names = _names(template, prepared, task, vault, opened)
    value = _rendered(template, names)
    if any(evaluate(part, names) in (None, "") for part in expressions_of(template.node)):
        # "order-" would be the key of every order that has no number.
        raise StepFailed(INPUT_INVALID, "an expression of `idempotency_key` gave nothing")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise StepFailed(
            INPUT_INVALID, "`idempotency_key` must give a text that is not empty, or an integer"
        )
    key = f"{value}/{task.fallback}" if task.fallback else value
    if len(key) > KEY_CHARACTERS_MAX:
        raise StepFailed(
            INPUT_INVALID,
            f"`idempotency_key` gave {len(key)} characters, and {KEY_CHARACTERS_MAX} are the most",
        )
    return key


def _names(
    template: Template, prepared: Prepared, task: Task, vault: Vault, opened: Opened
) -> dict[str, JsonValue]:
    source = TaskValues(task, prepared.plan, prepared.step, vault, opened)
    return build_names(prepared.plan, template.references, source)


def _rendered(
    template: Template, names: Names, secrets: Mapping[str, SecretText] = NO_SECRETS
) -> JsonValue:
    value = render(template, names)
    if isinstance(value, ExprError):
        # The engine's messages may quote a value.
        raise StepFailed(EXPRESSION, Redactor(secrets.values()).text(str(value)))
    return value
