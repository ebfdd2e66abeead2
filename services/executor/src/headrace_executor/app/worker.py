"""Runs one attempt: opens what it needs, evaluates `with`, acts, seals what came out.

Transforms run in place, without a task, a timer or a wait of their own; whatever has to wait
(a call, a plan or a payload that is not at hand) takes the slow way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar, cast

import orjson

from headrace_core.errors import Unavailable
from headrace_core.ids import PlanHash, StepKey, TenantId
from headrace_core.payload import NOTHING, BlobMissingHere, Stored, Vault, is_reference
from headrace_core.run.events import StepError
from headrace_core.workflow.expression import ExprError, render
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.plan_parts import Action
from headrace_core.workflow.template import JsonValue
from headrace_core.workflow.values import build_names
from headrace_executor.app.failures import (
    EXPRESSION,
    OUTPUT_INVALID,
    TIMEOUT,
    StepFailed,
    as_step_failure,
    interrupted,
)
from headrace_executor.app.ports import AttemptVault, Call, Completion, Meter, Plans, Vaults
from headrace_executor.app.prepared import Kinds, Prepared, PreparedSteps
from headrace_executor.app.values import Opened, TaskValues, step_input
from headrace_worker.messages import Outcome, Result, Task

RETRY_FIRST_S, RETRY_MAX_S = 0.05, 1.0

Value = TypeVar("Value")


@dataclass(slots=True)
class Running:
    """An attempt on the slow way. `calling` is the action once its call has begun."""

    task: Task
    calling: Action | None = None
    meter: Meter = field(default_factory=Meter)


@dataclass(frozen=True, slots=True)
class _Known:
    """What tasks of the same step need, found once per received message."""

    plan: Plan
    vault: AttemptVault
    prepared: Prepared


class Worker:
    def __init__(self, plans: Plans, vaults: Vaults, kinds: Kinds) -> None:
        self._plans = plans
        self._vaults = vaults
        self._prepared = PreparedSteps(kinds)
        self._opened = Opened()
        self._batch: dict[tuple[TenantId, PlanHash, StepKey, int], _Known] = {}

    def run_now(self, task: Task) -> Result | None:
        """The attempt's result, or None when it has to take the slow way."""
        attempt = task.attempt
        key = (attempt.tenant, task.plan, attempt.step, task.fallback)
        known = self._batch.get(key)
        if known is None:
            plan = self._plans.get_cached(attempt.tenant, task.plan)
            vault = self._vaults.get_cached(attempt.tenant)
            if plan is None or vault is None:
                return None
        else:
            plan, vault = known.plan, known.vault
        try:
            if known is None:
                known = _Known(plan, vault, self._prepared.get(plan, task))
                self._batch[key] = known
            if known.prepared.operation is not None:
                return None
            output = self._transformed(known.prepared, task, vault, self._opened)
        except BlobMissingHere:
            return None
        except Exception as fault:  # noqa: BLE001 one bad attempt must not reach the others
            return _failed(task, vault, as_step_failure(fault))
        # A blob has to be stored before a record names it.
        return None if vault.has_pending_blobs else Result(attempt, Outcome.SUCCEEDED, output)

    def end_batch(self) -> None:
        """What tasks of one message shared is not kept for the next: a key may be erased."""
        self._opened.clear()
        self._batch.clear()

    async def run(self, running: Running) -> Result:
        """Raises CancelledError alone; `cut_off` then says what is to be said."""
        task = running.task
        limit_s = task.timeout_ms / 1_000 if task.timeout_ms else None
        vault: AttemptVault | None = None
        try:
            async with asyncio.timeout(limit_s):
                vault = await _when_available(lambda: self._vaults.load(task.attempt.tenant))
                plan = await _when_available(
                    lambda: self._plans.load(task.attempt.tenant, task.plan)
                )
                return await self._complete(running, plan, vault)
        except TimeoutError:
            outcome = interrupted(running.calling, cancelled=False)
            message = f"the attempt did not end within {task.timeout_ms} ms"
            error = _error(task, vault, TIMEOUT, message)
            return Result(task.attempt, outcome, error=error, usage=running.meter.usage)
        except Exception as fault:  # noqa: BLE001 one bad attempt must not reach the others
            failed = _failed(task, vault, as_step_failure(fault))
            return failed._replace(usage=running.meter.usage)

    def cut_off(self, running: Running) -> Result:
        """The word on an attempt that was cancelled at its scheduler's request."""
        outcome = interrupted(running.calling, cancelled=True)
        return Result(running.task.attempt, outcome, usage=running.meter.usage)

    async def _complete(self, running: Running, plan: Plan, vault: AttemptVault) -> Result:
        task, opened = running.task, Opened()
        prepared = self._prepared.get(plan, task)
        if prepared.operation is None:
            output = await self._with_contents(
                task, lambda: self._transformed(prepared, task, vault, opened)
            )
            result = Result(task.attempt, Outcome.SUCCEEDED, output)
        else:
            arguments = await self._with_contents(
                task, lambda: _arguments(prepared, task, vault, opened)
            )
            completion = await self._call(running, prepared, arguments)
            result = _sealed(task, vault, completion)._replace(usage=running.meter.usage)
        if vault.has_pending_blobs:
            await _when_available(self._vaults.store_pending_blobs)
        return result

    async def _call(self, running: Running, prepared: Prepared, arguments: JsonValue) -> Completion:
        assert prepared.operation is not None and prepared.action is not None
        if not isinstance(arguments, Mapping):
            raise StepFailed(EXPRESSION, "`with` must be an object")
        given = cast(Mapping[str, JsonValue], arguments)
        written = prepared.template.data if prepared.template else None
        call = Call(running.task, prepared.action, given, running.meter, written)
        running.calling = prepared.action
        return await prepared.operation.run(call)

    async def _with_contents(self, task: Task, evaluate: Callable[[], Value]) -> Value:
        """Evaluate, and again with each payload at hand that was missing."""
        tenant = task.attempt.tenant
        while True:
            try:
                return evaluate()
            except BlobMissingHere as missing:
                fetch = partial(self._vaults.fetch, tenant, missing.run, missing.stored)
                await _when_available(fetch)

    def _transformed(self, prepared: Prepared, task: Task, vault: Vault, opened: Opened) -> Stored:
        if prepared.passed_step:
            return _passed(prepared.passed_step, task, vault)
        value = _arguments(prepared, task, vault, opened)
        if prepared.transform is not None and prepared.action is not None:
            value = prepared.transform.run(prepared.action.name, value)
        return _seal(task, vault, value)


