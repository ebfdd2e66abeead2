"""A whole worker against a scheduler that is played by the test."""

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace_core.errors import Forbidden, InvalidInput, Unauthenticated
from headrace_worker import (
    Context,
    PermanentError,
    RetryLater,
    TaskError,
    UnknownOutcome,
    Worker,
    task,
)
from headrace_worker.task import AnyTask
from tests.support.scheduler_peer import SchedulerPeer, scheduler_peer

KEY = "hr_live_key"
called = contextvars.ContextVar("called", default="outside")


class Gate:
    """Holds a function until the test opens it."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()
        self.cut = 0

    async def passed(self) -> None:
        self.entered.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise


@asynccontextmanager
async def serving(
    peer: SchedulerPeer, *tasks: AnyTask, concurrency: int = 4, drain_s: float = 30.0
) -> AsyncGenerator[tuple[Worker, "asyncio.Task[None]"]]:
    worker = Worker(KEY, peer.address, tasks, concurrency=concurrency, drain_s=drain_s)
    running = asyncio.create_task(worker.serve())
    try:
        await peer.until(lambda: peer.streams)
        yield worker, running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def sent(
    peer: SchedulerPeer,
    name: str,
    arguments: Any = None,
    *,
    number: int = 1,
    timeout_ms: int = 0,
    heartbeat_ms: int = 0,
) -> pb.Attempt:
    attempt = pb.Attempt(partition=3, epoch=1, tenant="acme", run="r", step="s", attempt=number)
    one = pb.Task(
        attempt=attempt,
        executor=peer.stream.hello.executor,
        lane=f"worker::{name}@1",
        arguments=json.dumps(arguments or {}).encode(),
        idempotency_key="r/s/0/do",
        timeout_ms=timeout_ms,
        heartbeat_ms=heartbeat_ms,
    )
    peer.send(pb.WorkResponse(tasks=[one]))
    return attempt


async def result(peer: SchedulerPeer, count: int = 1) -> pb.Result:
    await peer.until(lambda: len(peer.stream.results()) >= count)
    return peer.stream.results()[count - 1]


def message_of(said: pb.Result) -> str:
    return json.loads(said.error.message)


async def test_a_worker_shows_its_key_and_answers_in_clear_json() -> None:
    @task
    async def add(context: Context, a: int, b: int = 2) -> dict[str, Any]:
        return {"sum": a + b, "key": context.idempotency_key}

    async with scheduler_peer() as peer, serving(peer, add):
        hello = peer.stream.hello
        assert (hello.api_key, list(hello.lanes)) == (KEY, ["worker::add@1"])
        sent(peer, "add", {"a": 1})
        said = await result(peer)
        assert said.outcome == pb.OUTCOME_SUCCEEDED
        assert json.loads(said.output) == {"sum": 3, "key": "r/s/0/do"}


async def test_what_a_function_raises_becomes_a_typed_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    raised: list[BaseException] = [
        TaskError("locked", type="order.locked"),
        PermanentError("gone"),
        PermanentError("gone", type="order"),
        RetryLater(1.5, "busy"),
        UnknownOutcome("who knows"),
        KeyError("x"),
        SystemExit(2),
        TimeoutError("of its own"),
    ]

    @task
    async def fail(number: int) -> None:
        raise raised[number]

    async with scheduler_peer() as peer, serving(peer, fail):
        for number in range(len(raised)):
            sent(peer, "fail", {"number": number}, number=number + 1)
            await result(peer, number + 1)
        said = peer.stream.results()
    assert [(one.error.type, message_of(one)) for one in said] == [
        ("order.locked", "locked"),
        ("worker.permanent", "gone"),
        ("worker.permanent.order", "gone"),
        ("worker.retry_later", "busy"),
        ("unknown_outcome", "who knows"),
        ("worker.error", "KeyError: 'x'"),
        ("worker.error", "SystemExit: 2"),
        ("worker.error", "TimeoutError: of its own"),
    ]
    assert [one.outcome for one in said if one.outcome != pb.OUTCOME_FAILED] == [pb.OUTCOME_UNKNOWN]
    assert [one.retry_after_ms for one in said if one.retry_after_ms] == [1_500]
    assert "KeyError" in caplog.text, "the author sees the trace in the worker's own log"


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800", "x" * (8 << 20)])
async def test_an_output_that_no_flow_can_have_fails_the_attempt(value: object) -> None:
    @task
    async def give() -> object:
        return value

    async with scheduler_peer() as peer, serving(peer, give):
        sent(peer, "give")
        said = await result(peer)
        assert (said.outcome, said.error.type) == (pb.OUTCOME_FAILED, "output.invalid")
        assert len(said.error.message) < 5_000


async def test_arguments_that_do_not_fit_fail_the_attempt_before_the_function_begins() -> None:
    @task
    async def add(a: int) -> None:
        raise AssertionError(a)

    async with scheduler_peer() as peer, serving(peer, add):
        sent(peer, "add", {"a": "one"})
        said = await result(peer)
        assert (said.outcome, said.error.type) == (pb.OUTCOME_FAILED, "input.invalid")
        assert message_of(said) == 'a: Input should be a valid integer, not "one"'


async def test_an_attempts_time_reaches_the_function_as_a_cancellation() -> None:
    gate = Gate()

    @task
    async def hang(context: Context) -> None:
        try:
            await gate.passed()
        finally:
            assert not context.cancelled

    async with scheduler_peer() as peer, serving(peer, hang):
        sent(peer, "hang", timeout_ms=20)
        said = await result(peer)
        assert (said.outcome, said.error.type) == (pb.OUTCOME_FAILED, "timeout.attempt")
        assert message_of(said) == "the attempt did not end within 20 ms"
        assert gate.cut == 1


async def test_a_cancellation_reaches_the_function() -> None:
    gate = Gate()

    @task
    async def hang() -> None:
        await gate.passed()

    async with scheduler_peer() as peer, serving(peer, hang):
        attempt = sent(peer, "hang")
        await gate.entered.wait()
        peer.send(pb.WorkResponse(cancellations=[pb.Cancellation(attempt=attempt)]))
        assert (await result(peer)).outcome == pb.OUTCOME_CANCELLED
        assert gate.cut == 1


async def test_a_function_without_async_runs_in_a_thread_and_sees_a_cancellation() -> None:
    entered, seen = threading.Event(), threading.Event()

    @task
    def plain(context: Context) -> str:
        if context.attempt == 1:
            return f"{called.get()} {threading.current_thread() is threading.main_thread()}"
        entered.set()
        while not context.cancelled:
            threading.Event().wait(0.001)
        seen.set()
        return "late"

    called.set("inside")
    async with scheduler_peer() as peer, serving(peer, plain):
        sent(peer, "plain")
        assert json.loads((await result(peer)).output) == "inside False"
        attempt = sent(peer, "plain", number=2)
        await asyncio.to_thread(entered.wait)
        peer.send(pb.WorkResponse(cancellations=[pb.Cancellation(attempt=attempt)]))
        assert (await result(peer, 2)).outcome == pb.OUTCOME_CANCELLED
        await asyncio.to_thread(seen.wait)


async def test_no_more_functions_run_at_a_time_than_there_are_places() -> None:
    gate, full, running, most = Gate(), asyncio.Event(), 0, 0

    @task
    async def count() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            full.set()
        await gate.passed()
        running -= 1

    async with scheduler_peer() as peer, serving(peer, count, concurrency=2):
        await peer.until(peer.stream.credits)
        assert peer.stream.credits() == 2
        for number in range(1, 6):
            sent(peer, "count", number=number)
        await full.wait()
        gate.opened.set()
        await result(peer, 5)
        assert most == 2


async def test_a_quiet_task_keeps_no_place_from_a_busy_one_until_attempts_wait() -> None:
    gate = Gate()

    @task
    async def busy() -> None:
        await gate.passed()

    @task
    async def quiet() -> None: ...

    def granted(lane: str) -> int:
        said = [credit for message in peer.stream.said for credit in message.credits]
        return sum(credit.count for credit in said if credit.lane == f"worker::{lane}@1")

    async with scheduler_peer() as peer, serving(peer, busy, quiet, concurrency=4):
        await peer.until(lambda: (granted("busy"), granted("quiet")) == (4, 4))
        for number in range(1, 5):
            sent(peer, "busy", number=number)
        sent(peer, "quiet", number=5)
        await gate.entered.wait()
        gate.opened.set()
        await result(peer, 5)
        await peer.until(lambda: (granted("busy"), granted("quiet")) == (8, 5))


async def test_a_result_is_kept_until_it_is_acknowledged_also_over_a_broken_stream() -> None:
    @task
    async def once() -> str:
        return "made"

    async with scheduler_peer(acknowledges=False) as peer, serving(peer, once):
        attempt = sent(peer, "once")
        await result(peer)
        await peer.stop()
        await peer.start()
        await peer.until(lambda: len(peer.streams) == 2)
        peer.announce(3, 2)
        assert json.loads((await result(peer)).output) == "made"
        peer.epoch = 2
        peer.acknowledge(attempt)


async def test_a_note_is_durable_when_it_returns() -> None:
    @task
    async def long(context: Context) -> str:
        await context.note({"page": 2})
        return "noted"

    async with scheduler_peer() as peer, serving(peer, long):
        attempt = sent(peer, "long")
        await peer.until(lambda: [note for message in peer.stream.said for note in message.notes])
        assert not peer.stream.results()
        noted = pb.NoteAcknowledgement(attempt=attempt, number=1)
        peer.send(pb.WorkResponse(note_acknowledgements=[noted]))
        assert json.loads((await result(peer)).output) == "noted"
        (note,) = [note for message in peer.stream.said for note in message.notes]
        assert json.loads(note.note) == {"page": 2}


async def test_a_stop_waits_for_what_runs_and_takes_nothing_new() -> None:
    gate = Gate()

    @task
    async def hang() -> str:
        await gate.passed()
        return "ended"

    async with scheduler_peer() as peer, serving(peer, hang) as (worker, running):
        sent(peer, "hang")
        await gate.entered.wait()
        worker.stop()
        await peer.until(lambda: len(peer.streams) == 2)
        sent(peer, "hang", number=2)
        await peer.until(peer.stream.refusals)
        gate.opened.set()
        await running
        results = [one for stream in peer.streams for one in stream.results()]
        assert [json.loads(one.output) for one in results] == ["ended"]


async def test_what_still_runs_after_the_stops_time_is_cancelled_and_given_back() -> None:
    gate = Gate()

    @task
    async def hang() -> None:
        await gate.passed()

    async with scheduler_peer() as peer, serving(peer, hang, drain_s=0.05) as (worker, running):
        sent(peer, "hang")
        await gate.entered.wait()
        worker.stop()
        await running
        assert gate.cut == 1
        assert [one.attempt.attempt for one in peer.stream.refusals()] == [1]
        assert not peer.stream.results(), "nothing is said of what others will run"


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, Forbidden),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidInput),
    ],
)
async def test_a_worker_that_is_refused_ends_and_says_why(
    status: grpc.StatusCode, refused: type[Exception]
) -> None:
    @task
    async def never() -> None: ...

    async with scheduler_peer() as peer:
        peer.refuses_with = (status, "because")
        worker = Worker(KEY, peer.address, [never])
        with pytest.raises(refused, match=f"{peer.address} refuses this process: because"):
            await worker.serve()


class Lines(logging.Handler):
    """What the worker logged, and a word when there is more."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.news = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        self.news.set()

    def of(self, words: str) -> list[str]:
        return [line for line in self.said if words in line]


