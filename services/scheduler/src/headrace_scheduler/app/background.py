"""Effects that wait for something: rows, blobs, sub-flow inputs, messages. Each ends in an input.

A task per effect is affordable here: none of these belongs to the path of an ordinary step.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from headrace_core.errors import HeadraceError, KeyErased, PayloadError, Unavailable
from headrace_core.ids import DAY_MS, RunId, TenantId, run_id, slot_for
from headrace_core.partition.events import (
    ChildEnded,
    ChildStart,
    EventDelivery,
    EventStart,
    Message,
)
from headrace_core.payload import NOTHING, BlobMissingHere
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
from headrace_scheduler.domain.decision import Reason, Rejection
from headrace_scheduler.domain.effects import (
    ArmSchedule,
    CancelOpenRun,
    CloseRow,
    DeliverMessages,
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
        self._delivering: dict[tuple[int, int], int] = {}
        self._sending_again: set[tuple[int, int]] = set()
        self.submit: SubmitInput = lambda incoming: None
        self.owned: Callable[[int], OwnedPartition | None] = lambda partition: None
        self.count_partitions: int = 1

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(
        self,
        partition: OwnedPartition,
        effect: CloseRow | PrepareChild | FetchPayload | DeliverMessages,
    ) -> None:
        if isinstance(effect, DeliverMessages):
            self.deliver(partition, effect.target)
            return
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

    def forget(self, partition: int) -> None:
        """The partition was given up: what was on its way to or from it is sent again later."""
        for pair in [pair for pair in self._delivering if partition in pair]:
            del self._delivering[pair]

    def deliver(self, source: OwnedPartition, target: int) -> None:
        """Send what is not yet on its way, in order. It is sent again whenever either side was
        recovered, until the receiver's durable watermark is recorded here."""
        outbox = source.state.outboxes.get(target)
        if outbox is None or self.owned(target) is None:
            return
        begun = max(self._delivering.get((source.number, target), 0), outbox.acknowledged)
        pending = [
            (number, outbox.messages[number]) for number in range(begun + 1, outbox.sent + 1)
        ]
        if pending:
            self._delivering[source.number, target] = outbox.sent
            self._spawn(partial(self._send_or_again, source.number, target, pending))

    def send_again(self, source: int, target: int) -> None:
        """Everything that is not acknowledged yet, in a moment."""
        if (source, target) not in self._sending_again:
            self._sending_again.add((source, target))
            self._spawn(partial(self._send_again, source, target))

    async def _send_again(self, source: int, target: int) -> None:
        await asyncio.sleep(RETRY_S)
        self._sending_again.discard((source, target))
        self._delivering.pop((source, target), None)
        owned = self.owned(source)
        if owned is not None:
            self.deliver(owned, target)

    def deliver_all_to(self, target: int, sources: "list[OwnedPartition]") -> None:
        for source in sources:
            self.deliver(source, target)

    async def _send_or_again(
        self, source: int, target: int, pending: "list[tuple[int, Message]]"
    ) -> None:
        """What goes wrong for good, such as a plan of a newer release, may go well later; until
        then what is numbered above it waits, since the receiver takes messages in order."""
        try:
            await self._send(source, target, pending)
        except HeadraceError as error:
            if isinstance(error, Unavailable):
                raise
            self._log.error("message not delivered", source=source, target=target, error=error)
            self.send_again(source, target)

    async def _send(self, source: int, target: int, pending: "list[tuple[int, Message]]") -> None:
        for number, message in pending:
            if isinstance(message, ChildStart | EventStart):
                await self._catalogue.load(message.tenant, message.plan)
            # Without its content the run's decision fails, which parks that run alone.
            with suppress(PayloadError):
                await self._bring(message)
            take = cmd.TakeMessage(source=source, number=number, message=message)
            answer = _Delivered(self, source, target, number)
            self.submit(Input(target, take, answer))

    async def _bring(self, message: Message) -> None:
        """Its payloads to hand."""
        if isinstance(message, EventDelivery):
            await self._catalogue.fetch(message.tenant, RunId(message.event), message.content)
        elif isinstance(message, ChildEnded):
            for stored in (message.output, message.error.message if message.error else NOTHING):
                if stored:
                    await self._catalogue.fetch(message.tenant, message.child, stored)

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


class _Delivered:
    """The receiver's answer to one message: durable, so the sender may forget it."""

    __slots__ = ("_background", "_number", "_source", "_target")

    def __init__(self, background: Background, source: int, target: int, number: int) -> None:
        self._background = background
        self._source, self._target, self._number = source, target, number

    def accepted(self, partition: int, offset: int) -> None:
        acknowledge = cmd.RecordAcknowledgement(target=self._target, number=self._number)
        self._background.submit(Input(self._source, acknowledge))

    def rejected(self, rejection: Rejection, partition: int, epoch: int) -> None:
        if rejection.reason is Reason.REPEATED:
            self.accepted(partition, 0)
        elif rejection.reason is Reason.OUT_OF_ORDER:
            # One before it was put off, to fetch what it needs: this one comes again after it.
            self._background.send_again(self._source, self._target)

    def unavailable(self, partition: int) -> None:
        self._background.forget(partition)
