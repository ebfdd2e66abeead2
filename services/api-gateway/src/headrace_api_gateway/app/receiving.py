"""Receive a webhook: find its trigger, have it verified, start the run.

Whoever asks for a tenant, a path or a signature that is not there gets one and the same answer, so
that nobody learns from it which of them exists.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from headrace_api_gateway.app.ports import Flows, Scheduler, Start, Startable, Started
from headrace_api_gateway.domain.hooks import (
    HookRequest,
    Unmapped,
    fields_of,
    start_key_of,
    trigger_values,
)
from headrace_core.errors import InvalidInput, NotFound
from headrace_core.ids import DAY_MS, SLOTS, UNIQUE_BYTES, TenantId, run_id, stable_hash
from headrace_core.workflow.inputs import checked_inputs
from headrace_core.workflow.plan import Trigger
from headrace_runtime.telemetry import Logger

DRAWN_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook of the version of a flow that is stable."""

    flow: str
    version: int
    trigger: str


class Hooks(Protocol):
    async def at(self, tenant: TenantId, path: str) -> Sequence[Hook]:
        """Webhooks of stable versions with this path: one, unless publishing raced."""
        ...


class WebhookVerifier(Protocol):
    async def verify_webhook(
        self, tenant: TenantId, scheme: str, secret: str, headers: Mapping[str, str], body: bytes
    ) -> str:
        """Why it is not to be believed, or the empty text. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Received:
    tenant: TenantId
    started: Started
    wants_result: bool


class Receiving:
    """`chance` answers that many random bytes."""

    def __init__(
        self,
        hooks: Hooks,
        verifier: WebhookVerifier,
        scheduler: Scheduler,
        flows: Flows,
        chance: Callable[[int], bytes],
        log: Logger,
    ) -> None:
        self._hooks = hooks
        self._verifier = verifier
        self._scheduler = scheduler
        self._flows = flows
        self._chance = chance
        self._log = log

    async def receive(self, tenant: TenantId, path: str, request: HookRequest) -> Received:
        """Raises NotFound, InvalidInput, Unavailable. What returns is durable."""
        found = await self._hooks.at(tenant, path.strip("/"))
        if not found:
            raise _nothing_here()
        hook = found[0]
        startable = await self._flows.startable(tenant, hook.flow, str(hook.version))
        trigger = startable.plan.triggers[hook.trigger]
        await self._verify(tenant, hook, trigger, request)
        names = trigger_values(hook.trigger, request)
        try:
            fields, faults = checked_inputs(startable.plan.inputs, fields_of(trigger, names))
            start_key = start_key_of(tenant, hook.flow, hook.trigger, trigger, names)
        except Unmapped as fault:
            raise InvalidInput(f"The request does not fit its trigger: {fault}.") from None
        if faults:
            raise InvalidInput(
                "The request does not fit the flow's inputs.", [str(fault) for fault in faults]
            )
        started = await self._start(tenant, hook, startable, request.time_ms, fields, start_key)
        return Received(tenant, started, wants_result=trigger.respond == "result")

    async def _verify(
        self, tenant: TenantId, hook: Hook, trigger: Trigger, request: HookRequest
    ) -> None:
        if trigger.verify == "none":
            return
        reason = await self._verifier.verify_webhook(
            tenant, trigger.verify, trigger.secret, request.headers, request.body
        )
        if reason:
            self._log.warning(
                "webhook refused",
                tenant=tenant,
                flow=hook.flow,
                trigger=hook.trigger,
                reason=reason,
            )
            raise _nothing_here()

    async def _start(
        self,
        tenant: TenantId,
        hook: Hook,
        startable: Startable,
        now_ms: int,
        fields: Mapping[str, Any],
        key: bytes | None,
    ) -> Started:
        start_key = key or stable_hash(tenant, self._chance(DRAWN_KEY_BYTES).hex())
        slot = int.from_bytes(start_key[:4]) % SLOTS
        run = run_id(slot, now_ms // DAY_MS, self._chance(UNIQUE_BYTES))
        sealer = await self._flows.sealer(
            tenant, await self._flows.subject_key(tenant, startable.plan, fields)
        )
        return await self._scheduler.start(
            Start(
                tenant=tenant,
                actor="webhook",
                run=run,
                flow=hook.flow,
                version=startable.version,
                plan=startable.plan.hash,
                input=await sealer.seal(run, orjson.dumps(fields)),
                trigger=hook.trigger,
                start_key=start_key,
                # A sender that repeats itself in other words still means the same.
                fingerprint=stable_hash(tenant, "hook"),
                client_key=key is not None,
            )
        )


def _nothing_here() -> NotFound:
    return NotFound("There is no such webhook.")
