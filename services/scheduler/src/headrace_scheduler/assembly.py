"""The engine's objects, built by hand from its ports: the same graph in a service process, in
tests and in the simulator."""

from collections.abc import Callable
from dataclasses import dataclass

from headrace_core.log.filter import LogFilter
from headrace_runtime.clock import Clock
from headrace_runtime.eventlog.port import EventLog, LogDescription
from headrace_runtime.telemetry import Logger
from headrace_scheduler.app.appending import Appending
from headrace_scheduler.app.assigning import Assigning
from headrace_scheduler.app.background import Background
from headrace_scheduler.app.delivery import Delivery
from headrace_scheduler.app.dispatch import Dispatch
from headrace_scheduler.app.inbox import Inbox
from headrace_scheduler.app.loop import Loop
from headrace_scheduler.app.newer_claims import NewerClaims
from headrace_scheduler.app.ownership import Ownership
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.performing import Performing
from headrace_scheduler.app.ports import Catalogue, EffectRows, SnapshotStore
from headrace_scheduler.app.pulses import Pulses
from headrace_scheduler.app.recovery import Recovery
from headrace_scheduler.app.snapshots import Snapshots
from headrace_scheduler.app.turns import Turns
from headrace_scheduler.app.worker_tasks import WorkerTasks
from headrace_scheduler.domain.fair_queue import FairQueue
from headrace_scheduler.domain.timers import Timers

HEARTBEAT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePorts:
    """`tokens` and `unique` are the engine's only chance: numbers that prove an assignment, and
    10 bytes per run that a schedule starts."""

    log: EventLog
    description: LogDescription
    catalogue: Catalogue
    snapshots: SnapshotStore
    rows: EffectRows
    clock: Clock
    tokens: Callable[[], int]
    unique: Callable[[], bytes]
    nonce: Callable[[], bytes]
    logger: Logger
    owner: str
    snapshot_interval_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """What the parts are made of that hold a safety rule each. No setting leads here: a simulator
    puts a part without its rule in the place of one of them, to prove that it would notice."""

    log_filter: Callable[[bytes], LogFilter] = LogFilter
    turns: type[Turns] = Turns
    appending: type[Appending] = Appending
    loop: type[Loop] = Loop
    queue: type[FairQueue] = FairQueue


WHOLE = EngineParts()


@dataclass(frozen=True, slots=True)
class Engine:
    loop: Loop
    ownership: Ownership
    dispatch: Dispatch
    worker_tasks: WorkerTasks
    background: Background
    delivery: Delivery
    assigning: Assigning
    pulses: Pulses

    async def close(self) -> None:
        """What is under way outside of the loop ends where it is."""
        await self.background.close()
        await self.delivery.close()


def assemble(ports: EnginePorts, parts: EngineParts = WHOLE) -> Engine:
    log, clock, logger = ports.log, ports.clock, ports.logger
    timers = Timers()
    assigning = Assigning(ports.tokens, parts.queue)
    background = Background(ports.catalogue, ports.rows, clock, ports.unique, logger)
    inbox = Inbox()
    owned: dict[int, OwnedPartition] = {}
    delivery = Delivery(ports.catalogue, owned.get, inbox.put, logger)
    turns = parts.turns(ports.catalogue, ports.description.partitions)
    worker_tasks = WorkerTasks(ports.catalogue, owned, background, inbox.put, logger)
    dispatch = Dispatch(assigning, owned, inbox.put, inbox.wake, logger, worker_tasks)
    pulses = Pulses(ports.catalogue, clock)
    performing = Performing(dispatch, background, delivery, assigning, pulses, logger)
    appending = parts.appending(log, ports.catalogue)
    loop = parts.loop(inbox, owned, turns, assigning, appending, performing, timers, clock)
    background.submit = inbox.put
    background.owned = owned.get
    recovery = Recovery(
        log,
        ports.description.log_id,
        ports.snapshots,
        ports.catalogue,
        clock,
        ports.nonce,
        ports.owner,
        parts.log_filter,
    )
    snapshots = Snapshots(ports.snapshots, clock, ports.snapshot_interval_ms, logger)
    ownership = Ownership(
        recovery=recovery,
        newer_claims=NewerClaims(log),
        loop=loop,
        turns=turns,
        performing=performing,
        delivery=delivery,
        assigning=assigning,
        snapshots=snapshots,
        catalogue=ports.catalogue,
        timers=timers,
        announces=dispatch,
        clock=clock,
        heartbeat_s=HEARTBEAT_S,
        log=logger,
    )
    return Engine(loop, ownership, dispatch, worker_tasks, background, delivery, assigning, pulses)
