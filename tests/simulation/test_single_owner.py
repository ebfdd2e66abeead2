"""What the loop does beyond the ordinary: faults in one run, unknown events, schedules."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from headrace_contracts.codec import encode_body, encode_record
from headrace_core.errors import Unavailable
from headrace_core.ids import RunId, TenantId, partition_of, slot_for, slot_of
from headrace_core.log.record import Envelope
from headrace_core.partition.events import PartitionClaimed, ScheduleFired
from headrace_core.run.events import RunEvent, RunParked, RunStarted, RunSucceeded
from headrace_core.run.status import CancelCause, StepStatus
from headrace_core.workflow.plan import Fallback, Plan, StepKind, Trigger, TriggerKind, Wait
from headrace_executor.domain.effect_flow import Word
from headrace_runtime.eventlog.port import Appended, Batch
from headrace_scheduler.app.appending import Loss
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason
from headrace_worker.messages import Received, Task
from tests.simulation.world.links import Link
from tests.simulation.world.parts import LEASE_S
from tests.simulation.world.small_world import LOG_ID, PARTITIONS, TENANT, SmallWorld
from tests.simulation.world.virtual_loop import run_virtually
from tests.support.run_harness import plan_of, step, template

CLAIM_BODY = encode_body([], [PartitionClaimed(owner="test", nonce=b"n" * 16)])
# A group without steps: no published plan has one, here it is a bug to survive.
BUG = step("bug", ["a"], kind=StepKind.GROUP)


def named(plan: Plan, name: str, number: int) -> Plan:
    return replace(plan, flow=name, hash=type(plan.hash)(f"{number:064x}"))


GOOD = named(plan_of(step("a"), step("b", ["a"])), "good", 1)
BAD_LATER = named(plan_of(step("a"), BUG), "bad-later", 2)
BAD_AT_ONCE = named(plan_of(step("bug", kind=StepKind.GROUP)), "bad-at-once", 3)


def test_a_bug_in_one_run_parks_it_from_a_clean_view_and_the_others_go_on() -> None:
    async def scenario() -> None:
        world = SmallWorld(GOOD, BAD_LATER)
        await world.start()
        bad = await world.begin("bad-later")
        good = [await world.begin("good") for _ in range(4)]
        await world.until(lambda: "run parked" in world.said())
        for run in good:
            events = await _ended(world, run)
            assert isinstance(events[-1], RunSucceeded)
        await world.until(lambda: world.step_state(bad, "a") is not None)
        events = await world.events_of(bad)
        while not isinstance(events[-1], RunParked):
            await world.until(lambda: True)
            await _a_moment()
            events = await world.events_of(bad)
        kinds = [type(event).__name__ for event in events]
        assert kinds == ["RunStarted", "StepReady", "StepAssigned", "RunParked"]
        assert world.step_state(bad, "a").status is StepStatus.RUNNING
        await world.stop()

    run_virtually(scenario())


def test_a_start_whose_first_step_is_a_bug_stands_and_is_parked() -> None:
    async def scenario() -> None:
        world = SmallWorld(GOOD, BAD_AT_ONCE)
        await world.start()
        bad = await world.begin("bad-at-once")
        kinds = [type(event).__name__ for event in await world.events_of(bad)]
        assert kinds == ["RunStarted", "RunParked"]
        await world.stop()

    run_virtually(scenario())


def test_a_parked_run_ends_by_a_cancel() -> None:
    async def scenario() -> None:
        world = SmallWorld(BAD_AT_ONCE)
        await world.start()
        bad = await world.begin("bad-at-once")
        command = cmd.CancelRun(
            run=bad, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="ann"
        )
        asked = await world.ask(_partition(bad), command)
        assert asked.offset is not None
        assert await world.ended(bad)
        await world.stop()

    run_virtually(scenario())


def test_another_tenant_finds_no_run_to_cancel() -> None:
    async def scenario() -> None:
        pause = named(plan_of(step("w", kind=StepKind.WAIT, wait=Wait(for_ms=60_000))), "w", 4)
        world = SmallWorld(pause)
        await world.start()
        run = await world.begin("w")
        command = cmd.CancelRun(
            run=run, tenant=TenantId("other"), cause=CancelCause.REQUEST, requested_by="eve"
        )
        asked = await world.ask(_partition(run), command)
        assert asked.rejection is not None
        assert asked.rejection.reason is Reason.NOT_FOUND
        await world.stop()

    run_virtually(scenario())


def test_an_unknown_event_stops_its_partition_with_its_code_and_the_others_go_on() -> None:
    async def scenario() -> None:
        world = SmallWorld(GOOD)
        await world.start()
        await world.stop()
        await _append_unknown(world, 0)
        assert world.host is not None
        world.host.start()
        await world.until(lambda: "HR-3006" in world.said())
        await world.until(lambda: 1 in world.owned())
        await _a_moment(5.0)
        assert tuple(world.owned()) == (1,)
        await world.stop()

    run_virtually(scenario())


def test_a_schedule_fires_at_its_times_and_goes_on_after_a_takeover() -> None:
    async def scenario() -> None:
        every = Trigger(TriggerKind.SCHEDULE, every_ms=5_000)
        flow = named(plan_of(step("a"), triggers={"tick": every}), "ticking", 5)
        world = SmallWorld(flow)
        await world.start()
        command = cmd.SetSchedule(
            schedule="acme/ticking/tick",
            tenant=TENANT,
            flow="ticking",
            version=1,
            plan=flow.hash,
            trigger="tick",
            every_ms=5_000,
        )
        asked = await world.ask(_schedule_partition(), command)
        assert asked.offset is not None
        await _a_moment(11.0)
        first = await _firings(world)
        assert len(first) == 2
        assert first[1].due_ms - first[0].due_ms == 5_000
        await world.stop()
        assert world.host is not None
        world.host.start()
        await _a_moment(9.0)
        again = await _firings(world)
        assert len(again) >= 3, "the new owner found the schedule in the log"
        started = [
            event
            for firing in again
            for event in await world.events_of(firing.run)
            if isinstance(event, RunStarted)
        ]
        assert [event.scheduled_at_ms for event in started] == [one.due_ms for one in again]
        await world.stop()

    run_virtually(scenario())


def test_a_run_longer_than_a_snapshot_interval_is_recovered_from_its_row() -> None:
    async def scenario() -> None:
        pause = step("w", kind=StepKind.WAIT, wait=Wait(for_ms=4_000))
        flow = named(plan_of(step("a"), step("w2", ["a"]), pause), "long", 6)
        world = SmallWorld(flow, GOOD)
        await world.start()
        run = await world.begin("long")
        for _ in range(6):
            await world.begin("good")
            await _a_moment(0.3)
        snapshot = await world.snapshots.load(_partition(run))
        assert snapshot is not None and run in [row.run for row in snapshot.runs]
        await world.stop()
        assert world.host is not None
        world.host.start()
        assert isinstance((await _ended(world, run))[-1], RunSucceeded)
        await world.stop()

    run_virtually(scenario())


def test_a_fallback_that_needs_a_large_value_waits_for_it_and_parks_nothing() -> None:
    async def scenario() -> None:
        value = template({"size": "${{ size(inputs.text) }}"})
        entries = (Fallback(output=value),)
        flow = named(plan_of(step("a", fallback=entries)), "large", 7)
        world = SmallWorld(flow)
        world.answer = Word.PERMANENT
        await world.start()
        run = await world.begin("large", {"text": "x" * 70_000})
        events = await _ended(world, run)
        assert isinstance(events[-1], RunSucceeded)
        assert "run parked" not in world.said()
        await world.stop()

    run_virtually(scenario())


def test_what_is_being_assigned_is_not_lost_by_a_report_that_arrives_before_it_is_sent() -> None:
    async def scenario() -> None:
        world = SmallWorld(GOOD)
        await world.start()
        append = world.log.append

        async def append_amid_a_report(batches: Sequence[Batch]) -> Sequence[Appended]:
            assert world.host is not None and world.host.engine is not None
            for link in world.executor.links:
                assert link.session is not None
                for number, owned in world.host.engine.loop.partitions.items():
                    world.host.engine.dispatch.report(link.session, number, owned.epoch, [])
            return await append(batches)

        world.log.append = append_amid_a_report
        run = await world.begin("good")
        kinds = [type(event).__name__ for event in await _ended(world, run)]
        assert "StepRetryScheduled" not in kinds and kinds[-1] == "RunSucceeded"
        await world.stop()

    run_virtually(scenario())


def test_an_attempt_refused_while_nobody_owns_its_partition_is_given_out_again() -> None:
    """The refusal itself finds nobody; what the executor then reports has to do."""

    async def scenario() -> None:
        world = SmallWorld(GOOD)
        await world.start()
        assert world.host is not None and world.host.engine is not None
        engine = world.host.engine
        receive = world.executor.receive
        lost: list[Task] = []

        def lose_first_task(link: Link, message: Received) -> None:
            if message.tasks and not lost:
                lost.extend(message.tasks)
                message.tasks = []
            receive(link, message)

        for link in world.executor.links:
            link.to_executor = lose_first_task
        run = await world.begin("good")
        await world.until(lambda: lost)
        number = _partition(run)
        engine.loop.give_up(Loss(number, "a test"))
        (session,) = (link.session for link in world.executor.links)
        assert session is not None
        attempt = lost[0].attempt
        engine.dispatch.refused(session, number, attempt.run, attempt.step, attempt.number)
        kinds = [type(event).__name__ for event in await _ended(world, run)]
        assert "StepRetryScheduled" in kinds and kinds[-1] == "RunSucceeded"
        await world.stop()

    run_virtually(scenario())


def test_no_room_is_left_of_an_executor_that_went_amid_an_append_that_was_lost() -> None:
    """It would be given steps that nobody ever misses, since nobody is there to go."""

    async def scenario() -> None:
        world = SmallWorld(GOOD)
        await world.start()
        append = world.log.append

        async def lose_it_with_the_executor(batches: Sequence[Batch]) -> Sequence[Appended]:
            for link in world.executor.links:
                link.close()
            world.log.append = append
            raise Unavailable("a test")

        world.log.append = lose_it_with_the_executor
        assert world.host is not None and world.host.engine is not None
        room = world.host.engine.assigning.credits
        run = world.chosen_run()
        asked = await world.ask(_partition(run), world.start_of(run, "good"))
        assert asked.lost and not room.available("shared")
        await world.stop()

    run_virtually(scenario())


async def _ended(world: SmallWorld, run: RunId) -> list[RunEvent]:
    for _ in range(2_000):
        if await world.ended(run):
            return await world.events_of(run)
        await _a_moment()
    raise AssertionError(f"{run} never ended: {await world.events_of(run)}")


async def _a_moment(seconds: float = 0.01) -> None:
    """Of virtual time."""
    await asyncio.sleep(seconds)


async def _firings(world: SmallWorld) -> list[ScheduleFired]:
    events = await world.partition_events(_schedule_partition())
    return [event for event in events if isinstance(event, ScheduleFired)]


def _partition(run: RunId) -> int:
    return partition_of(slot_of(run), PARTITIONS)


def _schedule_partition() -> int:
    return partition_of(slot_for("acme", "ticking", "tick"), PARTITIONS)


def test_an_owner_that_stood_still_claims_again_though_its_lease_is_free_once_more() -> None:
    """Another had claimed the partition meanwhile and is gone: nothing in the log says so to an
    owner that has nothing to append."""

    async def scenario() -> None:
        world = SmallWorld(GOOD)
        await world.start()
        assert world.host is not None and world.host.engine is not None
        partitions = world.host.engine.loop.partitions
        world.host.freeze()
        await _a_moment(2 * LEASE_S)
        claim = encode_record(_envelope(0, claim=True, epoch=0), CLAIM_BODY)
        theirs = await world.log.claim(0, claim)
        assert partitions[0].epoch < theirs
        world.host.thaw()
        await world.until(lambda: 0 in partitions and partitions[0].epoch > theirs)
        await world.stop()

    run_virtually(scenario())


def test_an_owner_with_nothing_to_append_notices_that_another_has_claimed_without_a_lease() -> None:
    """A process that stood still in mid-takeover claims late, and gives up again: executors keep
    their results for its epoch, which is the newest, so the rightful owner waits for ever."""

    async def scenario() -> None:
        world = SmallWorld(GOOD)
        await world.start()
        assert world.host is not None and world.host.engine is not None
        partitions = world.host.engine.loop.partitions
        epochs = {number: owned.epoch for number, owned in partitions.items()}
        claim = encode_record(_envelope(0, claim=True, epoch=0), CLAIM_BODY)
        theirs = await world.log.claim(0, claim)
        await world.until(lambda: 0 in partitions and partitions[0].epoch > theirs)
        assert partitions[1].epoch == epochs[1]
        assert "another owner has claimed the partition" in world.said()
        await world.stop()

    run_virtually(scenario())


async def _append_unknown(world: SmallWorld, partition: int) -> None:
    """A record with an event kind of the future, under a claim of its own."""
    claim = _envelope(partition, claim=True, epoch=0)
    epoch = await world.log.claim(partition, encode_record(claim, CLAIM_BODY))
    unknown = b"\x0a\x03\xfa\x3e\x00"
    record = encode_record(_envelope(partition, claim=False, epoch=epoch), unknown)
    await world.log.append([Batch(partition, epoch, epoch + 1, [record])])


def _envelope(partition: int, *, claim: bool, epoch: int) -> Envelope:
    return Envelope(
        log_id=LOG_ID,
        partition=partition,
        epoch=epoch,
        seq=0,
        time_ms=0,
        tenant=TENANT,
        run=None,
        sequence=0,
        chain=b"",
        claim=claim,
    )
