"""The edge's evaluations: a sub-flow's input and a firing's, opened, checked and sealed here.

`decide` never does this: it would have to wait for payloads that are only referenced.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from headrace_core.errors import KeyErased, PayloadError
from headrace_core.ids import PlanHash, RunId, StepKey, TenantId
from headrace_core.payload import BlobMissingHere, Stored, Vault, subject_key_of
from headrace_core.run.events import StepError
from headrace_core.run.state import RunView
from headrace_core.workflow.expression import ExprError, render
from headrace_core.workflow.inputs import ValueFault, checked_inputs
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.subject import subject_of
from headrace_core.workflow.template import JsonValue
from headrace_core.workflow.values import time_text
from headrace_scheduler.app.ports import Catalogue
from headrace_scheduler.domain.commands import StartChild
from headrace_scheduler.domain.decide.start_action import action_of
from headrace_scheduler.domain.effects import PrepareChild
from headrace_scheduler.domain.failure import INPUT_ERASED, sealed_error
from headrace_scheduler.domain.values import StateValues


async def child_input(catalogue: Catalogue, run: RunView, effect: PrepareChild) -> StartChild:
    """Evaluate the step's `with` for its sub-flow, or say why that cannot be."""
    plan = catalogue.plan(run.tenant, run.plan)
    vault = await vault_under(catalogue, run.tenant, subject_key_of(run.input))
    state = run.steps[effect.step]
    action = action_of(plan.step_at(effect.step), state)
    child_plan = PlanHash(action.locked)
    await catalogue.load(run.tenant, child_plan)
    fields = await _arguments(catalogue, run, plan, effect.step)
    if isinstance(fields, ExprError):
        error = sealed_error(vault, run.run_id, "expr.error", str(fields))
        return StartChild(run=run.run_id, step=effect.step, error=error)
    called = catalogue.plan(run.tenant, child_plan)
    values, faults = checked_inputs(called.inputs, fields)
    if faults:
        message = f"flow {action.name!r} refuses its input: {_listed(faults)}"
        error = sealed_error(vault, run.run_id, "input.invalid", message)
        return StartChild(run=run.run_id, step=effect.step, error=error)
    subject = subject_of(called, values)
    if isinstance(subject, ExprError):
        message = f"`subject` of flow {action.name!r}: {subject}"
        error = sealed_error(vault, run.run_id, "input.invalid", message)
        return StartChild(run=run.run_id, step=effect.step, error=error)
    if subject:
        # Its own, where the flow says whose data it holds; else those of whoever calls it.
        key = await catalogue.subject_key(run.tenant, subject)
        vault = catalogue.vault(run.tenant).under(key)
    try:
        sealed = vault.seal(effect.child, _json(values))
    except KeyErased:
        error = StepError(type=INPUT_ERASED)
        return StartChild(run=run.run_id, step=effect.step, error=error)
    await catalogue.store_blobs()
    version = await catalogue.version(run.tenant, child_plan)
    return StartChild(run=run.run_id, step=effect.step, input=sealed, version=version)


async def vault_under(catalogue: Catalogue, tenant: TenantId, subject_key: int) -> Vault:
    """What seals for a run of this data subject, its key brought to hand."""
    while True:
        try:
            return catalogue.vault(tenant).under(subject_key)
        except BlobMissingHere as missing:
            with suppress(KeyErased):
                await catalogue.fetch(tenant, missing.run, missing.stored)


async def sealed_firing(
    catalogue: Catalogue, tenant: TenantId, plan: Plan, run: RunId, content: bytes, fault: str
) -> tuple[Stored, str]:
    """A firing's input sealed for its run, and why it cannot be used, if so. Nothing of an input
    whose data subject is not known is kept."""
    subject = subject_of(plan, json.loads(content)) if not fault else ""
    if isinstance(subject, ExprError):
        return catalogue.vault(tenant).seal(run, b"{}"), f"`subject`: {subject}"
    if fault and plan.subject is not None:
        content = b"{}"
    key = await catalogue.subject_key(tenant, subject) if subject else 0
    return catalogue.vault(tenant).under(key).seal(run, content), fault


def schedule_input(plan: Plan, trigger: str, due_ms: int) -> tuple[bytes, str]:
    """A firing's input by the trigger's mapping, and why it cannot be used, if so.

    Without a mapping the flow's defaults are the input.
    """
    mapping = plan.triggers[trigger].mapping
    fields: JsonValue | ExprError = {}
    if mapping is not None:
        names: dict[str, Any] = {"trigger": {"id": trigger, "time": time_text(due_ms)}}
        fields = render(mapping, names)
    if isinstance(fields, ExprError):
        return b"{}", str(fields)
    values, faults = checked_inputs(plan.inputs, fields)
    return _json(values), _listed(faults)


async def _arguments(
    catalogue: Catalogue, run: RunView, plan: Plan, key: StepKey
) -> JsonValue | ExprError:
    state = run.steps[key]
    step = plan.step_at(key)
    template = step.fallback[state.fallback - 1].arguments if state.fallback else step.arguments
    values = StateValues(run, plan, catalogue.vault(run.tenant), key)
    while True:
        try:
            return values.arguments(template)
        except BlobMissingHere as missing:
            await catalogue.fetch(run.tenant, missing.run, missing.stored)
        except PayloadError as error:
            return ExprError(str(error), "with")


def _listed(faults: Sequence[ValueFault]) -> str:
    return "; ".join(map(str, faults))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
