"""Clients: each starts one run, again and again until somebody says that it is durable."""

import asyncio
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from headrace_core.ids import RunId, TenantId, partition_of, slot_of
from headrace_core.run.status import CancelCause
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason, Rejection
from tests.simulation.world.flows import SimFlow
from tests.simulation.world.owners import OwnerHost
from tests.simulation.world.parts import LeaseTable, SimCatalogue
from tests.simulation.world.scenario import Start


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
        command = self._start_of(said)
        while not said.started:
            said.attempts += 1
            answer = await self._ask(said.run, command)
            repeated = answer.rejection is not None and answer.rejection.reason is Reason.REPEATED
            said.started = answer.durable or repeated
        if start.cancel_after_ms is None:
            return
        await asyncio.sleep(start.cancel_after_ms / 1_000)
        cancel = cmd.CancelRun(
            run=said.run, tenant=self.tenant, cause=CancelCause.REQUEST, requested_by="client"
        )
        said.asked_to_cancel = True
        while True:
            answer = await self._ask(said.run, cancel)
            if answer.durable or answer.rejection is not None:
                said.cancelled = answer.durable
                return

    async def _ask(self, run: RunId, command: cmd.Command) -> Answer:
        """Waits for the answer, or for as long as a client does, and a little longer without."""
        answer = Answer()
        partition = partition_of(slot_of(run), self.partitions)
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
        fields = json.dumps({"list": [1, 2, 3], "no": False}).encode()
        plan = said.flow.plan
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
            key_kept_ms=86_400_000,
        )