@pytest.fixture
def lines() -> Generator[Lines]:
    handler, log = Lines(), logging.getLogger("headrace_worker")
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


async def test_a_scheduler_that_is_away_is_named_once_and_waited_for(lines: Lines) -> None:
    @task
    async def never() -> None: ...

    async with scheduler_peer() as peer:
        await peer.stop()
        worker = Worker(KEY, peer.address, [never])
        running = asyncio.create_task(worker.serve())
        while not lines.of("no stream to scheduler"):
            lines.news.clear()
            await lines.news.wait()
        await peer.start()
        await peer.until(lambda: peer.streams)
        worker.stop()
        await running
        assert len(lines.of("no stream to scheduler")) == 1


def test_a_worker_without_tasks_or_with_one_twice_is_refused() -> None:
    @task
    async def one() -> None: ...

    for tasks in ([], [one, one]):
        with pytest.raises(InvalidInput):
            Worker(KEY, "a:1", tasks)
    with pytest.raises(InvalidInput):
        Worker(KEY, [], [one])
    with pytest.raises(InvalidInput):
        Worker(KEY, "a:1", [one], concurrency=0)


async def test_a_function_says_that_it_is_alive_from_its_thread() -> None:
    heard = threading.Event()

    @task
    def crawl(context: Context) -> float | None:
        context.heartbeat()
        heard.wait(10)
        return context.heartbeat_s

    async with scheduler_peer() as peer, serving(peer, crawl):
        attempt = sent(peer, "crawl", heartbeat_ms=60_000)
        await peer.until(peer.stream.heartbeats)
        assert peer.stream.heartbeats()[0] == attempt
        heard.set()
        assert json.loads((await result(peer)).output) == 60.0


async def test_an_attempt_that_waits_for_a_place_is_alive() -> None:
    gate = Gate()

    @task
    async def hold() -> None:
        await gate.passed()

    async with scheduler_peer() as peer, serving(peer, hold, concurrency=1):
        sent(peer, "hold", number=1)
        await gate.entered.wait()
        waiting = sent(peer, "hold", number=2, heartbeat_ms=60_000)
        await peer.until(peer.stream.heartbeats)
        assert peer.stream.heartbeats() == [waiting]
        gate.opened.set()
        await result(peer, 2)
