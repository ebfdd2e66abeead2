"""Clients: each starts one run, again and again until somebody says that it is durable; and
publishes the events that the run waits for, which may be before it does."""

import asyncio
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from headrace_core.ids import (
    Correlation,
    RunId,
    TenantId,
    correlation_of,
    day_of,
    event_id,
    partition_of,
    slot_of,
    slot_of_correlation,
)
from headrace_core.run.status import CancelCause
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason, Rejection
from tests.simulation.world.flows import BY_EVENT, BY_SIGNAL, SimFlow
from tests.simulation.world.owners import OwnerHost
from tests.simulation.world.parts import LeaseTable, SimCatalogue
from tests.simulation.world.scenario import Start

KEPT_MS = 86_400_000
PUBLISHED_MS_MAX = 2_500
"""So long after its start an event that a run waits for is published."""


@dataclass(slots=True)
class ClientSays:
    """What one client was told: that its start is durable, that its cancel is. A cancel that was
    asked for may have come through without an answer."""

    run: RunId
    flow: SimFlow
    started: bool = False
    asked_to_cancel: bool = False
    cancelled: bool = False
    attempts: int = 0


class Answer:
    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.durable = False
        self.rejection: Rejection | None = None

    @property
    def repeated(self) -> bool:
        return self.rejection is not None and self.rejection.reason is Reason.REPEATED

    def accepted(self, partition: int, offset: int) -> None:
        self.durable = True
        self._settle()

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        self.rejection = rejection
        self._settle()

    def unavailable(self, partition: int) -> None:
        self._settle()

    def _settle(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True)
class Client:
    chance: random.Random
    hosts: Sequence[OwnerHost]
    leases: LeaseTable
    partitions: int
    tenant: TenantId
    catalogue: SimCatalogue

    async def live(self, start: Start, said: ClientSays) -> None:
        await asyncio.sleep(start.at_ms / 1_000)
        await asyncio.gather(
            self._start_then_cancel(start, said),
            *(self._publish(said.run, name) for name in said.flow.waits_for(BY_EVENT)),
        )

    async def _start_then_cancel(self, start: Start, said: ClientSays) -> None:
        command, home = self._start_of(said), self._home_of(said.run)
        while not said.started:
            said.attempts += 1
            answer = await self._ask(home, command)
            said.started = answer.durable or answer.repeated
        if start.cancel_after_ms is None:
            return
        await asyncio.sleep(start.cancel_after_ms / 1_000)
        cancel = cmd.CancelRun(
            run=said.run, tenant=self.tenant, cause=CancelCause.REQUEST, requested_by="client"
        )
        said.asked_to_cancel = True
        while True:
            answer = await self._ask(home, cancel)
            if answer.durable or answer.rejection is not None:
                said.cancelled = answer.durable
                return

    async def _publish(self, run: RunId, step: str) -> None:
        chance = random.Random(f"{run}/{step}")
        await asyncio.sleep(chance.randrange(PUBLISHED_MS_MAX) / 1_000)
        correlation = correlation_of(self.tenant, BY_EVENT, self._key_of(run, step))
        command = self._publication(run, correlation, chance.randbytes(10))
        published = False
        while not published:
            answer = await self._ask(self._home_of_event(correlation), command)
            published = answer.durable or answer.repeated

    def _publication(self, run: RunId, correlation: Correlation, unique: bytes) -> cmd.PublishEvent:
        event = event_id(slot_of_correlation(correlation), day_of(run), unique)
        return cmd.PublishEvent(
            event=event,
            tenant=self.tenant,
            correlation=correlation,
            content=self.catalogue.vault(self.tenant).seal(RunId(event), b'{"by": "event"}'),
            keep_ms=KEPT_MS,
            start_key=hashlib.sha256(event.encode()).digest(),
            fingerprint=b"e" * 32,
            key_kept_ms=KEPT_MS,
        )

    def _key_of(self, run: RunId, step: str) -> str:
        """One whose home is where the run is: owners do not speak with each other here."""
        number = 0
        while True:
            key = f"{run}/{step}/{number}"
            if self._home_of_event(correlation_of(self.tenant, BY_EVENT, key)) == self._home_of(
                run
            ):
                return key
            number += 1

    def _home_of(self, run: RunId) -> int:
        return partition_of(slot_of(run), self.partitions)

    def _home_of_event(self, correlation: Correlation) -> int:
        return partition_of(slot_of_correlation(correlation), self.partitions)

    async def _ask(self, partition: int, command: cmd.Command) -> Answer:
        """Waits for the answer, or for as long as a client does, and a little longer without."""
        answer = Answer()
        host = self._owner_host(partition)
        if host is not None and host.engine is not None:
            host.engine.loop.put(Input(partition, command, answer))
            await asyncio.wait({answer.done}, timeout=self.chance.randrange(50, 800) / 1_000)
        if not answer.durable and answer.rejection is None:
            await asyncio.sleep(self.chance.randrange(10, 300) / 1_000)
        return answer

    def _owner_host(self, partition: int) -> OwnerHost | None:
        owner = self.leases.owner_of(partition)
        return next((host for host in self.hosts if host.owner == owner), None)

    def _start_of(self, said: ClientSays) -> cmd.StartRun:
        flow = said.flow
        waiting = (*flow.waits_for(BY_EVENT), *flow.waits_for(BY_SIGNAL))
        keys = {name: self._key_of(said.run, name) for name in waiting}
        fields = json.dumps({"list": [1, 2, 3], "no": False, "keys": keys}).encode()
        plan = flow.plan
        return cmd.StartRun(
            run=said.run,
            tenant=self.tenant,
            flow=plan.flow,
            version=1,
            plan=plan.hash,
            input=self.catalogue.vault(self.tenant).seal(said.run, fields),
            trigger="manual",
            started_by="client",
            start_key=hashlib.sha256(said.run.encode()).digest(),
            fingerprint=b"f" * 32,
            key_kept_ms=KEPT_MS,
        )
