"""Events from outside: correlated ones to their home, signals to one run.

What returns is durable. An event without an id of the client gets one here, so that the gateway
may send it again over a takeover.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import orjson

from headrace_api_gateway.app.ports import (
    Event,
    Flows,
    History,
    Scheduler,
    Signal,
    Taken,
    TenantSealer,
)
from headrace_api_gateway.domain.authorisation import Principal
from headrace_api_gateway.domain.event_starts import (
    START_BYTES_MAX,
    STARTS_MAX,
    StartWanted,
    matches,
    start_wanted,
)
from headrace_api_gateway.domain.requests import EventRequest, check_idempotency_key, check_topic
from headrace_core.errors import InvalidInput, InvalidState, NotFound
from headrace_core.ids import (
    DAY_MS,
    UNIQUE_BYTES,
    EventId,
    PlanHash,
    RunId,
    TenantId,
    correlation_of,
    event_id,
    slot_of,
    slot_of_correlation,
    stable_hash,
)
from headrace_core.partition.events import EventStart
from headrace_core.payload import INLINE_BYTES_MAX
from headrace_core.run.events import StepError
from headrace_core.workflow.expression import ExprError
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.values import time_text
from headrace_runtime.clock import Clock
from headrace_runtime.telemetry import Logger


@dataclass(frozen=True, slots=True)
class Subscription:
    """A trigger of the version of a flow that is stable."""

    version: int
    plan: PlanHash
    trigger: str


class Topics(Protocol):
    async def keep_ms(self, tenant: TenantId, topic: str) -> int:
        """How long an event of this topic is kept for a step that waits later: the longest `keep`
        of all labelled versions that wait for it, 0 where none does."""
        ...

    async def subscriptions(self, tenant: TenantId, topic: str) -> Sequence[Subscription]:
        """Triggers of stable versions with this topic."""
        ...


@dataclass(frozen=True, slots=True)
class SignalRequest:
    """`key` is the client's Idempotency-Key, empty without."""

    name: str
    body: Any = None
    key: str = ""


class Events:
    """`chance` answers that many random bytes."""

    def __init__(
        self,
        scheduler: Scheduler,
        history: History,
        flows: Flows,
        topics: Topics,
        clock: Clock,
        chance: Callable[[int], bytes],
        log: Logger,
    ) -> None:
        self._scheduler = scheduler
        self._history = history
        self._flows = flows
        self._topics = topics
        self._clock = clock
        self._chance = chance
        self._log = log

    async def publish(self, principal: Principal, request: EventRequest) -> Taken:
        """Raises KeyReused for an id that came with another event, Unavailable also when the home
        keeps too many that nobody waited for, InvalidState for a topic that starts too many flows.
        """
        tenant = principal.tenant
        correlation = correlation_of(tenant, request.topic, request.key)
        slot = slot_of_correlation(correlation)
        event = event_id(slot, self._day(), self._chance(UNIQUE_BYTES))
        sealer = await self._flows.sealer(tenant)
        document = self._document(principal, event, request.topic, request.key, request.body)
        starts = await self._starts(tenant, document)
        return await self._scheduler.publish_event(
            Event(
                tenant=tenant,
                actor=principal.actor,
                event=event,
                correlation=correlation,
                content=await sealer.seal(RunId(event), orjson.dumps(document)),
                keep_ms=await self._topics.keep_ms(tenant, request.topic),
                start_key=stable_hash(correlation, request.id or event),
                fingerprint=request.fingerprint,
                client_key=bool(request.id),
                starts=starts,
            )
        )

    async def _starts(self, tenant: TenantId, event: Mapping[str, Any]) -> Sequence[EventStart]:
        """One trigger that cannot judge the event does not keep the others from it."""
        wanted: list[tuple[Subscription, Plan, StartWanted]] = []
        for one in await self._topics.subscriptions(tenant, event["topic"]):
            plan = await self._flows.plan(tenant, one.plan)
            judged = matches(plan, one.trigger, event)
            if isinstance(judged, ExprError):
                where = {"tenant": tenant, "flow": plan.flow, "trigger": one.trigger}
                self._log.warning("event not judged", **where, event_id=event["id"])
            elif judged:
                wanted.append((one, plan, start_wanted(plan, one.trigger, event, self._day())))
        if len(wanted) > STARTS_MAX:
            raise InvalidState(
                f"This event would start {len(wanted)} flows, the limit is {STARTS_MAX}: "
                "let some of their triggers have a topic of their own."
            )
        inline_bytes_max = min(INLINE_BYTES_MAX, START_BYTES_MAX // max(1, len(wanted)))
        starts: list[EventStart] = []
        for one, plan, mapped in wanted:
            key, start = await self._subject_key(tenant, plan, mapped)
            sealer = await self._flows.sealer(tenant, key)
            starts.append(
                EventStart(
                    run=start.run,
                    tenant=tenant,
                    flow=plan.flow,
                    version=one.version,
                    plan=plan.hash,
                    input=await sealer.seal(start.run, start.content, inline_bytes_max),
                    trigger=one.trigger,
                    event=EventId(event["id"]),
                    error=await _refusal(sealer, start),
                )
            )
        return starts

    async def _subject_key(
        self, tenant: TenantId, plan: Plan, start: StartWanted
    ) -> tuple[int, StartWanted]:
        """Nothing of an input whose data subject is not known is kept."""
        if plan.subject is None:
            return 0, start
        if start.fault:
            return 0, StartWanted(start.run, b"{}", start.fault)
        try:
            key = await self._flows.subject_key(tenant, plan, orjson.loads(start.content))
        except InvalidInput as fault:
            return 0, StartWanted(start.run, b"{}", fault.message)
        return key, start

    async def signal(self, principal: Principal, run: RunId, request: SignalRequest) -> Taken:
        """Raises NotFound, InvalidState when nobody in the run waits for it."""
        check_topic(request.name)
        tenant = principal.tenant
        unique = self._chance(UNIQUE_BYTES)
        if request.key:
            check_idempotency_key(request.key)
            unique = stable_hash(run, request.name, request.key)[:UNIQUE_BYTES]
        signal = event_id(slot_of(run), 0, unique)
        sealer = await self._flows.sealer(tenant)
        document = self._document(principal, signal, request.name, None, request.body)
        sealed = await sealer.seal(run, orjson.dumps(document))
        try:
            return await self._scheduler.signal(
                Signal(tenant, principal.actor, run, request.name, signal, sealed)
            )
        except NotFound:
            # The scheduler has only open runs; it may have ended by this very signal, sent twice.
            known = orjson.loads(await self._history.run(tenant, run))
            steps = cast("dict[str, dict[str, Any]]", known.get("steps", {}))
            if any(step.get("event") == signal for step in steps.values()):
                return Taken(signal, repeated=True)
            raise InvalidState(f"Run {run} is over: it has {known['status']}.") from None

    def _document(
        self, principal: Principal, event: EventId, topic: str, key: str | None, body: Any
    ) -> dict[str, Any]:
        """What `event` is in `match`, and the output of the step that receives it."""
        return {
            "id": event,
            "topic": topic,
            "key": key,
            "body": body,
            "time": time_text(self._clock.now_ms()),
            "sent_by": principal.actor,
        }

    def _day(self) -> int:
        return self._clock.now_ms() // DAY_MS


async def _refusal(sealer: TenantSealer, start: StartWanted) -> StepError | None:
    if not start.fault:
        return None
    message = await sealer.seal(start.run, orjson.dumps(start.fault))
    return StepError(type="input.invalid", message=message)
