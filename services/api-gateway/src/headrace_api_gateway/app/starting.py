"""Start a run: the request is checked, sealed and handed to the owner of its partition.

What returns is durable. Without a key of the client one is drawn, so that the gateway may send the
start again over a takeover.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from headrace_api_gateway.app.ports import Flows, Scheduler, Start, Startable, Started
from headrace_api_gateway.domain.authorisation import Principal
from headrace_api_gateway.domain.requests import (
    StartRequest,
    check_idempotency_key,
    fingerprint_of,
    start_request,
)
from headrace_core.errors import InvalidInput
from headrace_core.ids import DAY_MS, SLOTS, UNIQUE_BYTES, TenantId, run_id, stable_hash
from headrace_core.workflow.inputs import checked_inputs
from headrace_runtime.clock import Clock

TRIGGER = "api"
DRAWN_KEY_BYTES = 16


class Starting:
    """`chance` answers that many random bytes."""

    def __init__(
        self,
        scheduler: Scheduler,
        flows: Flows,
        clock: Clock,
        chance: Callable[[int], bytes],
    ) -> None:
        self._scheduler = scheduler
        self._flows = flows
        self._clock = clock
        self._chance = chance

    async def start(self, principal: Principal, body: bytes, client_key: str | None) -> Started:
        """Raises InvalidInput with every fault, NotFound, KeyReused, Unavailable."""
        request = start_request(_document(body))
        if client_key is not None:
            check_idempotency_key(client_key)
        tenant = principal.tenant
        startable = await self._flows.startable(tenant, request.flow, request.version)
        fields = _checked(request, startable)
        start_key = _start_key(tenant, client_key or self._chance(DRAWN_KEY_BYTES).hex())
        # The same slot as `slot_for(tenant, key)`: the hash is needed for the key too.
        slot = int.from_bytes(start_key[:4]) % SLOTS
        run = run_id(slot, self._clock.now_ms() // DAY_MS, self._chance(UNIQUE_BYTES))
        sealer = await self._flows.sealer(
            tenant, await self._flows.subject_key(tenant, startable.plan, fields)
        )
        return await self._scheduler.start(
            Start(
                tenant=tenant,
                actor=principal.actor,
                run=run,
                flow=request.flow,
                version=startable.version,
                plan=startable.plan.hash,
                input=await sealer.seal(run, orjson.dumps(fields)),
                trigger=TRIGGER,
                start_key=start_key,
                fingerprint=fingerprint_of(body),
                client_key=client_key is not None,
                priority=request.priority,
            )
        )


def _start_key(tenant: TenantId, key: str) -> bytes:
    return stable_hash(tenant, key)


def _document(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise InvalidInput(f"The body is not JSON: {fault}.") from None


def _checked(request: StartRequest, startable: Startable) -> Mapping[str, Any]:
    fields, faults = checked_inputs(startable.plan.inputs, request.input)
    if faults:
        raise InvalidInput(
            f"The input does not fit workflow {request.flow}@{startable.version}.",
            [f"input.{fault}" if fault.path else str(fault) for fault in faults],
        )
    return fields
