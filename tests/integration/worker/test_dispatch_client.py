"""The dispatch client over real gRPC: notes, reconnects, draining and closing."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace_core.ids import ExecutorId
from headrace_core.payload import Stored
from headrace_worker.dispatch_client import AttemptClosed, DispatchClient
from headrace_worker.messages import Attempt, Outcome, Result, Task
from headrace_worker.protocol import DispatchProtocol
from tests.support.scheduler_peer import LOG_ID, SchedulerPeer, scheduler_peer

ME = ExecutorId("worker-1")
LANE = "worker:acme:count"


class KeptTasks:
    """Implements Runner: a test ends what was accepted."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.cancelled: list[Attempt] = []
        self.ended: list[Attempt] = []
        self.news = asyncio.Event()

    def accept(self, tasks: Sequence[Task]) -> None:
        self.tasks.extend(tasks)
        self.news.set()

    def cancel(self, attempt: Attempt) -> None:
        self.cancelled.append(attempt)
        self.news.set()

    def closed(self, attempt: Attempt) -> None:
        self.ended.append(attempt)
        self.news.set()

    async def accepted(self, count: int) -> Sequence[Task]:
        while len(self.tasks) < count:
            self.news.clear()
            await self.news.wait()
        return self.tasks

    async def heard(self) -> None:
        self.news.clear()
        await self.news.wait()


@asynccontextmanager
async def running(
    *addresses: str, window: int = 4
) -> AsyncGenerator[tuple[DispatchClient, KeptTasks]]:
    protocol = DispatchProtocol(ME, (LANE,), window, api_key="hr_key")
    client, runner = DispatchClient(protocol, addresses, lambda: 0.0), KeptTasks()
    task = asyncio.create_task(client.run(runner))
    try:
        yield client, runner
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def sent(number: int = 1) -> pb.Task:
    attempt = pb.Attempt(partition=3, epoch=2, tenant="acme", run="r", step="s", attempt=number)
    return pb.Task(
        attempt=attempt,
        executor=ME,
        offset=5,
        plan="p",
        flow="f",
        lane=LANE,
        item=0,
        scheduled_at_ms=7,
        notes=[b"one"],
        arguments=b"{}",
        values=[
            pb.StepValue(
                step="up", status="failed", items=[pb.ItemValue(status="succeeded", output=b"o")]
            )
        ],
    )


async def greeted(peer: SchedulerPeer, streams: int = 1) -> None:
    await peer.until(lambda: len(peer.streams) == streams)


async def test_hello_names_lanes_and_key_and_a_task_arrives_whole() -> None:
    async with scheduler_peer(2) as peer, running(peer.address) as (client, runner):
        await greeted(peer)
        hello = peer.stream.hello
        assert (hello.executor, hello.api_key, list(hello.lanes)) == (ME, "hr_key", [LANE])
        peer.send(pb.WorkResponse(tasks=[sent()]))
        (task,) = await runner.accepted(1)
        assert task.attempt == Attempt(3, 2, task.attempt.tenant, *task.attempt[3:])
        assert (task.attempt.tenant, task.offset, task.item) == ("acme", 5, 0)
        assert (task.scheduled_at_ms, task.notes, task.arguments) == (7, (b"one",), b"{}")
        assert task.values[0].items[0].output == b"o"
        assert client.connected == 1
        client.finish(Result(task.attempt, Outcome.SUCCEEDED, Stored(b"done")))
        await peer.until(peer.stream.results)
        assert peer.stream.results()[0].output == b"done"


async def test_a_note_returns_when_it_is_in_the_log() -> None:
    async with scheduler_peer(2) as peer, running(peer.address) as (client, runner):
        await greeted(peer)
        peer.send(pb.WorkResponse(tasks=[sent()]))
        (task,) = await runner.accepted(1)
        noting = asyncio.create_task(client.note(task.attempt.key, Stored(b"half way")))
        await peer.until(lambda: [note for message in peer.stream.said for note in message.notes])
        assert not noting.done()
        acknowledged = pb.NoteAcknowledgement(attempt=sent().attempt, number=1)
        peer.send(pb.WorkResponse(note_acknowledgements=[acknowledged]))
        await noting


