"""Work for processes without payload keys and without CEL: a tenant's own workers.

What an executor does beside its step is done here: `with` is evaluated on opened values before
the task is sent, and what the worker says is sealed before the loop sees it. Never in `decide`:
both may have to wait for payloads, or fail.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import orjson

from headrace_core.errors import BlobMissing, KeyErased, PayloadError
from headrace_core.ids import RunId, TenantId
from headrace_core.payload import NOTHING, BlobMissingHere, Stored, Vault, subject_key_of
from headrace_core.run.events import StepError
from headrace_core.run.state import StepView
from headrace_core.run.status import StepStatus
from headrace_core.workflow.expression import ExprError, render
from headrace_core.workflow.plan import PlanStep
from headrace_core.workflow.template import JsonValue, Template
from headrace_runtime.delivery.effects import EffectKey
from headrace_runtime.telemetry import Logger
from headrace_scheduler.app.background import Background
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Assignment, Catalogue
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.failure import sealed_error
from headrace_scheduler.domain.values import StateValues

PAYLOAD_BYTES_MAX = 8 * 1024 * 1024
"""Of what a worker is given, and of what it answers: half of a message."""
ERROR_TYPE_LETTERS_MAX = 100
OUTPUT_INVALID = "output.invalid"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """Clear JSON. `idempotency_key` is the same for every attempt of the step."""

    arguments: bytes
    idempotency_key: str


class _AttemptFailed(Exception):
    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message


class WorkerTasks:
    def __init__(
        self,
        catalogue: Catalogue,
        owned: Mapping[int, OwnedPartition],
        background: Background,
        put: Callable[[Input], None],
        log: Logger,
    ) -> None:
        self._catalogue = catalogue
        self._owned = owned
        self._background = background
        self._put = put
        self._log = log

    def prepare(self, assignment: Assignment, send: Callable[[WorkerTask | None], None]) -> None:
        """Calls `send` once, soon: with None where there is nothing to run any more, because the
        attempt has ended meanwhile or its `with` cannot be evaluated."""
        work = partial(self._prepare, assignment, send)
        self._background.run_for(work, assignment.partition, assignment.run)

    def is_of(self, tenant: TenantId, partition: int, run: RunId) -> bool:
        """False for another tenant's run; what is not here is the loop's to answer."""
        owned = self._owned.get(partition)
        state = owned.runs.get(run) if owned is not None else None
        return state is None or state.tenant == tenant

    def sealed(
        self, tenant: TenantId, partition: int, command: cmd.CompleteStep
    ) -> cmd.CompleteStep | None:
        """A worker's word with clear payloads, as the loop takes it; None if it is not its run.

        A run that is not here leads to a rejection, for which payloads do not matter.
        """
        if not self.is_of(tenant, partition, command.run):
            self._log.warning("word on another tenant's run", tenant=tenant, run=command.run)
            return None
        vault = self._vault(partition, command.run)
        if vault is None:
            return replace(command, output=NOTHING, error=None, usage=None)
        try:
            return _sealed(vault, replace(command, usage=None))
        except KeyErased as fault:
            error = StepError(type=_payload_error(fault))
            return replace(command, outcome=cmd.Outcome.FAILED, output=NOTHING, error=error)

    def sealed_note(
        self, tenant: TenantId, partition: int, command: cmd.NoteStep
    ) -> cmd.NoteStep | None:
        vault = self._vault(partition, command.run)
        if vault is None or not self.is_of(tenant, partition, command.run):
            return None
        try:
            _check_json(command.note)
            return replace(command, note=vault.seal(command.run, command.note))
        except (_AttemptFailed, KeyErased) as fault:
            self._log.warning("a worker's note was not taken", run=command.run, cause=str(fault))
            return None

    async def _prepare(
        self, assignment: Assignment, send: Callable[[WorkerTask | None], None]
    ) -> None:
        try:
            task = await self._task(assignment)
        except _AttemptFailed as failure:
            task = None
            if self._open_step(assignment) is not None:
                self._fail(assignment, failure)
        # Looked at last, with no wait before `send`: a cancellation then comes after its task.
        send(task if self._open_step(assignment) is not None else None)

    async def _task(self, assignment: Assignment) -> WorkerTask:
        run = assignment.run
        plan = self._catalogue.plan(run.tenant, run.plan)
        step = plan.step_at(assignment.step)
        state = run.steps[assignment.step]
        vault = self._catalogue.vault(run.tenant)
        values = StateValues(run, plan, vault, assignment.step)

        def evaluated(template: Template | None) -> JsonValue:
            if template is None:
                return None
            value = render(template, values.names(template.references))
            if isinstance(value, ExprError):
                raise _AttemptFailed("expr.error", str(value))
            return value

        def given() -> JsonValue:
            value = values.arguments(_with_of(step, state))
            if isinstance(value, ExprError):
                raise _AttemptFailed("expr.error", str(value))
            return value

        fields = await self._with_contents(run.tenant, given)
        custom = await self._with_contents(run.tenant, lambda: evaluated(step.idempotency_key))
        own = EffectKey.of(run.tenant, run.run_id, assignment.step, state.fallback)
        return WorkerTask(_arguments(fields), _key_text(custom) or own.outside())

    async def _with_contents(self, tenant: TenantId, evaluate: Callable[[], Value]) -> Value:
        """Evaluate, and again with each payload at hand that was missing."""
        while True:
            try:
                return evaluate()
            except BlobMissingHere as missing:
                try:
                    await self._catalogue.fetch(tenant, missing.run, missing.stored)
                except PayloadError as fault:
                    raise _AttemptFailed(_payload_error(fault), fault.message) from fault
            except PayloadError as fault:
                raise _AttemptFailed(_payload_error(fault), fault.message) from fault

    def _fail(self, assignment: Assignment, failure: _AttemptFailed) -> None:
        run = assignment.run
        try:
            vault = self._catalogue.vault(run.tenant)
            error = sealed_error(vault, run.run_id, failure.error_type, failure.message)
        except KeyErased:
            error = StepError(type=failure.error_type)
        command = cmd.CompleteStep(
            run=run.run_id,
            step=assignment.step,
            attempt=assignment.attempt,
            token=assignment.token,
            outcome=cmd.Outcome.FAILED,
            error=error,
        )
        self._put(Input(assignment.partition, command))

    def _open_step(self, assignment: Assignment) -> StepView | None:
        """None once the attempt is closed, or the partition is no longer held under its epoch."""
        owned = self._owned.get(assignment.partition)
        if owned is None or owned.epoch != assignment.epoch:
            return None
        run = owned.runs.get(assignment.run.run_id)
        state = run.steps.get(assignment.step) if run is not None else None
        if (
            state is None
            or state.status is not StepStatus.RUNNING
            or (state.attempt, state.token) != (assignment.attempt, assignment.token)
        ):
            return None
        return state

    def _vault(self, partition: int, run: RunId) -> Vault | None:
        owned = self._owned.get(partition)
        state = owned.runs.get(run) if owned is not None else None
        if state is None:
            return None
        vault = self._catalogue.vault(state.tenant)
        try:
            return vault.under(subject_key_of(state.input))
        except BlobMissingHere:
            # Its key is brought to hand when the word is decided, and it is sealed again then.
            return vault


def _with_of(step: PlanStep, state: StepView) -> Template | None:
    return step.fallback[state.fallback - 1].arguments if state.fallback else step.arguments


def _arguments(fields: JsonValue) -> bytes:
    if fields is None:
        fields = {}
    if not isinstance(fields, Mapping):
        raise _AttemptFailed("expr.error", "`with` must be an object")
    json = _json(fields)
    if len(json) > PAYLOAD_BYTES_MAX:
        message = f"`with` is {len(json)} bytes; a worker is given {PAYLOAD_BYTES_MAX} at most"
        raise _AttemptFailed("input.invalid", message)
    return json


def _key_text(value: JsonValue) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value).decode()


def _json(value: JsonValue) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as fault:
        # A whole number beyond 64 bits, or text that no encoding takes.
        raise _AttemptFailed("input.invalid", f"a value cannot be sent as JSON: {fault}") from fault


def _sealed(vault: Vault, command: cmd.CompleteStep) -> cmd.CompleteStep:
    try:
        _check_json(command.output)
    except _AttemptFailed as fault:
        error = sealed_error(vault, command.run, fault.error_type, fault.message)
        return replace(command, outcome=cmd.Outcome.FAILED, output=NOTHING, error=error)
    error = None
    if command.error is not None:
        message = _message(command.error.message)
        error = sealed_error(vault, command.run, _error_type(command.error.type), message)
    return replace(command, output=vault.seal(command.run, command.output), error=error)


def _check_json(json: bytes) -> None:
    if len(json) > PAYLOAD_BYTES_MAX:
        message = f"the output is {len(json)} bytes; {PAYLOAD_BYTES_MAX} is the limit"
        raise _AttemptFailed(OUTPUT_INVALID, message)
    try:
        if json:
            orjson.loads(json)
    except orjson.JSONDecodeError as fault:
        raise _AttemptFailed(OUTPUT_INVALID, f"the output is not JSON: {fault}") from fault


def _message(stored: Stored) -> str:
    """A clear JSON string, or whatever else a worker put there."""
    try:
        value = orjson.loads(stored) if stored else ""
    except orjson.JSONDecodeError:
        value = stored.decode(errors="replace")
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _error_type(given: str) -> str:
    fits = 0 < len(given) <= ERROR_TYPE_LETTERS_MAX and given.isascii()
    return given if fits and given.isprintable() and " " not in given else "worker.error"


def _payload_error(fault: PayloadError) -> str:
    if isinstance(fault, KeyErased):
        return "input.erased"
    return "input.missing" if isinstance(fault, BlobMissing) else "input.tampered"
