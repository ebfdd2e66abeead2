"""The gateway's way to schedulers: over real streams to peers that answer by a script."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace_api_gateway.adapters.scheduler import Schedulers
from headrace_api_gateway.app.ports import MaybeDone, Schedule, Start
from headrace_core.errors import InvalidState, KeyReused, NotFound, TooLarge, Unavailable
from headrace_core.ids import PlanHash, RunId, TenantId, run_id, slot_for
from headrace_core.payload import Stored
from headrace_core.workflow.plan import Catchup, Overlap, Trigger, TriggerKind
from headrace_runtime.address import Address
from headrace_runtime.telemetry import Logger
from tests.integration.api_gateway.peers import (
    OwnerTable,
    ScriptedScheduler,
    accepted,
    already,
    not_owner,
    rejected,
)

TENANT = TenantId("acme")
NOBODY = Address("127.0.0.1", 1)
Connect = Callable[[OwnerTable], Awaitable[Schedulers]]


def run_in(slot: int, number: int = 0) -> RunId:
    return run_id(slot, 20_000, number.to_bytes(10))


def a_start(slot: int = 0, number: int = 0, key: str = "", body: bytes = b"{}") -> Start:
    return Start(
        tenant=TENANT,
        actor="key:test",
        run=run_in(slot, number),
        flow="copy",
        version=1,
        plan=PlanHash("ab" * 32),
        input=Stored(body),
        trigger="api",
        start_key=(key or str(number)).encode(),
        fingerprint=body[:32],
        client_key=bool(key),
    )


def say_nothing(command: pb.Command) -> None:
    return None


@pytest.fixture
async def scheduler() -> AsyncGenerator[ScriptedScheduler]:
    scheduler = ScriptedScheduler()
    await scheduler.serve()
    yield scheduler
    await scheduler.stop()


@pytest.fixture
async def another() -> AsyncGenerator[ScriptedScheduler]:
    scheduler = ScriptedScheduler()
    await scheduler.serve()
    yield scheduler
    await scheduler.stop()


@pytest.fixture
async def connect() -> AsyncGenerator[Connect]:
    made: list[tuple[Schedulers, asyncio.Task[None]]] = []

    async def build(owners: OwnerTable) -> Schedulers:
        log = Logger("test", write=lambda line: None)
        schedulers = Schedulers(owners, log, takeover_s=1.5, answer_s=3)
        made.append((schedulers, asyncio.create_task(schedulers.watch())))
        return schedulers

    yield build
    for schedulers, watching in made:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await schedulers.close()


async def test_a_start_returns_once_its_record_is_durable(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    schedulers = await connect(OwnerTable(scheduler.address))
    start = a_start()
    assert (await schedulers.start(start)).run == start.run
    command = scheduler.commands[0]
    assert (command.tenant, command.actor) == ("acme", "key:test")
    assert command.start_run.plan == "ab" * 32
    assert not command.start_run.client_key


async def test_many_starts_share_messages_of_one_stream(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    schedulers = await connect(OwnerTable(scheduler.address))
    await schedulers.start(a_start())
    starts = [a_start(number=number) for number in range(1, 201)]
    started = await asyncio.gather(*map(schedulers.start, starts))
    assert [one.run for one in started] == [start.run for start in starts]
    assert scheduler.messages < 20


async def test_a_repeated_start_names_the_earlier_run(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    schedulers = await connect(OwnerTable(scheduler.address))
    first = await schedulers.start(a_start(number=1, key="order-17"))
    second = await schedulers.start(a_start(number=2, key="order-17"))
    assert (second.run, second.repeated, first.repeated) == (first.run, True, False)


async def test_a_key_with_another_body_is_refused_with_its_own_error(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    schedulers = await connect(OwnerTable(scheduler.address))
    await schedulers.start(a_start(number=1, key="order-17"))
    with pytest.raises(KeyReused):
        await schedulers.start(a_start(number=2, key="order-17", body=b'{"a":1}'))


async def test_a_command_goes_to_the_owner_of_its_partition(
    connect: Connect, scheduler: ScriptedScheduler, another: ScriptedScheduler
) -> None:
    schedulers = await connect(OwnerTable(scheduler.address, another.address))
    await schedulers.start(a_start(slot=0))
    await schedulers.start(a_start(slot=1023))
    assert [command.start_run.run for command in scheduler.commands] == [run_in(0)]
    assert [command.start_run.run for command in another.commands] == [run_in(1023)]


async def test_an_answer_not_owner_is_followed_to_the_address_it_names(
    connect: Connect, scheduler: ScriptedScheduler, another: ScriptedScheduler
) -> None:
    scheduler.answer = partial(not_owner, address=another.address)
    owners = OwnerTable(scheduler.address)
    schedulers = await connect(owners)
    await schedulers.start(a_start(number=1))
    await schedulers.start(a_start(number=2))
    assert len(scheduler.commands) == 1, "the second start goes to the new owner at once"
    assert len(another.commands) == 2


async def test_two_schedulers_that_name_each_other_end_in_unavailable(
    connect: Connect, scheduler: ScriptedScheduler, another: ScriptedScheduler
) -> None:
    scheduler.answer = partial(not_owner, address=another.address)
    another.answer = partial(not_owner, address=scheduler.address)
    schedulers = await connect(OwnerTable(scheduler.address))
    with pytest.raises(Unavailable, match="Nothing was changed"):
        await schedulers.start(a_start())
    assert len(scheduler.commands) + len(another.commands) < 200


async def test_a_start_waits_for_the_new_owner_during_a_takeover(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    owners = OwnerTable(None)
    schedulers = await connect(owners)
    starting = asyncio.create_task(schedulers.start(a_start()))
    await asyncio.sleep(0.1)
    owners.table[0] = scheduler.address
    assert (await starting).run == run_in(0)


async def test_without_an_owner_a_start_is_unavailable_and_changed_nothing(
    connect: Connect,
) -> None:
    schedulers = await connect(OwnerTable(None))
    with pytest.raises(Unavailable, match="Nothing was changed"):
        await schedulers.start(a_start())


async def test_before_the_log_exists_there_are_no_partitions_and_nobody_to_ask(
    connect: Connect,
) -> None:
    schedulers = await connect(OwnerTable())
    with pytest.raises(Unavailable):
        await schedulers.start(a_start())
    assert not await schedulers.is_ready()


async def test_an_address_where_nobody_listens_is_no_reason_to_give_up_early(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    owners = OwnerTable(NOBODY)
    schedulers = await connect(owners)
    starting = asyncio.create_task(schedulers.start(a_start()))
    await asyncio.sleep(0.1)
    owners.table[0] = scheduler.address
    assert (await starting).run == run_in(0)


async def test_an_unanswered_start_is_sent_again_when_its_stream_broke(
    connect: Connect, scheduler: ScriptedScheduler, another: ScriptedScheduler
) -> None:
    scheduler.answer = say_nothing
    owners = OwnerTable(scheduler.address)
    schedulers = await connect(owners)
    starting = asyncio.create_task(schedulers.start(a_start()))
    await scheduler.asked.wait()
    owners.table[0] = another.address
    await scheduler.stop()
    assert (await starting).run == run_in(0)
    assert another.commands[0].start_run == scheduler.commands[0].start_run
    await scheduler.serve()


async def test_a_stream_comes_back_when_its_scheduler_was_restarted_in_place(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    schedulers = await connect(OwnerTable(scheduler.address))
    await schedulers.start(a_start(number=1))
    address = scheduler.address
    await scheduler.stop()
    starting = asyncio.create_task(schedulers.start(a_start(number=2)))
    await scheduler.serve(address)
    assert (await starting).run == run_in(0, 2)


async def test_a_silent_owner_is_left_when_the_lease_table_names_another(
    connect: Connect, scheduler: ScriptedScheduler, another: ScriptedScheduler
) -> None:
    scheduler.answer = say_nothing
    owners = OwnerTable(scheduler.address)
    schedulers = await connect(owners)
    starting = asyncio.create_task(schedulers.start(a_start()))
    await scheduler.asked.wait()
    owners.table[0] = another.address
    assert (await starting).run == run_in(0)


async def test_an_owner_that_never_answers_ends_in_unavailable_that_says_so(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    scheduler.answer = say_nothing
    schedulers = await connect(OwnerTable(scheduler.address))
    with pytest.raises(Unavailable, match="may have been taken"):
        await schedulers.start(a_start())


async def test_a_refusal_of_a_cancel_that_was_sent_twice_is_marked_as_doubtful(
    connect: Connect, scheduler: ScriptedScheduler, another: ScriptedScheduler
) -> None:
    scheduler.answer = say_nothing
    another.answer = partial(rejected, error=already())
    owners = OwnerTable(scheduler.address)
    schedulers = await connect(owners)
    cancelling = asyncio.create_task(
        schedulers.cancel(TENANT, "key:test", run_in(0), Stored(b"why"))
    )
    await scheduler.asked.wait()
    owners.table[0] = another.address
    await scheduler.stop()
    with pytest.raises(MaybeDone):
        await cancelling
    await scheduler.serve()


async def test_a_refusal_of_a_cancel_that_was_sent_once_is_plain(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    scheduler.answer = partial(rejected, error=already())
    schedulers = await connect(OwnerTable(scheduler.address))
    with pytest.raises(InvalidState) as refused:
        await schedulers.cancel(TENANT, "key:test", run_in(0), Stored(b"why"))
    assert type(refused.value) is InvalidState


async def test_a_run_that_the_scheduler_does_not_know_is_not_found(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    scheduler.answer = partial(rejected, error=NotFound("no such run"))
    schedulers = await connect(OwnerTable(scheduler.address))
    with pytest.raises(NotFound, match="no such run"):
        await schedulers.cancel(TENANT, "key:test", run_in(0), Stored(b"why"))


async def test_a_schedule_is_set_in_the_partition_of_its_trigger(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    scheduler.answer = accepted
    schedulers = await connect(OwnerTable(*[scheduler.address] * 8))
    schedule = Schedule(
        tenant=TENANT,
        flow="nightly",
        trigger="often",
        version=3,
        plan=PlanHash("cd" * 32),
        rhythm=Trigger(
            TriggerKind.SCHEDULE,
            cron="0 2 * * *",
            timezone="Europe/Berlin",
            overlap=Overlap.QUEUE,
            catchup=Catchup.ALL,
        ),
    )
    await schedulers.set_schedule("key:test", schedule)
    sent = scheduler.commands[0].set_schedule
    assert sent.slot == slot_for("acme", "nightly", "often")
    assert (sent.schedule, sent.every_ms) == ("acme/nightly/often", 0)
    assert (sent.cron, sent.timezone) == ("0 2 * * *", "Europe/Berlin")
    assert (sent.overlap, sent.catchup) == ("queue", "all")


async def test_a_command_above_the_limit_of_a_message_is_refused_before_it_is_sent(
    connect: Connect, scheduler: ScriptedScheduler
) -> None:
    schedulers = await connect(OwnerTable(scheduler.address))
    with pytest.raises(TooLarge):
        await schedulers.start(a_start(body=b"x" * 1_100_000))
    assert scheduler.commands == []
