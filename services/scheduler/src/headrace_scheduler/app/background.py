"""Effects that wait for something: rows, blobs, sub-flow inputs. Each ends in an input.

A task per effect is affordable here: none of these belongs to the path of an ordinary step.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from headrace_core.errors import KeyErased, Unavailable
from headrace_core.ids import DAY_MS, RunId, TenantId, run_id, slot_for
from headrace_core.payload import BlobMissingHere
from headrace_core.run.state import RunView
from headrace_core.run.status import CancelCause
from headrace_runtime.clock import Clock
from headrace_runtime.telemetry import Logger
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Catalogue, EffectRows
from headrace_scheduler.app.preparing import child_input, schedule_input, sealed_firing
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide.schedule import firing_ms
from headrace_scheduler.domain.effects import (
    ArmSchedule,
    CancelOpenRun,
    CloseRow,
    FetchPayload,
    PrepareChild,
    ReleaseFiring,
)
from headrace_scheduler.domain.failure import sealed_error

RETRY_S = 0.25
SubmitInput = Callable[[Input], None]
Work = Callable[[], Coroutine[Any, Any, None]]


class Background:
    def __init__(
        self,
        catalogue: Catalogue,
        rows: EffectRows,
        clock: Clock,
        unique: Callable[[], bytes],
        log: Logger,
    ) -> None:
        self._catalogue = catalogue
        self._rows = rows
        self._clock = clock
        self._unique = unique
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self.submit: SubmitInput = lambda incoming: None
        self.owned: Callable[[int], OwnedPartition | None] = lambda partition: None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(
        self, partition: OwnedPartition, effect: CloseRow | PrepareChild | FetchPayload
    ) -> None:
        run = partition.runs.get(effect.run)
        if run is None:
            return
        if isinstance(effect, CloseRow):
            work = partial(self._close_row, partition.number, run, effect)
        elif isinstance(effect, PrepareChild):
            work = partial(self._prepare_child, partition.number, run, effect)
        else:
            work = partial(self._fetch, partition.number, run.tenant, effect)
        self._spawn(work, partition.number, run)

    def fetch_for(self, incoming: Input, tenant: TenantId, missing: BlobMissingHere) -> None:
        """Bring the payload to hand, then ask the same question again."""
        self._spawn(partial(self._fetch_for, incoming, tenant, missing))

    def prepare_firing(self, partition: int, timer: ArmSchedule) -> None:
        self._spawn(partial(self._fire, partition, timer.schedule, timer.due_ms, queued=False))

    def release_firing(self, partition: int, firing: ReleaseFiring) -> None:
        self._spawn(partial(self._fire, partition, firing.schedule, firing.due_ms, queued=True))

    def cancel_open(self, partition: OwnedPartition, effect: CancelOpenRun) -> None:
        run = partition.runs.get(effect.run)
        if run is not None:
            cancel = cmd.CancelRun(
                run=effect.run,
                tenant=run.tenant,
                cause=CancelCause.REQUEST,
                requested_by=effect.requested_by,
            )
            self.submit(Input(partition.number, cancel))

    def run_for(self, work: Work, partition: int, run: RunView) -> None:
        """Again while what it needs is away; a bug of it parks the run."""
        self._spawn(work, partition, run)

    async def _close_row(self, partition: int, run: RunView, effect: CloseRow) -> None:
        verdict, output = await self._rows.close(
            run.tenant, run.run_id, effect.step, effect.fallback, effect.attempt
        )
        close = cmd.CloseByRow(
            run=run.run_id,
            step=effect.step,
            attempt=effect.attempt,
            verdict=verdict,
            output=output,
            cause=effect.cause,
        )
        self.submit(Input(partition, close))

    def continue_run(self, partition: int, run: RunId) -> None:
        self.submit(Input(partition, cmd.ContinueRun(run=run)))

    async def _fetch(self, partition: int, tenant: TenantId, effect: FetchPayload) -> None:
        # What is erased is at hand as such: the decision meets it and says so.
        with suppress(KeyErased):
            await self._catalogue.fetch(tenant, effect.owner, effect.stored)
        self.submit(Input(partition, cmd.ContinueRun(run=effect.run)))

    async def _fetch_for(self, incoming: Input, tenant: TenantId, missing: BlobMissingHere) -> None:
        with suppress(KeyErased):
            await self._catalogue.fetch(tenant, missing.run, missing.stored)
        self.submit(incoming)

    async def _prepare_child(self, partition: int, run: RunView, effect: PrepareChild) -> None:
        self.submit(Input(partition, await child_input(self._catalogue, run, effect)))

    async def _fire(self, partition: int, name: str, due_ms: int, *, queued: bool) -> None:
        owned = self.owned(partition)
        schedule = owned.state.schedules.get(name) if owned is not None else None
        if schedule is None:
            return
        await self._catalogue.load(schedule.tenant, schedule.plan)
        now_ms = self._clock.now_ms()
        time_ms = due_ms if queued else firing_ms(schedule, due_ms, now_ms)
        slot = slot_for(schedule.tenant, schedule.flow, schedule.trigger)
        run = run_id(slot, now_ms // DAY_MS, self._unique())
        plan = self._catalogue.plan(schedule.tenant, schedule.plan)
        fields, fault = schedule_input(plan, schedule.trigger, time_ms)
        sealed, fault = await sealed_firing(
            self._catalogue, schedule.tenant, plan, run, fields, fault
        )
        await self._catalogue.store_blobs()
        fire = cmd.FireSchedule(
            schedule=name,
            due_ms=due_ms,
            firing_ms=time_ms,
            run=run,
            input=sealed,
            fault=fault,
            queued=queued,
        )
        self.submit(Input(partition, fire))

    def _spawn(self, work: Work, partition: int = 0, run: RunView | None = None) -> None:
        task = asyncio.get_running_loop().create_task(self._guard(work, partition, run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Work, partition: int, run: RunView | None) -> None:
        """Again while what it needs is away; a bug parks its run and stops nobody else."""
        while True:
            try:
                await work()
                return
            except (OSError, Unavailable) as error:
                self._log.warning("background effect waits", cause=repr(error))
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # noqa: BLE001 - a bug in one run must not stop the others
                self._log.error("background effect failed", error=error)
                if run is not None:
                    self._park(partition, run, error)
                return

    def _park(self, partition: int, run: RunView, error: Exception) -> None:
        vault = self._catalogue.vault(run.tenant)
        incident = sealed_error(vault, run.run_id, "engine.fault", repr(error))
        self.submit(Input(partition, cmd.ParkRun(run=run.run_id, incident=incident)))
