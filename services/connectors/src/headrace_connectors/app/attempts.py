"""One attempt from its request to its word: bounds, faults, redaction, drain."""

import asyncio
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson

from headrace_connector_sdk.action import ActionCall, ActionDescriptor, Run, only_reads
from headrace_connector_sdk.outcome import Outcome
from headrace_connector_sdk.schema import BadInput
from headrace_connectors import metrics
from headrace_connectors.app.context import AttemptContext
from headrace_connectors.app.ports import Secrets
from headrace_connectors.domain.catalogue import Catalogue
from headrace_core.errors import (
    EgressRefused,
    InvalidInput,
    InvalidState,
    NotFound,
    SetupError,
    Unavailable,
)
from headrace_core.ids import TenantId
from headrace_runtime.postgres.pool import CONNECTION_LOST
from headrace_runtime.telemetry import Logger

BUSY_RETRY_MS = 1_000
DRAINING = "The service stops."


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """`timeout_s` 0 takes the service's bound. `run` and `step` are for logs."""

    tenant: TenantId
    action: str
    input: Any = field(repr=False)
    idempotency_key: str = ""
    timeout_s: float = 0
    secret_names: Sequence[str] = ()
    lock: str = ""
    run: str = ""
    step: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """`output` is the outcome's as JSON, empty unless it is a success."""

    outcome: Outcome
    output: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    attempts: int
    timeout_s: float
    output_bytes: int


class Attempts:
    def __init__(self, catalogue: Catalogue, secrets: Secrets, bounds: Bounds, log: Logger) -> None:
        self.catalogue = catalogue
        self._secrets = secrets
        self._bounds = bounds
        self._log = log
        self._open: set[asyncio.Task[Ended]] = set()
        self._draining = False

    async def run(self, attempt: Attempt, acting: Callable[[], None]) -> Ended:
        """Never raises but for cancellation. `acting` is called when the outside may begin to act;
        for an action that only reads, never."""
        try:
            action, function = self.catalogue.find(attempt.action, attempt.lock)
        except NotFound as fault:
            return Ended(Outcome.permanent("action.unknown", fault.message))
        except InvalidState as fault:
            return Ended(Outcome.permanent("action.changed", fault.message))
        if self._draining:
            return Ended(Outcome.cancelled(DRAINING, may_have_acted=False))
        if len(self._open) >= self._bounds.attempts:
            return Ended(
                Outcome.retry(
                    "connectors.busy",
                    f"All {self._bounds.attempts} attempts that may run at a time are running.",
                    retry_after_ms=BUSY_RETRY_MS,
                )
            )
        began_s = time.monotonic()
        ended = await self._cancellable(attempt, action, function, acting)
        taken_s = time.monotonic() - began_s
        self._count(attempt, action, ended.outcome, taken_s)
        return ended

    async def drain(self, limit_s: float) -> None:
        """Let open attempts end; after `limit_s` cut them, which they report as cancelled."""
        self._draining = True
        if self._open:
            await asyncio.wait(self._open, timeout=limit_s)
        for task in self._open:
            task.cancel()

    async def _cancellable(
        self, attempt: Attempt, action: ActionDescriptor, function: Run, acting: Callable[[], None]
    ) -> Ended:
        reads = only_reads(action)
        context = AttemptContext(self._secrets, attempt.tenant, (lambda: None) if reads else acting)
        work = asyncio.create_task(self._work(attempt, action, function, context))
        self._open.add(work)
        metrics.OPEN.inc()
        try:
            return await work
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            return Ended(Outcome.cancelled(DRAINING, may_have_acted=context.acted and not reads))
        finally:
            self._open.discard(work)
            metrics.OPEN.dec()

    async def _work(
        self, attempt: Attempt, action: ActionDescriptor, function: Run, context: AttemptContext
    ) -> Ended:
        bound_s = self._bounds.timeout_s
        timeout_s = min(attempt.timeout_s or bound_s, bound_s)
        call = ActionCall(
            tenant=attempt.tenant,
            action=action,
            input=_members(attempt.input),
            idempotency_key=attempt.idempotency_key,
            timeout_s=timeout_s,
            context=context,
        )
        try:
            async with asyncio.timeout(timeout_s):
                if not isinstance(attempt.input, Mapping):
                    raise BadInput("the input is not a JSON object")
                await context.open_all(list(attempt.secret_names))
                outcome = await function(call)
        except Exception as fault:  # noqa: BLE001 whatever it is, the attempt ends in a word
            outcome = self._outcome_of(fault, call, context)
        return self._presented(outcome, call, context)

    def _outcome_of(self, fault: Exception, call: ActionCall, context: AttemptContext) -> Outcome:
        match fault:
            case TimeoutError():
                error_type, message = "timeout.attempt", f"No end after {call.timeout_s:g} s."
                passing = True
            case BadInput() | InvalidInput():
                error_type, message, passing = "input.invalid", str(fault), False
            case EgressRefused():
                metrics.EGRESS_REFUSED.inc()
                error_type, message, passing = "egress.refused", fault.message, False
            case NotFound() | SetupError():
                # Of secrets: missing, or sealed by another installation.
                return Outcome.auth_expired("auth", fault.message)
            case Unavailable():
                error_type, message, passing = "network", fault.message, True
            case _ if isinstance(fault, CONNECTION_LOST):
                error_type, passing = "connectors.away", True
                message = "The database of secrets does not answer at the moment."
            case _:
                error_type, passing = "connectors.error", False
                message = f"The action failed in a way nobody foresaw: {type(fault).__name__}."
                self._report(fault, call)
        if context.acted and not call.only_reads:
            return call.lost(error_type, message)
        return (
            Outcome.retry(error_type, message)
            if passing
            else Outcome.permanent(error_type, message)
        )

    def _report(self, fault: Exception, call: ActionCall) -> None:
        """Without the exception's text, which may hold a secret."""
        where = "".join(traceback.format_tb(fault.__traceback__))
        self._log.error(
            "attempt crashed", action=call.action.name, error=type(fault).__name__, stack=where
        )

    def _presented(self, outcome: Outcome, call: ActionCall, context: AttemptContext) -> Ended:
        redactor = context.redactor()
        if outcome.error_type:
            return Ended(replace(outcome, error_message=redactor.text(outcome.error_message)))
        try:
            output = orjson.dumps(redactor.json(outcome.output))
        except TypeError:
            return Ended(_unusable(call, "is nested too deeply to be stored"))
        if len(output) > self._bounds.output_bytes:
            bound = self._bounds.output_bytes
            return Ended(_unusable(call, f"has {len(output)} bytes as JSON, more than {bound}"))
        return Ended(outcome, output)

    def _count(
        self, attempt: Attempt, action: ActionDescriptor, outcome: Outcome, taken_s: float
    ) -> None:
        metrics.ATTEMPTS.of(action.name, outcome.word).inc()
        metrics.ATTEMPT_SECONDS.of(action.name).observe(taken_s)
        self._log.debug(
            "attempt ended",
            action=action.name,
            tenant=attempt.tenant,
            run=attempt.run,
            step=attempt.step,
            word=outcome.word,
            error_type=outcome.error_type,
            ms=round(taken_s * 1000),
        )


def _members(given: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}


def _unusable(call: ActionCall, why: str) -> Outcome:
    """The outside has answered and a repeat gets the same answer."""
    message = f"The answer {why}."
    if call.only_reads:
        return Outcome.permanent("output.invalid", message)
    return Outcome.unknown(f"output.invalid: {message}")
