"""Which partitions this process owns: leases say who should, claims in the log say who does."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from headrace_core.errors import Fenced, HeadraceError
from headrace_core.ids import RunId
from headrace_core.run.events import StepError
from headrace_core.run.state import RunState
from headrace_runtime.clock import Clock
from headrace_runtime.telemetry import Logger
from headrace_scheduler.app.appending import Loss, told_of
from headrace_scheduler.app.assigning import Assigning
from headrace_scheduler.app.delivery import Delivery
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.loop import Loop
from headrace_scheduler.app.newer_claims import NewerClaims
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.performing import Performing
from headrace_scheduler.app.ports import Catalogue, Leases
from headrace_scheduler.app.recovery import Recovery
from headrace_scheduler.app.snapshots import Snapshots
from headrace_scheduler.app.turns import Turns
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.effects import EnqueueStep
from headrace_scheduler.domain.fair_queue import Ready
from headrace_scheduler.domain.recovery import effects_of_partition, effects_of_run
from headrace_scheduler.domain.timers import Timers

TAKEOVER_RETRY_S = 0.2


class Announces(Protocol):
    """Executors hear of a new epoch before anything is dispatched under it."""

    def announce(self, partition: OwnedPartition) -> None: ...


class Ownership:
    def __init__(
        self,
        *,
        recovery: Recovery,
        newer_claims: NewerClaims,
        loop: Loop,
        turns: Turns,
        performing: Performing,
        delivery: Delivery,
        assigning: Assigning,
        snapshots: Snapshots,
        catalogue: Catalogue,
        timers: Timers,
        announces: Announces,
        clock: Clock,
        heartbeat_s: float,
        log: Logger,
    ) -> None:
        self._recovery = recovery
        self._newer_claims = newer_claims
        self._loop = loop
        self._turns = turns
        self._performing = performing
        self._delivery = delivery
        self._assigning = assigning
        self._snapshots = snapshots
        self._catalogue = catalogue
        self._timers = timers
        self._announces = announces
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._log = log
        self._held: frozenset[int] = frozenset()
        self._changed = asyncio.Event()
        self._refused: set[int] = set()
        self._told: dict[int, str] = {}
        self._refolding: set[asyncio.Task[None]] = set()
        self.on_owned: Callable[[OwnedPartition], None] = lambda partition: None
        loop.on_lost = self._lost
        loop.on_parked = self._parked
        loop.after_pass = lambda: snapshots.after_pass(tuple(loop.partitions.values()))

    async def run(self, leases: Leases) -> None:
        """Heartbeat of the leases; takes over what is held and not owned."""
        while True:
            taken: frozenset[int] = frozenset()
            try:
                self._held = frozenset(await leases.acquire())
                taken = leases.taken
            except (OSError, HeadraceError) as error:
                # Liveness only: while nobody else claims, this owner goes on by the log's word.
                self._log.warning("leases not renewed", cause=repr(error))
            for number in sorted(set(self._loop.partitions) - self._held):
                self._loop.give_up(Loss(number, "the lease is gone", claim_again=False))
            for number in sorted(taken.intersection(self._loop.partitions)):
                # While this process stood still another may have claimed it, and be gone again:
                # without an append nobody would notice.
                self._loop.give_up(Loss(number, "the lease was away"))
            await self._give_up_superseded()
            for number in sorted(self._held - set(self._loop.partitions) - self._refused):
                await self._take_over(number)
            self._changed.clear()
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def why_not_owned(self, partition: int) -> str:
        """What callers may know of why this process does not own what it should."""
        return self._told.get(partition, "")

    async def release(self, leases: Leases) -> None:
        """Orderly end: last checkpoints, then the leases, so that others take over at once."""
        owned = tuple(self._loop.partitions.values())
        await self._snapshots.save_all(owned)
        await leases.release([partition.number for partition in owned])

    async def _give_up_superseded(self) -> None:
        try:
            losses = await self._newer_claims.look(self._loop.partitions)
        except HeadraceError as error:
            self._log.warning("newer claims not looked for", cause=repr(error))
            return
        for loss in losses:
            self._loop.give_up(loss)

    async def _take_over(self, number: int) -> None:
        began_ms = self._clock.now_ms()
        try:
            owned = await self._recovery.take_over(number)
        except Fenced as fenced:
            self._log.warning("takeover fenced", partition=number, cause=str(fenced))
            return
        except HeadraceError as error:
            # A broken chain, an unknown event or another log: this partition stops, loudly.
            self._log.error(
                "partition stopped", partition=number, code=error.code, cause=str(error)
            )
            self._told[number] = told_of(error)
            if not error.retryable:
                self._refused.add(number)
            return
        self._told.pop(number, None)
        self._announces.announce(owned)
        self._loop.adopt(owned)
        self._derive(owned)
        self.on_owned(owned)
        self._log.info(
            "partition owned",
            partition=number,
            epoch=owned.epoch,
            runs=len(owned.runs),
            took_ms=self._clock.now_ms() - began_ms,
        )

    def _derive(self, owned: OwnedPartition) -> None:
        """What the last owner had in memory: timers, queues, half-done effects."""
        for run in owned.runs.awake():
            self._derive_run(owned, run)
            self._loop.put(Input(owned.number, cmd.ContinueRun(run=run.run_id)))
        now_ms = self._clock.now_ms()
        for run in owned.runs.asleep():
            self._derive_run(owned, run)
            # Nearly all of them sleep on: waking them would fill the memory for nothing.
            if not self._turns.is_settled(owned, run, now_ms):
                self._loop.put(Input(owned.number, cmd.ContinueRun(run=run.run_id)))
        for effect in effects_of_partition(owned.state):
            self._performing.perform_one(owned, effect, self._timers)
        self._delivery.arrived(owned, tuple(self._loop.partitions.values()))

    def _derive_run(self, owned: OwnedPartition, run: RunState) -> None:
        plan = self._catalogue.plan(run.tenant, run.plan)
        for effect in effects_of_run(run, plan):
            if isinstance(effect, EnqueueStep):
                ready = Ready(run.tenant, effect.run, effect.step, owned.number)
                self._assigning.enqueue(effect.lane, ready, effect.priority)
            else:
                self._performing.perform_one(owned, effect, self._timers)

    def _lost(self, loss: Loss) -> None:
        self._log.warning("partition given up", partition=loss.partition, reason=loss.reason)
        self._told[loss.partition] = loss.told
        self._delivery.forget(loss.partition)
        self._snapshots.forget(loss.partition)
        if not loss.claim_again:
            self._stop_if_held(loss.partition)
        self._changed.set()

    def _stop_if_held(self, partition: int) -> None:
        """Not a lost lease but a log that this version cannot read: claiming again is no help."""
        if partition in self._held:
            self._refused.add(partition)

    def _parked(self, owned: OwnedPartition, run: RunId, incident: StepError) -> None:
        task = asyncio.get_running_loop().create_task(self._refold(owned, run, incident))
        self._refolding.add(task)
        task.add_done_callback(self._refolding.discard)

    async def _refold(self, owned: OwnedPartition, run: RunId, incident: StepError) -> None:
        """The run's clean view comes from the log; then it parks, and its inputs follow."""
        while self._loop.partitions.get(owned.number) is owned:
            try:
                state = await self._recovery.refold(owned, run)
                break
            except (OSError, HeadraceError) as error:
                self._log.warning("run not refolded yet", run=run, cause=repr(error))
                await asyncio.sleep(TAKEOVER_RETRY_S)
        else:
            return
        deferred = owned.parking.pop(run, [])
        if state is not None:
            owned.runs.add(state)
            self._loop.put(Input(owned.number, cmd.ParkRun(run=run, incident=incident)))
        for incoming in deferred:
            self._loop.put(incoming)
