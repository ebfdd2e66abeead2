"""`ai.extract` in an executor process: what a scheduler is told of each attempt, and its cost."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.plan_parts import Action, Effect, Fallback, UsesKind
from headrace_core.workflow.template import parse_template
from headrace_executor.domain.prompt import prompt_hash
from tests.support.executor_process import (
    RUN,
    TENANT,
    Site,
    executor_process,
    executor_site,
    prepare_database,
)
from tests.support.far_server import Answer, FarServer, Received, far_server
from tests.support.model_endpoint import asked, completion, error
from tests.support.postgres import PostgresForTests
from tests.support.run_harness import plan_of, step
from tests.support.scheduler_peer import SchedulerPeer, scheduler_peer

pytestmark = pytest.mark.postgres
EPOCH = 7
KEY = "sk-operator-4711"
SCHEMA = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
WRITTEN: dict[str, Any] = {"prompt": {"user": "Name it: ${{ inputs.text }}"}, "schema": SCHEMA}
EXTRACT = Action(UsesKind.ACTION, "ai.extract", "ai.extract@1", "1", Effect.READ)
OTHER: dict[str, Any] = {**WRITTEN, "prompt": {"user": "${{ inputs.text }}"}, "model": "large"}


def flow() -> Plan:
    other = Fallback(uses=EXTRACT, arguments=parse_template(OTHER))
    read = step("read", uses=EXTRACT, arguments=parse_template(WRITTEN), fallback=(other,))
    return plan_of(read)


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


@pytest.fixture
async def far() -> AsyncIterator[FarServer]:
    async with far_server() as server:
        yield server


def settings(far: FarServer) -> dict[str, str]:
    return {
        "HEADRACE_AI_BASE_URL": far.url("/v1"),
        "HEADRACE_AI_API_KEY": KEY,
        "HEADRACE_AI_MODEL": "small",
        "HEADRACE_LOG_LEVEL": "debug",
    }


def task(site: Site, peer: SchedulerPeer, number: int, **fields: Any) -> pb.Task:
    return pb.Task(
        attempt=pb.Attempt(
            partition=0, epoch=EPOCH, tenant=TENANT, run=RUN, step="read", attempt=number, token=9
        ),
        executor=peer.stream.hello.executor,
        plan=PLAN.hash,
        flow="flow",
        lane="shared",
        input=site.seal({"text": "the MIT licence"}),
        **fields,
    )


async def result_of(peer: SchedulerPeer, number: int) -> pb.Result:
    def found() -> list[pb.Result]:
        return [one for one in peer.stream.results() if one.attempt.attempt == number]

    await peer.until(found)
    return found()[0]


async def connected(peer: SchedulerPeer) -> None:
    await peer.until(lambda: peer.streams and peer.stream.credits())


async def test_every_attempt_says_what_it_cost(
    site: Site, peer: SchedulerPeer, far: FarServer
) -> None:
    answers = {
        1: error(429, "slower", headers={"Retry-After": "2"}),
        2: completion("It is MIT.", tokens=(30, 4)),
        3: completion({"name": "MIT"}, tokens=(31, 6)),
    }
    far.script = lambda _: answers[len(far.received)]
    async with executor_process(site, peer.address, settings(far)) as process:
        await connected(peer)
        results: list[pb.Result] = []
        for number in answers:
            peer.send(pb.WorkResponse(tasks=[task(site, peer, number)]))
            results.append(await result_of(peer, number))
        limited, wrong, right = results
        assert (limited.error.type, limited.retry_after_ms) == ("http.429", 2_000)
        assert wrong.error.type == "ai.schema_mismatch"
        assert "It is MIT." in await site.opened(wrong.error.message)
        assert await site.opened(right.output) == {"name": "MIT"}
        tokens = [(one.usage.input_tokens, one.usage.output_tokens) for one in results]
        assert tokens == [(0, 0), (30, 4), (31, 6)]
        assert {one.usage.model for one in results} == {"small"}
        assert {one.usage.prompt_hash for one in results} == {prompt_hash(WRITTEN)}
        assert asked(far.received[0])["messages"] == [
            {"role": "user", "content": "Name it: the MIT licence"}
        ]
    log = (site.home / "executor.log").read_text()
    assert process.events() and KEY not in log


async def test_a_fallback_asks_another_model_by_another_prompt(
    site: Site, peer: SchedulerPeer, far: FarServer
) -> None:
    far.script = lambda _: completion({"name": "MIT"})
    async with executor_process(site, peer.address, settings(far)):
        await connected(peer)
        peer.send(pb.WorkResponse(tasks=[task(site, peer, 1, fallback=1)]))
        usage = (await result_of(peer, 1)).usage
    assert (usage.model, usage.prompt_hash) == ("large", prompt_hash(OTHER))
    assert asked(far.received[0])["model"] == "large"


async def test_an_attempt_that_is_cut_off_says_which_model_it_had_asked(
    site: Site, peer: SchedulerPeer, far: FarServer
) -> None:
    async def never(received: Received) -> Answer:
        await received.client_gone()
        return Answer()

    far.script = never
    async with executor_process(site, peer.address, settings(far)):
        await connected(peer)
        peer.send(pb.WorkResponse(tasks=[task(site, peer, 1, timeout_ms=300)]))
        late = await result_of(peer, 1)
        assert (late.outcome, late.error.type) == (pb.OUTCOME_FAILED, "timeout.attempt")
        far.asked.clear()
        unwanted = task(site, peer, 2)
        peer.send(pb.WorkResponse(tasks=[unwanted]))
        await far.asked.wait()
        peer.send(pb.WorkResponse(cancellations=[pb.Cancellation(attempt=unwanted.attempt)]))
        cancelled = await result_of(peer, 2)
        assert cancelled.outcome == pb.OUTCOME_CANCELLED
        for result in (late, cancelled):
            assert (result.usage.model, result.usage.input_tokens) == ("small", 0)
            assert result.usage.prompt_hash == prompt_hash(WRITTEN)


async def test_without_a_model_it_fails_at_once_and_says_what_to_set(
    site: Site, peer: SchedulerPeer
) -> None:
    async with executor_process(site, peer.address):
        await connected(peer)
        peer.send(pb.WorkResponse(tasks=[task(site, peer, 1)]))
        result = await result_of(peer, 1)
        assert (result.outcome, result.error.type) == (pb.OUTCOME_FAILED, "ai.not_configured")
        assert "HEADRACE_AI_BASE_URL" in await site.opened(result.error.message)
        assert not result.HasField("usage")
