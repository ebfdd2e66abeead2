"""Fork a run: its state at a position, edited, becomes the beginning of a new run.

The new run's payloads are sealed for it here, so its owner needs nothing of the source.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

from headrace_api_gateway.app.ports import (
    Flows,
    Fork,
    ForkPoint,
    History,
    Letter,
    PayloadMover,
    Scheduler,
    Started,
)
from headrace_api_gateway.app.starting import DRAWN_KEY_BYTES
from headrace_api_gateway.domain.authorisation import Principal
from headrace_api_gateway.domain.forks import (
    ForkRequest,
    fork_document,
    fork_fingerprint,
    output_faults,
)
from headrace_api_gateway.domain.requests import check_idempotency_key
from headrace_core.errors import InvalidInput
from headrace_core.ids import (
    DAY_MS,
    UNIQUE_BYTES,
    RunId,
    TenantId,
    run_id,
    slot_of_hash,
    stable_hash,
)
from headrace_core.payload import NOTHING, BlobMissingHere, Stored, subject_key_of
from headrace_core.run.events import InheritedStep, RunForked
from headrace_core.run.fork import ForkEdits, ForkPlan, inherit, plan_fork
from headrace_core.run.state import RunView
from headrace_core.workflow.inputs import checked_inputs
from headrace_core.workflow.plan import Plan
from headrace_runtime.clock import Clock

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Planned:
    """What a fork will be; `fields` is its input, None where it is the source's."""

    point: ForkPoint
    plan: Plan
    version: int
    fields: Fields | None
    fork: ForkPlan

    def document(self) -> dict[str, Any]:
        state = self.point.state
        return fork_document(state.run_id, state.sequence, self.version, self.fork)


