"""Runs one attempt: opens what it needs, evaluates `with`, acts, seals what came out.

Transforms run in place, without a task, a timer or a wait of their own; whatever has to wait
(a call, a plan or a payload that is not at hand) takes the slow way. A call that changes something
outside stands between a claim and its end in an effect row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self, TypeVar, cast

from headrace_core.ids import PlanHash, StepKey, TenantId
from headrace_core.payload import (
    NOTHING,
    BlobMissingHere,
    Stored,
    Vault,
    is_reference,
    key_mark,
)
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.template import JsonValue
from headrace_executor.app.effects import Effect, Effects, Ruled
from headrace_executor.app.evaluated import NO_SECRETS, arguments_of, outside_key
from headrace_executor.app.failures import (
    CANCELLED,
    EXPRESSION,
    SUPERSEDED,
    TIMEOUT,
    UNKNOWN_OUTCOME,
    StepFailed,
    as_step_failure,
)
from headrace_executor.app.limits import Interrupted, Limits
from headrace_executor.app.patience import when_available
from headrace_executor.app.ports import (
    AttemptVault,
    Call,
    Completion,
    Contact,
    Meter,
    Plans,
    Secrets,
    Vaults,
)
from headrace_executor.app.prepared import Kinds, Prepared, PreparedSteps, action_at
from headrace_executor.app.results import completed, ended, seal
from headrace_executor.app.values import Opened, step_input
from headrace_executor.domain.effect_flow import cut_off, guard_of, needs_row, unsure
from headrace_runtime.delivery.effect_rules import Guard
from headrace_runtime.redaction import Redactor
from headrace_worker.messages import Outcome, Result, Task

Value = TypeVar("Value")


@dataclass(slots=True)
class Running:
    """An attempt on the slow way. `guarded` is set once it is called under an effect row."""

    task: Task
    limits: Limits
    meter: Meter = field(default_factory=Meter)
    contact: Contact = field(default_factory=Contact)
    guarded: bool = False

    @classmethod
    def of(cls, task: Task) -> Self:
        """Its time runs from here."""
        return cls(task, Limits(task.timeout_ms))

    @property
    def acts_outside(self) -> bool:
        """To be told to its end even if nobody waits for its word: the row is worth it."""
        return self.guarded and self.contact.begun


@dataclass(frozen=True, slots=True)
class _Known:
    """What tasks of the same step need, found once per received message."""

    plan: Plan
    vault: AttemptVault
    prepared: Prepared


@dataclass(slots=True)
class _Found:
    """What an attempt on the slow way has found so far."""

    vault: AttemptVault | None = None
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class _Ready:
    """A call with all that it needs."""

    prepared: Prepared
    vault: AttemptVault
    call: Call
    redactor: Redactor

    async def run(self) -> Completion:
        """Free of the secrets that it was given."""
        assert self.prepared.operation is not None
        said = await self.prepared.operation.run(self.call)
        return replace(
            said,
            output=self.redactor.json(said.output),
            error_message=self.redactor.text(said.error_message),
        )


class Worker:
    def __init__(
        self, plans: Plans, vaults: Vaults, secrets: Secrets, effects: Effects, kinds: Kinds
    ) -> None:
        self._plans = plans
        self._vaults = vaults
        self._secrets = secrets
        self._effects = effects
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
            vault = known.vault.under(task.subject_key)
            output = self._transformed(known.prepared, task, vault, self._opened)
        except BlobMissingHere:
            return None
        except Exception as fault:  # noqa: BLE001 one bad attempt must not reach the others
            action = action_at(plan, task)
            if action is not None and needs_row(action):
                return None
            return ended(task, vault, Outcome.FAILED, as_step_failure(fault))
        # A blob has to be stored before a record names it.
        return None if vault.has_pending_blobs else Result(attempt, Outcome.SUCCEEDED, output)

    def end_batch(self) -> None:
        """What tasks of one message shared is not kept for the next: a key may be erased."""
        self._opened.clear()
        self._batch.clear()

    async def run(self, running: Running) -> Result:
        """Raises CancelledError alone: then nobody waits for a word any more."""
        try:
            result = await self._run(running)
        except Exception as fault:  # noqa: BLE001 an attempt without a word would stay open for ever
            # Not even the row answered as it should: nothing may be promised.
            vault = self._vaults.get_cached(running.task.attempt.tenant)
            failure = as_step_failure(fault)
            result = ended(running.task, vault, Outcome.AMBIGUOUS, failure)
        return result._replace(usage=running.meter.usage)

    async def _run(self, running: Running) -> Result:
        task, found = running.task, _Found()
        tenant = task.attempt.tenant
        try:
            async with running.limits.section():
                found.vault = vault = await self._vault_of(task)
                found.plan = plan = await when_available(
                    lambda: self._plans.load(tenant, task.plan)
                )
                prepared = self._prepared.get(plan, task)
                if prepared.operation is None:
                    return await self._transform(task, prepared, vault)
                ready = await self._ready(running, prepared, vault)
        except Interrupted:
            return await self._end_without_call(running, found, *_interruption(running))
        except Exception as fault:  # noqa: BLE001 one bad attempt must not reach the others
            failure = as_step_failure(fault)
            return await self._end_without_call(running, found, Outcome.FAILED, failure)
        if needs_row(ready.call.action):
            return await self._change(running, ready)
        return await self._read(running, ready)

    async def _vault_of(self, task: Task) -> AttemptVault:
        tenant, run = task.attempt.tenant, task.attempt.run
        vault = await when_available(lambda: self._vaults.load(tenant))
        if not task.subject_key:
            return vault
        # Before anything is called: what comes out could not be told without the key.
        mark = key_mark(task.subject_key)
        await when_available(lambda: self._vaults.fetch(tenant, run, mark))
        return vault.under(task.subject_key)

    async def _transform(self, task: Task, prepared: Prepared, vault: AttemptVault) -> Result:
        opened = Opened()
        output = await self._with_contents(
            task, lambda: self._transformed(prepared, task, vault, opened)
        )
        await self._store_blobs(vault)
        return Result(task.attempt, Outcome.SUCCEEDED, output)

    async def _ready(self, running: Running, prepared: Prepared, vault: AttemptVault) -> _Ready:
        task, opened, template = running.task, Opened(), prepared.template
        names = template.references.secrets if template is not None else ()
        secrets = NO_SECRETS
        if names:
            secrets = await when_available(
                lambda: self._secrets.open_all(task.attempt.tenant, names)
            )
        arguments = await self._with_contents(
            task, lambda: arguments_of(prepared, task, vault, opened, secrets)
        )
        if not isinstance(arguments, Mapping):
            raise StepFailed(EXPRESSION, "`with` must be an object")
        key = await self._with_contents(task, lambda: outside_key(prepared, task, vault, opened))
        assert prepared.action is not None, "an operation has an action"
        call = Call(
            task,
            prepared.action,
            cast(Mapping[str, JsonValue], arguments),
            running.meter,
            template.data if template is not None else None,
            idempotency_key=key,
            secret_names=names,
            contact=running.contact,
            left_ms=running.limits.left_ms,
        )
        return _Ready(prepared, vault, call, Redactor(secrets.values()))

    async def _read(self, running: Running, ready: _Ready) -> Result:
        task, vault = running.task, ready.vault
        try:
            async with running.limits.section():
                result = completed(task, vault, await ready.run())
                await self._store_blobs(vault)
                return result
        except Interrupted:
            return ended(task, vault, *_interruption(running))
        except Exception as fault:  # noqa: BLE001 one bad attempt must not reach the others
            return ended(task, vault, Outcome.FAILED, as_step_failure(fault))

    async def _change(self, running: Running, ready: _Ready) -> Result:
        """Claim, call, settle. Once the call has begun, neither limits nor faults may keep the
        row from hearing how it ended."""
        task, vault = running.task, ready.vault
        effect = self._effects.of(task, guard_of(ready.call.action.idempotency))
        try:
            ruled = await effect.claim(running.limits)
        except Interrupted:
            wanted, failure = _interruption(running)
            ruled = await effect.end_without_call(wanted)
            return _ruled(task, vault, ruled, failure)
        if ruled is not None:
            return _ruled(task, vault, ruled, _claim_failure(ruled))
        running.guarded = True
        result = await self._act(running, ready, effect)
        await self._store_blobs(vault)
        ruled = await effect.settle(result.outcome, result.output)
        if ruled.say.stored:
            return _ruled(task, vault, ruled, None)
        return result._replace(outcome=ruled.say.outcome)

    async def _act(self, running: Running, ready: _Ready, effect: Effect) -> Result:
        task, vault, action = running.task, ready.vault, ready.call.action
        try:
            async with effect.lease_kept(), running.limits.section(effect.cancel_grace_s):
                said = await ready.run()
            return completed(task, vault, said)
        except Interrupted:
            cancelled = running.limits.cancelled
            outcome = cut_off(action, begun=running.contact.begun, cancelled=cancelled)
            failure = _interruption(running)[1]
        except Exception as fault:  # noqa: BLE001 one bad attempt must not reach the others
            failure = as_step_failure(fault)
            outcome = Outcome.FAILED
            if running.contact.begun:
                outcome = unsure(guard_of(action.idempotency))
        return ended(task, vault, outcome, failure)

    async def _end_without_call(
        self, running: Running, found: _Found, wanted: Outcome, failure: StepFailed
    ) -> Result:
        """An earlier attempt of the step may have acted: only the row says that nothing did."""
        task = running.task
        tenant = task.attempt.tenant
        plan = found.plan or self._plans.get_cached(tenant, task.plan)
        vault = found.vault or self._vaults.get_cached(tenant)
        guard = Guard.KEY
        if plan is not None:
            action = action_at(plan, task)
            if action is None or not needs_row(action):
                return ended(task, vault, wanted, failure)
            guard = guard_of(action.idempotency)
        # Without its plan a step may be one that acts. A further attempt is safe in any case, since
        # the row decides what it may do: so the word is at worst "ambiguous".
        ruled = await self._effects.of(task, guard).end_without_call(wanted)
        return _ruled(task, vault, ruled, failure)

    async def _with_contents(self, task: Task, evaluate: Callable[[], Value]) -> Value:
        """Evaluate, and again with each payload at hand that was missing."""
        tenant = task.attempt.tenant
        while True:
            try:
                return evaluate()
            except BlobMissingHere as missing:
                fetch = partial(self._vaults.fetch, tenant, missing.run, missing.stored)
                await when_available(fetch)

    async def _store_blobs(self, vault: AttemptVault) -> None:
        """A blob is stored before a record or a row names it."""
        if vault.has_pending_blobs:
            await when_available(self._vaults.store_pending_blobs)

    def _transformed(self, prepared: Prepared, task: Task, vault: Vault, opened: Opened) -> Stored:
        if prepared.passed_step and not task.edited_input:
            return _passed(prepared.passed_step, task, vault)
        value = arguments_of(prepared, task, vault, opened)
        if prepared.transform is not None and prepared.action is not None:
            value = prepared.transform.run(prepared.action.name, value)
        return seal(task, vault, value)


def _passed(step: str, task: Task, vault: Vault) -> Stored:
    """The other step's output, opened and sealed anew but never parsed."""
    given = step_input(task, step)
    if given is None or not given.output:
        return NOTHING
    if is_reference(given.output):
        return given.output
    run = task.attempt.run
    return vault.seal(run, vault.open(run, given.output))


def _interruption(running: Running) -> tuple[Outcome, StepFailed]:
    """The word on an attempt that was cut off before it acted, and why."""
    if running.limits.cancelled:
        return Outcome.CANCELLED, StepFailed(CANCELLED, "the attempt was cancelled")
    message = f"the attempt did not end within {running.task.timeout_ms} ms"
    return Outcome.FAILED, StepFailed(TIMEOUT, message)


def _ruled(task: Task, vault: Vault | None, ruled: Ruled, failure: StepFailed | None) -> Result:
    if ruled.say.stored:
        return Result(task.attempt, Outcome.SUCCEEDED, ruled.result)
    return ended(task, vault, ruled.say.outcome, failure)


def _claim_failure(ruled: Ruled) -> StepFailed:
    """Why a claim ended the attempt."""
    if ruled.say.outcome is Outcome.UNKNOWN:
        return StepFailed(
            UNKNOWN_OUTCOME,
            "an earlier attempt may have had its effect, and a repeat is not known to be safe",
        )
    return StepFailed(SUPERSEDED, "another attempt has taken this one's place")
