"""Schedules through the whole loop in virtual time: cron, overlap, catch-up, takeovers."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from headrace_core.ids import partition_of, slot_for
from headrace_core.partition.events import (
    PartitionEvent,
    ScheduleFired,
    ScheduleHeld,
    ScheduleReleased,
    ScheduleRunEnded,
    ScheduleSet,
)
from headrace_core.run.events import RunCancelled, RunStarted, RunSucceeded
from headrace_core.workflow.plan import (
    Catchup,
    Overlap,
    Plan,
    StepKind,
    Trigger,
    TriggerKind,
    Wait,
)
from headrace_scheduler.domain import commands as cmd
from tests.simulation.world.small_world import PARTITIONS, TENANT, SmallWorld
from tests.simulation.world.virtual_loop import run_virtually
from tests.support.run_harness import plan_of, step

NAME = "acme/flow/tick"
HOME = partition_of(slot_for("acme", "flow", "tick"), PARTITIONS)
MINUTE_MS = 60_000
Kind = TypeVar("Kind", bound=PartitionEvent)


def flow(lasting_ms: int) -> Plan:
    """Its runs are open for this long."""
    trigger = Trigger(TriggerKind.SCHEDULE, every_ms=MINUTE_MS)
    wait = step("nap", kind=StepKind.WAIT, wait=Wait(for_ms=lasting_ms))
    return replace(plan_of(wait, triggers={"tick": trigger}), flow="flow")


def scheduled(
    lasting_ms: int, scenario: Callable[[SmallWorld], Awaitable[None]], **rhythm: Any
) -> None:
    async def whole() -> None:
        plan = flow(lasting_ms)
        world = SmallWorld(plan)
        await world.start()
        await set_schedule(world, plan, **rhythm)
        await scenario(world)
        await world.stop()

    run_virtually(whole())


async def set_schedule(world: SmallWorld, plan: Plan, **rhythm: Any) -> None:
    fields: dict[str, Any] = {"every_ms": MINUTE_MS} | rhythm
    command = cmd.SetSchedule(
        schedule=NAME,
        tenant=TENANT,
        flow="flow",
        version=1,
        plan=plan.hash,
        trigger="tick",
        **fields,
    )
    asked = await world.ask(HOME, command)
    assert asked.offset is not None


async def minutes(count: float) -> None:
    """Of virtual time."""
    await asyncio.sleep(60 * count)


async def found(world: SmallWorld, kind: type[Kind]) -> Sequence[Kind]:
    events = await world.partition_events(HOME)
    return [event for event in events if isinstance(event, kind)]


async def first_due_ms(world: SmallWorld) -> int:
    return (await found(world, ScheduleSet))[0].next_due_ms


async def ends(world: SmallWorld) -> Counter[str]:
    """How the runs of all firings stand."""
    begun = [*await found(world, ScheduleFired), *await found(world, ScheduleReleased)]
    kinds = [type((await world.events_of(one.run))[-1]) for one in begun]
    return Counter(kind.__name__ for kind in kinds)


async def down_for(world: SmallWorld, count: float) -> None:
    await world.stop()
    await minutes(count)
    assert world.host is not None
    world.host.start()
    await world.until(lambda: len(world.owned()) == PARTITIONS)


def test_a_cron_schedule_fires_at_its_times_in_its_time_zone() -> None:
    async def scenario(world: SmallWorld) -> None:
        await minutes(61)
        fired = await found(world, ScheduleFired)
        # Kathmandu is 5:45 ahead: its half hours are quarters of UTC.
        assert [one.due_ms // MINUTE_MS % 60 for one in fired] in ([15, 45], [45, 15])
        started = (await world.events_of(fired[0].run))[0]
        assert isinstance(started, RunStarted)
        assert started.scheduled_at_ms == fired[0].due_ms

    rhythm = {"every_ms": 0, "cron": "0,30 0-23 * * *", "timezone": "Asia/Kathmandu"}
    scheduled(1_000, scenario, **rhythm)


def test_firings_overlap_where_nothing_is_said() -> None:
    async def scenario(world: SmallWorld) -> None:
        await minutes(3.5)
        assert len(await found(world, ScheduleFired)) == 3
        assert not await found(world, ScheduleHeld) and not await found(world, ScheduleRunEnded)

    scheduled(10 * MINUTE_MS, scenario, overlap=Overlap.ALLOW)


def test_skip_drops_the_firings_that_find_a_run_open() -> None:
    async def scenario(world: SmallWorld) -> None:
        await minutes(6.9)
        first = await first_due_ms(world)
        assert [one.due_ms for one in await found(world, ScheduleFired)] == [
            first,
            first + 3 * MINUTE_MS,
        ]
        assert {one.queued for one in await found(world, ScheduleHeld)} == {False}
        assert (await ends(world))[RunSucceeded.__name__] == 2

    scheduled(5 * MINUTE_MS // 2, scenario, overlap=Overlap.SKIP)


@pytest.mark.parametrize("takeover", [False, True])
def test_queue_starts_each_firing_when_the_run_before_it_has_ended(takeover: bool) -> None:
    async def scenario(world: SmallWorld) -> None:
        await minutes(2.3)
        if takeover:
            await down_for(world, 0.1)
        await minutes(4.5)
        first = await first_due_ms(world)
        released = await found(world, ScheduleReleased)
        assert [one.due_ms for one in released] == [
            first + MINUTE_MS,
            first + 2 * MINUTE_MS,
            first + 3 * MINUTE_MS,
        ]
        begun = [(await world.events_of(one.run))[0] for one in released]
        assert [one.scheduled_at_ms for one in begun if isinstance(one, RunStarted)] == [
            one.due_ms for one in released
        ]
        assert len(await found(world, ScheduleFired)) == 1
        assert len(await found(world, ScheduleRunEnded)) == 3

    scheduled(3 * MINUTE_MS // 2, scenario, overlap=Overlap.QUEUE)


def test_cancel_running_lets_the_newest_firing_take_the_place() -> None:
    async def scenario(world: SmallWorld) -> None:
        await minutes(4.5)
        assert await ends(world) == {RunCancelled.__name__: 3, "RunWaiting": 1}

    scheduled(10 * MINUTE_MS, scenario, overlap=Overlap.CANCEL_RUNNING)


@pytest.mark.parametrize(
    ("catchup", "made_up"), [(Catchup.NONE, []), (Catchup.LAST, [4]), (Catchup.ALL, [0, 2, 4])]
)
def test_after_an_outage_the_missed_firings_go_by_catchup(
    catchup: Catchup, made_up: Sequence[int]
) -> None:
    """Every two minutes, down for five and a half: three are missed, the last by 90 s."""

    async def scenario(world: SmallWorld) -> None:
        first = await first_due_ms(world)
        await minutes(0.5)
        await down_for(world, 7)
        await minutes(0.4)
        fired = await found(world, ScheduleFired)
        assert [(one.due_ms - first) // MINUTE_MS for one in fired] == list(made_up)
        await minutes(2)
        assert len(await found(world, ScheduleFired)) == len(made_up) + 1

    scheduled(1_000, scenario, every_ms=2 * MINUTE_MS, catchup=catchup)


def test_a_removed_schedule_forgets_its_open_runs_and_what_was_queued() -> None:
    async def scenario(world: SmallWorld) -> None:
        await minutes(2.5)
        await set_schedule(world, flow(1), every_ms=0)
        await minutes(5)
        assert not await found(world, ScheduleReleased)
        assert (await ends(world)) == {RunSucceeded.__name__: 1}

    scheduled(3 * MINUTE_MS, scenario, overlap=Overlap.QUEUE)


def test_a_schedule_that_may_overlap_now_starts_all_that_was_queued() -> None:
    async def scenario(world: SmallWorld) -> None:
        await minutes(3.5)
        await set_schedule(world, flow(1), overlap=Overlap.ALLOW)
        await minutes(0.2)
        assert len(await found(world, ScheduleReleased)) == 2

    scheduled(10 * MINUTE_MS, scenario, overlap=Overlap.QUEUE)