class Forking:
    """`chance` answers that many random bytes."""

    def __init__(
        self,
        scheduler: Scheduler,
        history: History,
        flows: Flows,
        clock: Clock,
        chance: Callable[[int], bytes],
    ) -> None:
        self._scheduler = scheduler
        self._history = history
        self._flows = flows
        self._clock = clock
        self._chance = chance

    async def preview(self, principal: Principal, source: RunId, request: ForkRequest) -> Planned:
        """What a fork would be. Nothing is changed.

        Raises NotFound, and InvalidInput with every fault of the request.
        """
        tenant = principal.tenant
        point = await self._history.fork_point(tenant, source, request.sequence)
        before = await self._flows.plan(tenant, point.state.plan)
        plan, version = before, point.state.version
        if request.version:
            startable = await self._flows.startable(tenant, before.flow, request.version)
            plan, version = startable.plan, startable.version
        fields, changed = await self._fields(tenant, point.state, plan, request)
        faults = output_faults(plan, request.outputs)
        if faults:
            raise InvalidInput("An edited output is not one that its step can give.", faults)
        edits = ForkEdits(
            inputs=changed, outputs=frozenset(request.outputs), again=frozenset(request.again)
        )
        fork = plan_fork(point.state, before, plan, edits, point.begun)
        return Planned(point, plan, version, fields, fork)

    async def fork(
        self,
        principal: Principal,
        source: RunId,
        request: ForkRequest,
        body: bytes,
        client_key: str | None,
    ) -> tuple[Started, Planned]:
        """Raises as `preview`, KeyReused, TooLarge, Unavailable. What returns is durable."""
        if client_key is not None:
            check_idempotency_key(client_key)
        planned = await self.preview(principal, source, request)
        key = client_key or self._chance(DRAWN_KEY_BYTES).hex()
        start_key = stable_hash(principal.tenant, key)
        fingerprint = fork_fingerprint(source, body)
        started = await self.begin(
            principal,
            planned,
            request,
            start_key,
            fingerprint,
            client_key=client_key is not None,
        )
        return started, planned

    async def begin(
        self,
        principal: Principal,
        planned: Planned,
        request: ForkRequest,
        start_key: bytes,
        fingerprint: bytes,
        *,
        client_key: bool,
        letter: Letter | None = None,
    ) -> Started:
        """Start what was planned, as the replay of `letter` if there is one."""
        day = self._clock.now_ms() // DAY_MS
        run = run_id(slot_of_hash(start_key), day, self._chance(UNIQUE_BYTES))
        return await self._scheduler.fork(
            Fork(
                tenant=principal.tenant,
                actor=principal.actor,
                run=run,
                begin=await self._begin(principal, run, planned, request),
                start_key=start_key,
                fingerprint=fingerprint,
                client_key=client_key,
                letter=letter,
            )
        )

    async def _fields(
        self, tenant: TenantId, state: RunView, plan: Plan, request: ForkRequest
    ) -> tuple[Fields | None, frozenset[str]]:
        """The fork's input, and which of its names have another value than in the source."""
        if not request.inputs and plan.hash == state.plan:
            return None, frozenset()
        mover = await self._flows.mover(tenant)
        opened = orjson.loads(await mover.open(state.run_id, state.input))
        before = cast("dict[str, Any]", opened or {})
        known = {one.name for one in plan.inputs}
        merged = {name: value for name, value in before.items() if name in known}
        fields, faults = checked_inputs(plan.inputs, {**merged, **request.inputs})
        if faults:
            raise InvalidInput(
                f"The edited input does not fit workflow {plan.flow}.",
                [f"input.{fault}" if fault.path else str(fault) for fault in faults],
            )
        absent = object()
        changed = {name for name in fields if before.get(name, absent) != fields[name]}
        return fields, frozenset(changed)

    async def _subject_key(self, tenant: TenantId, planned: Planned, mover: PayloadMover) -> int:
        """Of a version without `subject` the source's: what it inherits is that subject's."""
        state = planned.point.state
        if planned.plan.subject is None:
            return subject_key_of(state.input)
        fields = planned.fields
        if fields is None:
            opened = orjson.loads(await mover.open(state.run_id, state.input))
            fields = cast("dict[str, Any]", opened or {})
        return await self._flows.subject_key(tenant, planned.plan, fields)

    async def _begin(
        self, principal: Principal, run: RunId, planned: Planned, request: ForkRequest
    ) -> RunForked:
        state = planned.point.state
        mover = await self._flows.mover(principal.tenant)
        key = await self._subject_key(principal.tenant, planned, mover)
        sealer = await self._flows.sealer(principal.tenant, key)
        outputs = {
            name: await sealer.seal(run, orjson.dumps(value))
            for name, value in request.outputs.items()
        }
        steps, sealed_input = await _moved(mover, run, planned, outputs, key)
        if planned.fields is not None:
            sealed_input = await sealer.seal(run, orjson.dumps(planned.fields))
        reason = NOTHING
        if request.reason:
            reason = await sealer.seal(run, orjson.dumps(request.reason))
        return RunForked(
            source=state.run_id,
            source_sequence=state.sequence,
            state_hash=planned.point.state_hash,
            flow=planned.plan.flow,
            version=planned.version,
            plan=planned.plan.hash,
            input=sealed_input,
            started_by=principal.actor,
            steps=steps,
            input_edited=planned.fields is not None,
            priority=state.priority,
            reason=reason,
        )


async def _moved(
    mover: PayloadMover,
    run: RunId,
    planned: Planned,
    outputs: Mapping[str, Stored],
    subject_key: int,
) -> tuple[tuple[InheritedStep, ...], Stored]:
    """The inherited steps and the source's input, sealed for the new run."""
    state = planned.point.state

    def reseal(stored: Stored) -> Stored:
        return mover.reseal(state.run_id, run, stored, subject_key)

    while True:
        try:
            moved = inherit(state, planned.fork, outputs, reseal), reseal(state.input)
            await mover.store_blobs()
            return moved
        except BlobMissingHere as missing:
            await mover.open(missing.run, missing.stored)