async def test_a_note_of_a_closed_attempt_says_so() -> None:
    async with scheduler_peer(2) as peer, running(peer.address) as (client, runner):
        await greeted(peer)
        peer.send(pb.WorkResponse(tasks=[sent()]))
        (task,) = await runner.accepted(1)
        noting = asyncio.create_task(client.note(task.attempt.key, Stored(b"half way")))
        await peer.until(lambda: [note for message in peer.stream.said for note in message.notes])
        peer.acknowledge(sent().attempt)
        with pytest.raises(AttemptClosed):
            await noting
        assert runner.ended == [task.attempt]
        with pytest.raises(AttemptClosed):
            await client.note(task.attempt.key, Stored(b"more"))


async def test_a_scheduler_that_comes_late_and_goes_and_comes_is_found_each_time() -> None:
    async with scheduler_peer(2) as peer:
        await peer.stop()
        async with running(peer.address) as (client, runner):
            await peer.start()
            await greeted(peer)
            for number in (1, 2):
                await peer.stop()
                await peer.start()
                await greeted(peer, number + 1)
            peer.send(pb.WorkResponse(tasks=[sent()]))
            await runner.accepted(1)
            assert client.connected == 1


async def test_a_result_follows_its_partition_to_another_scheduler() -> None:
    async with (
        scheduler_peer(2) as first,
        scheduler_peer(9) as second,
        running(first.address, second.address) as (client, runner),
    ):
        await greeted(first)
        await greeted(second)
        first.send(pb.WorkResponse(tasks=[sent()]))
        (task,) = await runner.accepted(1)
        await first.stop()
        second.announce(3, 9)
        await second.until(second.stream.reports)
        assert [one.attempt for one in second.stream.reports()[0].open] == [1]
        client.finish(Result(task.attempt, Outcome.SUCCEEDED, Stored(b"done")))
        await second.until(second.stream.results)


async def test_a_cancellation_is_handed_on() -> None:
    async with scheduler_peer(2) as peer, running(peer.address) as (_, runner):
        await greeted(peer)
        peer.send(pb.WorkResponse(tasks=[sent()]))
        (task,) = await runner.accepted(1)
        peer.send(pb.WorkResponse(cancellations=[pb.Cancellation(attempt=sent().attempt)]))
        await runner.heard()
        assert runner.cancelled == [task.attempt]


async def test_a_drain_opens_the_stream_anew_without_credits_and_refuses_tasks() -> None:
    async with scheduler_peer(2) as peer, running(peer.address) as (client, runner):
        await greeted(peer)
        await peer.until(peer.stream.credits)
        peer.send(pb.WorkResponse(tasks=[sent()]))
        (task,) = await runner.accepted(1)
        draining = asyncio.create_task(client.drain(30.0))
        await greeted(peer, 2)
        assert peer.streams[0].half_closed
        peer.send(pb.WorkResponse(tasks=[sent(2)]))
        await peer.until(peer.stream.refusals)
        client.finish(Result(task.attempt, Outcome.SUCCEEDED, Stored(b"done")))
        assert await draining, "it ends with the acknowledgement"
        assert (peer.stream.credits(), len(runner.tasks)) == (0, 1)


async def test_closing_hands_open_attempts_back_and_ends_the_streams() -> None:
    async with scheduler_peer(2) as peer:
        protocol = DispatchProtocol(ME, (LANE,), 4)
        client, runner = DispatchClient(protocol, [peer.address], lambda: 0.0), KeptTasks()
        running_client = asyncio.create_task(client.run(runner))
        await greeted(peer)
        peer.send(pb.WorkResponse(tasks=[sent()]))
        await runner.accepted(1)
        assert not await client.drain(0.05), "the attempt is still open"
        await client.close()
        await running_client
        assert [refusal.attempt.attempt for refusal in peer.streams[-1].refusals()] == [1]
        assert peer.streams[-1].half_closed


async def test_closing_does_not_wait_for_a_scheduler_that_is_away() -> None:
    async with scheduler_peer(2) as peer:
        await peer.stop()
        async with running(peer.address) as (client, _):
            assert await client.drain(5.0), "nothing is open"
            await client.close()
            assert client.connected == 0


async def test_the_log_is_part_of_a_partitions_name() -> None:
    async with scheduler_peer(2) as peer, running(peer.address) as (_, runner):
        await greeted(peer)
        peer.announce(3, 50)
        await peer.until(peer.stream.reports)
        other = pb.WorkResponse(log_id=b"M" * 16, tasks=[sent()])
        assert other.log_id != LOG_ID
        peer.stream.outgoing.put_nowait(other)
        await runner.accepted(1)
