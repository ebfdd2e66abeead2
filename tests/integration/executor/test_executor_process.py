"""The executor process over real gRPC: results, redelivery, payloads, drain."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace_core.ids import PlanHash
from headrace_core.workflow.plan import Foreach, Plan, PlanStep
from headrace_core.workflow.plan_parts import Action, Effect, Fallback, UsesKind
from headrace_core.workflow.template import parse_expression, parse_template
from tests.support.executor_process import (
    RUN,
    TENANT,
    Site,
    executor_process,
    executor_site,
    prepare_database,
)
from tests.support.postgres import PostgresForTests
from tests.support.run_harness import plan_of, step
from tests.support.scheduler_peer import SchedulerPeer, scheduler_peer

pytestmark = pytest.mark.postgres
EPOCH = 7
LARGE = {"text": "x" * 200_000}
ALMOST_LARGE = "y" * 65_520
"""Comes inline; a little longer it has to be stored as a blob."""


def action(name: str) -> Action:
    return Action(UsesKind.ACTION, name, f"{name}@1", "1", Effect.NONE)


def calls(name: str, uses: str, arguments: Any, **fields: Any) -> PlanStep:
    return step(name, uses=action(uses), arguments=parse_template(arguments), **fields)


def flow() -> Plan:
    each = Foreach(items=parse_expression("inputs.rows"), alias="row")
    return plan_of(
        calls("first", "data.echo", {"value": "${{ inputs.greeting }}"}),
        calls("copy", "data.echo", {"value": "${{ steps.first.output }}"}),
        calls("text", "data.echo", {"value": "${{ run.id }}: ${{ steps.first.output }}"}),
        calls("broken", "data.echo", {"value": "${{ steps.first.output.nothing }}"}),
        calls("sorted", "data.sort", {"items": "${{ steps.first.output }}"}),
        calls("item", "data.echo", {"value": "${{ row.name }}"}, foreach=each),
        calls("stranger", "smtp.send", {"to": "somebody"}),
        calls(
            "rescued",
            "data.echo",
            {"value": 1},
            fallback=(Fallback(output=parse_template({"instead": "${{ inputs.greeting }}"})),),
        ),
    )


PLAN = flow()


@pytest.fixture
async def site(postgres: PostgresForTests, tmp_path: Path) -> AsyncIterator[Site]:
    dsn = postgres.fresh_database(postgres.template("executor", prepare_database))
    async with executor_site(tmp_path, dsn, PLAN) as found:
        yield found
    postgres.drop(dsn)


@pytest.fixture
async def peer() -> AsyncIterator[SchedulerPeer]:
    async with scheduler_peer(EPOCH) as found:
        yield found


def attempt(name: str, number: int = 1, *, epoch: int = EPOCH) -> pb.Attempt:
    return pb.Attempt(
        partition=0, epoch=epoch, tenant=TENANT, run=RUN, step=name, attempt=number, token=9
    )


def task(peer: SchedulerPeer, of: pb.Attempt, **fields: Any) -> pb.Task:
    fields = {"executor": peer.stream.hello.executor, **fields}
    plan: PlanHash = fields.pop("plan", PLAN.hash)
    return pb.Task(attempt=of, plan=plan, flow="flow", lane="shared", **fields)


def value(step: str, output: bytes, status: str = "succeeded") -> pb.StepValue:
    return pb.StepValue(step=step, status=status, output=output)


async def connected(peer: SchedulerPeer) -> None:
    await peer.until(lambda: peer.streams and peer.stream.credits())


async def result_of(peer: SchedulerPeer, sent: pb.Task) -> pb.Result:
    """Send the task, and what came of it."""
    peer.send(pb.WorkResponse(tasks=[sent]))

    def found() -> list[pb.Result]:
        return [
            result
            for stream in peer.streams
            for result in stream.results()
            if result.attempt == sent.attempt
        ]

    await peer.until(found)
    return found()[-1]


async def error_message(site: Site, result: pb.Result) -> str:
    return await site.opened(result.error.message)


def without_blob_store(site: Site) -> None:
    """Attempts with a large output wait: it cannot be stored."""
    (site.home / "blobs").mkdir(exist_ok=True)
    (site.home / "blobs" / TENANT).write_text("a file where the tenant's folder should be")


async def test_steps_run_and_their_results_come_sealed(site: Site, peer: SchedulerPeer) -> None:
    async with executor_process(site, peer.address):
        await connected(peer)
        assert list(peer.stream.hello.lanes) == ["shared"]
        given = site.seal({"greeting": "hello"})
        first = await result_of(peer, task(peer, attempt("first"), input=given))
        assert first.outcome == pb.OUTCOME_SUCCEEDED
        assert first.output != given and await site.opened(first.output) == "hello"
        upstream = [value("first", first.output)]
        copy = await result_of(peer, task(peer, attempt("copy"), values=upstream))
        assert copy.output != first.output, "it is sealed anew"
        assert await site.opened(copy.output) == "hello"
        text = await result_of(peer, task(peer, attempt("text"), values=upstream))
        assert await site.opened(text.output) == f"{RUN}: hello"


async def test_what_goes_wrong_has_a_type_and_a_sealed_message(
    site: Site, peer: SchedulerPeer
) -> None:
    async with executor_process(site, peer.address):
        await connected(peer)
        words = [value("first", site.seal("hello"))]
        cases = [
            (task(peer, attempt("broken"), values=words), "expr.error", "nothing"),
            (task(peer, attempt("sorted"), values=words), "input.invalid", "items"),
            (task(peer, attempt("stranger")), "input.invalid", "smtp.send@1"),
            (task(peer, attempt("nowhere")), "input.invalid", "nowhere"),
            (task(peer, attempt("copy"), plan="f" * 64), "input.invalid", "f" * 64),
            (
                task(peer, attempt("text"), values=[value("first", b"\x01tampered" * 9)]),
                "input.tampered",
                "key",
            ),
        ]
        for sent, error_type, part in cases:
            result = await result_of(peer, sent)
            assert (result.outcome, result.error.type) == (pb.OUTCOME_FAILED, error_type)
            assert part in await error_message(site, result)


async def test_items_and_fallbacks_are_evaluated_like_any_step(
    site: Site, peer: SchedulerPeer
) -> None:
    async with executor_process(site, peer.address):
        await connected(peer)
        rows = site.seal([[str(index), {"name": f"row {index}"}] for index in range(3)])
        for index in range(3):
            sent = task(peer, attempt(f"item[{index}]"), item=index, items=rows)
            result = await result_of(peer, sent)
            assert await site.opened(result.output) == f"row {index}"
        given = site.seal({"greeting": "hello"})
        own = await result_of(peer, task(peer, attempt("rescued"), input=given))
        assert await site.opened(own.output) == 1
        sent = task(peer, attempt("rescued", 2), input=given, fallback=1)
        assert await site.opened((await result_of(peer, sent)).output) == {"instead": "hello"}


async def test_large_payloads_go_by_reference(site: Site, peer: SchedulerPeer) -> None:
    async with executor_process(site, peer.address):
        await connected(peer)
        given = site.seal({"greeting": LARGE})
        for blob in site.vault.take_pending_blobs():
            path = site.home / "blobs" / TENANT / blob.address[:2] / blob.address
            path.parent.mkdir(parents=True)
            path.write_bytes(blob.content)
        first = await result_of(peer, task(peer, attempt("first"), input=given))
        assert len(first.output) < 1_000 and await site.opened(first.output) == LARGE
        upstream = [value("first", first.output)]
        copy = await result_of(peer, task(peer, attempt("copy"), values=upstream))
        assert copy.output == first.output, "a reference passes on as it is"
        for path in (site.home / "blobs").rglob("*"):
            if path.is_file():
                path.unlink()
        # What was opened once is at hand; a blob that nobody here has seen is missing.
        lost = site.seal({"greeting": {"text": "y" * 200_000}})
        missing = await result_of(peer, task(peer, attempt("first", 2), input=lost))
        assert missing.error.type == "input.missing"


async def test_a_result_is_sent_again_until_a_restarted_scheduler_acknowledges_it(
    site: Site, peer: SchedulerPeer
) -> None:
    peer.acknowledges = False
    async with executor_process(site, peer.address):
        await connected(peer)
        upstream = [value("first", site.seal("hello"))]
        sent = task(peer, attempt("copy"), values=upstream)
        first = await result_of(peer, sent)
        await peer.stop()
        peer.streams.clear()
        await peer.start()
        await peer.until(lambda: peer.streams and peer.stream.results())
        assert peer.stream.results() == [first]
        assert peer.stream.hello.executor == sent.executor, "the same process says so"
        peer.announce(0, EPOCH + 1)
        await peer.until(peer.stream.reports)
        (report,) = peer.stream.reports()
        assert (report.partition, report.epoch) == (0, EPOCH + 1)
        assert list(report.open) == [first.attempt]
        peer.acknowledge(first.attempt)
        peer.announce(0, EPOCH + 1)
        await peer.until(lambda: len(peer.stream.reports()) == 2)
        assert list(peer.stream.reports()[-1].open) == []


async def test_tasks_of_a_fenced_owner_or_for_another_process_are_refused(
    site: Site, peer: SchedulerPeer
) -> None:
    async with executor_process(site, peer.address):
        await connected(peer)
        peer.announce(0, EPOCH + 5)
        old = task(peer, attempt("copy"))
        other = task(peer, attempt("copy", 2, epoch=EPOCH + 5), executor="exec_before")
        peer.send(pb.WorkResponse(tasks=[old, other]))
        await peer.until(lambda: len(peer.stream.refusals()) == 2)
        reasons = {refusal.attempt.attempt: refusal.reason for refusal in peer.stream.refusals()}
        assert "epoch" in reasons[1] and "process" in reasons[2]
        assert peer.stream.results() == []


async def test_a_thousand_tasks_are_in_flight_and_answered_in_few_messages(
    site: Site, peer: SchedulerPeer
) -> None:
    async with executor_process(site, peer.address):
        await connected(peer)
        assert peer.stream.credits() == 1_024
        upstream = [value("first", site.seal("hello"))]
        tasks = [task(peer, attempt("copy", 1 + n), values=upstream) for n in range(1_024)]
        before = peer.messages
        for start in range(0, 1_024, 128):
            peer.send(pb.WorkResponse(tasks=tasks[start : start + 128]))
        await peer.until(lambda: len(peer.stream.results()) == 1_024)
        assert peer.messages - before <= 24, "results coalesce"
        await peer.until(lambda: peer.stream.credits() == 2_048)


async def test_a_drain_keeps_results_until_they_are_acknowledged_and_exits_clean(
    site: Site, peer: SchedulerPeer
) -> None:
    peer.acknowledges = False
    async with executor_process(site, peer.address) as process:
        await connected(peer)
        sent = task(peer, attempt("copy"), values=[value("first", site.seal("hello"))])
        result = await result_of(peer, sent)
        process.terminate()
        await peer.until(lambda: len(peer.streams) == 2 and peer.stream.results())
        assert peer.streams[0].half_closed, "so the scheduler takes its credits back"
        assert peer.stream.credits() == 0, "a draining executor asks for nothing"
        peer.acknowledge(result.attempt)
        assert await process.exit_code() == 0
        assert "drain cut short" not in process.events()


async def test_a_drain_ends_although_nobody_acknowledges(site: Site, peer: SchedulerPeer) -> None:
    peer.acknowledges = False
    async with executor_process(site, peer.address) as process:
        await connected(peer)
        sent = task(peer, attempt("copy"), values=[value("first", site.seal("hello"))])
        await result_of(peer, sent)
        process.terminate()
        assert await process.exit_code() == 0
        assert "drain cut short" in process.events()


async def test_what_still_waits_at_the_end_of_a_drain_is_handed_back(
    site: Site, peer: SchedulerPeer
) -> None:
    async with executor_process(site, peer.address) as process:
        await connected(peer)
        without_blob_store(site)
        big = [value("first", site.seal(ALMOST_LARGE))]
        peer.send(pb.WorkResponse(tasks=[task(peer, attempt("text"), values=big)]))
        peer.announce(0, EPOCH)
        await peer.until(peer.stream.reports)
        assert [one.step for one in peer.stream.reports()[0].open] == ["text"]
        process.terminate()
        await peer.until(lambda: any(stream.refusals() for stream in peer.streams))
        assert await process.exit_code() == 0


async def test_a_cancellation_reaches_an_attempt_that_waits(
    site: Site, peer: SchedulerPeer
) -> None:
    async with executor_process(site, peer.address):
        await connected(peer)
        without_blob_store(site)
        big = [value("first", site.seal(ALMOST_LARGE))]
        sent = task(peer, attempt("text"), values=big)
        peer.send(pb.WorkResponse(tasks=[sent]))
        peer.announce(0, EPOCH)
        await peer.until(peer.stream.reports)
        peer.send(pb.WorkResponse(cancellations=[pb.Cancellation(attempt=sent.attempt)]))
        await peer.until(peer.stream.results)
        assert [one.outcome for one in peer.stream.results()] == [pb.OUTCOME_CANCELLED]


async def test_an_attempt_that_does_not_end_in_time_has_timed_out(
    site: Site, peer: SchedulerPeer
) -> None:
    async with executor_process(site, peer.address):
        await connected(peer)
        without_blob_store(site)
        big = [value("first", site.seal(ALMOST_LARGE))]
        result = await result_of(peer, task(peer, attempt("text"), values=big, timeout_ms=200))
        assert (result.outcome, result.error.type) == (pb.OUTCOME_FAILED, "timeout.attempt")
        assert "200 ms" in await error_message(site, result)


async def test_two_schedulers_share_the_window(site: Site, peer: SchedulerPeer) -> None:
    async with scheduler_peer(EPOCH) as other:
        both = f"{peer.address},{other.address}"
        async with executor_process(site, both):
            await asyncio.gather(connected(peer), connected(other))
            sent = task(other, attempt("copy"), values=[value("first", site.seal("hello"))])
            assert (await result_of(other, sent)).outcome == pb.OUTCOME_SUCCEEDED
            assert peer.stream.results() == []
