"""What a worker is given and what is taken from it, at the scheduler's edge."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from headrace_core.errors import BlobMissing, KeyErased, PayloadError, PayloadTampered
from headrace_core.ids import PlanHash, RunId, StepKey, TenantId
from headrace_core.partition.state import PartitionState
from headrace_core.payload import NOTHING, Stored, is_reference
from headrace_core.run.events import StepError, Usage
from headrace_core.workflow.plan import Action, Fallback, Plan, PlanStep, StepKind, UsesKind
from headrace_runtime.clock import SystemClock
from headrace_runtime.telemetry import Logger
from headrace_scheduler.app.background import Background
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.open_runs import OpenRuns
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Assignment
from headrace_scheduler.app.worker_tasks import PAYLOAD_BYTES_MAX, WorkerTask, WorkerTasks
from headrace_scheduler.domain import commands as cmd
from tests.simulation.world.parts import SimRows
from tests.support.plain_vault import PlainVault
from tests.support.run_harness import EXECUTOR, RUN, TENANT, Harness, child, plan_of, step, template

WORK = Action(UsesKind.WORKER, "resize", "worker.resize@1")
LARGE = "x" * 100_000


def working(**fields: Any) -> PlanStep:
    return step("a", kind=StepKind.USES, uses=WORK, **fields)


def failed(error_type: str, message: Stored = NOTHING) -> StepError:
    return StepError(type=error_type, message=message)


@dataclass(slots=True)
class SlowCatalogue:
    """Brings a payload to hand when the test says so, or says why it cannot."""

    of_plan: Plan
    of_vault: PlainVault
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    allowed: asyncio.Event = field(default_factory=asyncio.Event)
    fault: PayloadError | None = None

    async def load(self, tenant: TenantId, plan: PlanHash) -> None: ...

    def plan(self, tenant: TenantId, plan: PlanHash) -> Plan:
        return self.of_plan

    def vault(self, tenant: TenantId) -> PlainVault:
        return self.of_vault

    async def subject_key(self, tenant: TenantId, subject: str) -> int:
        return self.of_vault.subject_key(subject)

    async def version(self, tenant: TenantId, plan: PlanHash) -> int:
        return 1

    async def fetch(self, tenant: TenantId, owner: RunId, stored: Stored) -> None:
        self.asked.set()
        await self.allowed.wait()
        if self.fault is not None:
            raise self.fault
        self.of_vault.fetch(stored)

    async def store_blobs(self) -> None: ...


@dataclass(slots=True)
class Edge:
    """One run whose step `a` is assigned to a worker."""

    run: Harness
    catalogue: SlowCatalogue
    owned: OwnedPartition
    tasks: WorkerTasks
    assignment: Assignment
    put: list[Input]

    async def prepared(self) -> WorkerTask | None:
        return await self.preparing()

    def preparing(self) -> "asyncio.Future[WorkerTask | None]":
        sent = asyncio.get_running_loop().create_future()
        self.tasks.prepare(self.assignment, sent.set_result)
        return sent

    def failure(self) -> tuple[str, str]:
        (incoming,) = self.put
        command = incoming.command
        assert isinstance(command, cmd.CompleteStep)
        assert command.outcome is cmd.Outcome.FAILED
        assert command.error is not None
        return command.error.type, self.run.opened(command.error.message)

    def word(self, **fields: Any) -> cmd.CompleteStep:
        given = self.assignment
        outcome = cmd.Outcome.SUCCEEDED
        said = cmd.CompleteStep(
            run=RUN, step=given.step, attempt=given.attempt, token=given.token, outcome=outcome
        )
        return replace(said, **fields)

    def sealed(self, **fields: Any) -> cmd.CompleteStep:
        sealed = self.tasks.sealed(TENANT, 0, self.word(**fields))
        assert sealed is not None
        return sealed


class Edges:
    def __init__(self) -> None:
        self.backgrounds: list[Background] = []

    def of(self, work: PlanStep, inputs: Any = None) -> Edge:
        run = Harness(plan_of(work)).start(inputs)
        done = run.assign("a")
        owned = OwnedPartition(0, b"log", 7, 1, PartitionState(0), runs=OpenRuns([run.state]))
        put: list[Input] = []
        catalogue = SlowCatalogue(run.plan, run.vault)
        log = Logger("tests", write=lambda line: None)
        background = Background(catalogue, SimRows(), SystemClock(), lambda: bytes(10), log)
        self.backgrounds.append(background)
        tasks = WorkerTasks(catalogue, {0: owned}, background, put.append, log)
        assignment = Assignment(
            partition=0,
            epoch=7,
            offset=3,
            run=run.state,
            step=StepKey("a"),
            attempt=done.attempt,
            token=done.token,
            lane="worker:acme:resize@1",
            executor=EXECUTOR,
        )
        return Edge(run, catalogue, owned, tasks, assignment, put)


@pytest.fixture
async def edges() -> AsyncGenerator[Edges]:
    made = Edges()
    yield made
    for background in made.backgrounds:
        await background.close()


async def test_with_is_evaluated_and_the_key_is_the_steps_own(edges: Edges) -> None:
    work = working(arguments=template({"image": "${{ inputs.image }}", "width": 640}))
    task = await edges.of(work, {"image": "a.png"}).prepared()
    assert task == WorkerTask(b'{"image":"a.png","width":640}', f"{RUN}/a/0/do")
    assert await edges.of(working()).prepared() == WorkerTask(b"{}", f"{RUN}/a/0/do")


@pytest.mark.parametrize(("value", "key"), [("n-7", "n-7"), (7, "7"), ({"a": 1}, '{"a":1}')])
async def test_a_key_of_the_flows_own_is_given_as_text(edges: Edges, value: Any, key: str) -> None:
    work = working(idempotency_key=template("${{ inputs.key }}"))
    task = await edges.of(work, {"key": value}).prepared()
    assert task is not None
    assert task.idempotency_key == key


async def test_a_payload_that_is_not_at_hand_is_fetched(edges: Edges) -> None:
    edge = edges.of(working(arguments=template({"text": "${{ inputs.text }}"})), {"text": LARGE})
    edge.catalogue.allowed.set()
    task = await edge.prepared()
    assert task is not None
    assert json.loads(task.arguments) == {"text": LARGE}


async def test_an_attempt_that_ended_while_its_payload_was_fetched_is_not_sent(
    edges: Edges,
) -> None:
    edge = edges.of(working(arguments=template({"text": "${{ inputs.text }}"})), {"text": LARGE})
    sent = edge.preparing()
    await edge.catalogue.asked.wait()
    assert edge.run.when(edge.word(outcome=cmd.Outcome.FAILED, error=StepError(type="x"))) is None
    edge.catalogue.allowed.set()
    assert await sent is None
    assert edge.put == []


async def test_nothing_is_sent_for_a_partition_that_has_another_epoch_by_now(
    edges: Edges,
) -> None:
    edge = edges.of(working())
    edge.owned.epoch = 8
    assert await edge.prepared() is None
    assert edge.put == []


@pytest.mark.parametrize(
    ("with_", "said"),
    [
        ({"x": "${{ inputs.list[5] }}"}, ("expr.error", "list[5]")),
        ("${{ inputs.list }}", ("expr.error", "must be an object")),
        ({"x": "${{ inputs.number }}"}, ("input.invalid", "cannot be sent as JSON")),
        ({"x": "y" * PAYLOAD_BYTES_MAX}, ("input.invalid", "bytes; a worker is given")),
    ],
)
async def test_a_with_that_gives_no_arguments_fails_the_attempt(
    edges: Edges, with_: Any, said: tuple[str, str]
) -> None:
    edge = edges.of(working(arguments=template(with_)), {"list": [1], "number": 1 << 70})
    assert await edge.prepared() is None
    error_type, message = edge.failure()
    assert (error_type, said[1] in message) == (said[0], True)


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (KeyErased("gone"), "input.erased"),
        (BlobMissing("gone"), "input.missing"),
        (PayloadTampered("gone"), "input.tampered"),
    ],
)
async def test_a_payload_that_cannot_be_had_fails_the_attempt_as_an_executor_would(
    edges: Edges, fault: PayloadError, error_type: str
) -> None:
    edge = edges.of(working(arguments=template({"text": "${{ inputs.text }}"})), {"text": LARGE})
    edge.catalogue.fault = fault
    edge.catalogue.allowed.set()
    assert await edge.prepared() is None
    assert edge.failure() == (error_type, "gone")


async def test_a_fallback_has_arguments_and_a_key_of_its_own(edges: Edges) -> None:
    entry = Fallback(uses=WORK, arguments=template({"plan": "b"}))
    edge = edges.of(working(fallback=(entry,), arguments=template({"plan": "a"})))
    edge.run.when(edge.word(outcome=cmd.Outcome.FAILED, error=StepError(type="x")))
    again = edge.run.assign("a")
    edge.assignment = replace(edge.assignment, attempt=again.attempt, token=again.token)
    assert await edge.prepared() == WorkerTask(b'{"plan":"b"}', f"{RUN}/a/1/do")


async def test_an_output_is_sealed_and_a_large_one_becomes_a_reference(edges: Edges) -> None:
    edge = edges.of(working())
    small = edge.sealed(output=Stored(b'{"a":1}'), usage=Usage(model="m"))
    assert edge.run.opened(small.output) == {"a": 1}
    assert small.usage is None, "usage is metered where models are called"
    large = edge.sealed(output=Stored(json.dumps(LARGE).encode()))
    assert is_reference(large.output)


@pytest.mark.parametrize("output", [b"{", b"NaN", b"\xff", b"1" * (PAYLOAD_BYTES_MAX + 1)])
async def test_an_output_that_is_no_json_fails_the_attempt(edges: Edges, output: bytes) -> None:
    sealed = edges.of(working()).sealed(output=Stored(output))
    assert sealed.outcome is cmd.Outcome.FAILED
    assert sealed.output == NOTHING
    assert sealed.error is not None
    assert sealed.error.type == "output.invalid"


@pytest.mark.parametrize(
    ("given", "error_type", "message"),
    [
        (failed("order.locked", Stored(b'"why"')), "order.locked", "why"),
        (failed("order.locked"), "order.locked", ""),
        (failed("two words", Stored(b"plain")), "worker.error", "plain"),
        (failed("", Stored(b"\xff")), "worker.error", "\ufffd"),
        (failed("x" * 101, Stored(b'{"a":1}')), "worker.error", '{"a":1}'),
    ],
)
async def test_a_workers_error_is_sealed_whatever_it_holds(
    edges: Edges, given: StepError, error_type: str, message: str
) -> None:
    edge = edges.of(working())
    sealed = edge.sealed(outcome=cmd.Outcome.FAILED, error=given)
    assert sealed.error is not None
    assert (sealed.error.type, edge.run.opened(sealed.error.message)) == (error_type, message)


async def test_word_on_another_tenants_run_is_not_taken(edges: Edges) -> None:
    edge = edges.of(working())
    other = TenantId("other")
    note = cmd.NoteStep(run=RUN, step=StepKey("a"), attempt=1, token=1, number=1, note=Stored(b"1"))
    assert edge.tasks.sealed(other, 0, edge.word()) is None
    assert edge.tasks.sealed_note(other, 0, note) is None
    assert not edge.tasks.is_of(other, 0, RUN)
    taken = edge.tasks.sealed_note(TENANT, 0, note)
    assert taken is not None
    assert edge.run.opened(taken.note) == 1
    assert edge.tasks.sealed_note(TENANT, 0, replace(note, note=Stored(b"{"))) is None


async def test_word_on_a_run_that_is_not_here_goes_on_without_its_payload(edges: Edges) -> None:
    edge = edges.of(working())
    gone = edge.sealed(run=child(5), output=Stored(b"clear"), error=failed("x", Stored(b"y")))
    assert (gone.output, gone.error) == (NOTHING, None)