def _passed(step: str, task: Task, vault: Vault) -> Stored:
    """The other step's output, opened and sealed anew but never parsed."""
    given = step_input(task, step)
    if given is None or not given.output:
        return NOTHING
    if is_reference(given.output):
        return given.output
    run = task.attempt.run
    return vault.seal(run, vault.open(run, given.output))


def _arguments(prepared: Prepared, task: Task, vault: Vault, opened: Opened) -> JsonValue:
    template = prepared.template
    if template is None:
        return {}
    source = TaskValues(task, prepared.plan, prepared.step, vault, opened)
    value = render(template, build_names(prepared.plan, template.references, source))
    if isinstance(value, ExprError):
        raise StepFailed(EXPRESSION, str(value))
    return value


def _seal(task: Task, vault: Vault, value: JsonValue) -> Stored:
    try:
        json = orjson.dumps(value)
    except TypeError as fault:
        raise StepFailed(OUTPUT_INVALID, f"the output is not JSON: {fault}") from fault
    return vault.seal(task.attempt.run, json)


def _sealed(task: Task, vault: Vault, completion: Completion) -> Result:
    error = None
    if completion.error_type:
        error = _error(task, vault, completion.error_type, completion.error_message)
    return Result(
        task.attempt,
        completion.outcome,
        _seal(task, vault, completion.output),
        error,
        retry_after_ms=completion.retry_after_ms,
    )


def _failed(task: Task, vault: Vault | None, failure: StepFailed) -> Result:
    error = _error(task, vault, failure.error_type, failure.message)
    return Result(task.attempt, Outcome.FAILED, error=error)


def _error(task: Task, vault: Vault | None, error_type: str, message: str) -> StepError:
    """A message may quote a user's data: it is sealed, or left out where there is no key."""
    if vault is None:
        return StepError(type=error_type)
    try:
        return StepError(type=error_type, message=_seal(task, vault, message))
    except Exception:  # noqa: BLE001 the type alone is worth more than no word at all
        return StepError(type=error_type)


async def _when_available(ask: Callable[[], Awaitable[Value]]) -> Value:
    """Again and again while what is asked is away; the attempt's own timeout ends it."""
    delay_s = RETRY_FIRST_S
    while True:
        try:
            return await ask()
        except Unavailable:
            await asyncio.sleep(delay_s)
            delay_s = min(RETRY_MAX_S, 2 * delay_s)
