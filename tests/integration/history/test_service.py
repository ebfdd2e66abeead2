"""History as a process would run it: PostgreSQL log, real keys, gRPC."""

import asyncio
import hmac
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from headrace.history.v1 import history_service_pb2 as pb
from headrace.history.v1.history_service_pb2_grpc import HistoryServiceStub
from headrace_contracts.codec import decode_body
from headrace_core.ids import PlanHash, RunId, StepKey
from headrace_core.payload import HEADER_BYTES, Stored, key_id_of
from headrace_core.run import events as ev
from headrace_core.run.replay import StoredTurn, replay
from headrace_history.domain.export import verify
from headrace_history.settings import HistorySettings
from headrace_history.wiring import build
from headrace_runtime import definitions, keys
from headrace_runtime.blobs import LocalBlobs
from headrace_runtime.clock import SystemClock
from headrace_runtime.definitions import Publishing
from headrace_runtime.eventlog.postgres import PostgresLog, create_log
from headrace_runtime.internal_token import internal_token
from headrace_runtime.keys import DataKeys, load_root_key
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Pool, open_pool
from headrace_runtime.rpc.channel import open_channel
from headrace_runtime.sealing import BODY_AT, Keyring, TenantVault
from headrace_runtime.service import Life
from headrace_runtime.telemetry import Logger
from headrace_runtime.tenants import Tenants
from tests.support.run_harness import plan_of, step
from tests.unit.history.recorded_runs import TENANT, LogWriter, assigned, ready, run_of

if TYPE_CHECKING:
    from headrace.history.v1.history_service_pb2_grpc import HistoryServiceAsyncStub

pytestmark = pytest.mark.postgres
PARTITIONS = 4
SECRET_TEXT = "4711-secret"
LARGE = {"text": "x" * 100_000}


class _Done(Exception):
    """Ends the service's tasks as its main does."""


@dataclass(slots=True)
class Served:
    stub: "HistoryServiceAsyncStub"
    writer: LogWriter
    keyring: Keyring
    vault: TenantVault
    plan: PlanHash

    def sealed(self, run: RunId, value: object) -> Stored:
        return self.vault.seal(run, json.dumps(value).encode())

    async def write_run(self, run: RunId) -> None:
        """Two steps, the second one sensitive; a large output and a metered attempt."""
        start = ev.RunStarted(
            flow="flow",
            version=1,
            plan=self.plan,
            input=self.sealed(run, {"order": 7}),
            trigger="manual",
            started_by="key-1",
        )
        usage = ev.Usage(model="small", input_tokens=5, output_tokens=6)
        large = self.sealed(run, LARGE)
        secret = self.sealed(run, SECRET_TEXT)
        await self.keyring.store_pending_blobs()
        done = ev.StepSucceeded(step=StepKey("open"), attempt=1, output=large, usage=usage)
        await self.writer.turn(run, start, ready("open"), assigned("open"))
        await self.writer.turn(run, done, ready("hidden"), assigned("hidden"))
        hidden = ev.StepSucceeded(step=StepKey("hidden"), attempt=1, output=secret)
        await self.writer.turn(run, hidden, ev.RunSucceeded(output=self.sealed(run, "fine")))


async def publish(pool: Pool) -> PlanHash:
    plan = plan_of(step("open"), step("hidden", ["open"], sensitive=True))
    await Publishing(pool).publish(TENANT, plan, "flow: v1")
    return plan.hash


@asynccontextmanager
async def served(database: str, home: Path) -> AsyncGenerator[Served]:
    root_key = load_root_key(home / "root.key", create=True)
    log = await create_log(database, PARTITIONS, application_name="test")
    async with await open_pool(database, application_name="test") as pool:
        async with pool.acquire() as connection:
            await migrate(connection, definitions.SCHEMA, definitions.migrations())
            await migrate(connection, keys.SCHEMA, keys.migrations())
        await Tenants(pool).add(TENANT)
        data_keys = DataKeys(pool, root_key)
        await data_keys.ensure(TENANT, SystemClock().now_ms())
        keyring = Keyring(data_keys, LocalBlobs(home / "blobs"), SystemClock())
        plan = await publish(pool)
        event_log = await PostgresLog.open(database, application_name="test")
        writer = LogWriter(event_log, log.log_id, PARTITIONS)
        await writer.claim_all()
        settings = HistorySettings(
            home=home,
            postgres_dsn=SecretStr(database),
            root_key_file=home / "root.key",
            history_flush_ms=20,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                life = Life(tasks, Logger("history", write=lambda line: None))
                async with (
                    build(settings, life) as address,
                    open_channel(address, internal_token(root_key)) as channel,
                ):
                    vault = await keyring.ready(TENANT)
                    yield Served(HistoryServiceStub(channel), writer, keyring, vault, plan)
                    life.stop()
                raise _Done
        except* _Done:
            pass
        finally:
            await event_log.close()


async def export_of(service: Served, run: RunId) -> list[bytes]:
    request = pb.ExportRunRequest(tenant=TENANT, run=run)
    chunks = [response.chunk async for response in service.stub.ExportRun(request)]
    return b"".join(chunks).splitlines()


async def test_every_question_about_a_run_is_answered(database: str, tmp_path: Path) -> None:
    async with served(database, tmp_path) as service:
        stub, run = service.stub, run_of(1)
        await service.write_run(run)
        # A run that is known already may be shown without its newest event.
        await service.stub.WaitForEnd(pb.WaitForEndRequest(tenant=TENANT, run=run, wait_ms=20_000))
        found = json.loads((await stub.GetRun(pb.GetRunRequest(tenant=TENANT, run=run))).run)
        assert (found["status"], found["input"], found["output"]) == (
            "succeeded",
            {"order": 7},
            "fine",
        )
        assert found["steps"]["open"]["output"] == LARGE
        assert "$masked" in found["steps"]["hidden"]["output"]
        revealed = pb.GetRunRequest(tenant=TENANT, run=run, reveal_sensitive=True)
        shown = json.loads((await stub.GetRun(revealed)).run)
        assert shown["steps"]["hidden"]["output"] == SECRET_TEXT

        state = await stub.StateAt(pb.StateAtRequest(tenant=TENANT, run=run, sequence=4))
        assert json.loads(state.state)["status"] == "running"
        assert (state.sequence, len(state.state_hash)) == (4, 64)

        page = await stub.ListEvents(
            pb.ListEventsRequest(tenant=TENANT, run=run, after_sequence=2, limit=3)
        )
        kinds = [json.loads(event)["kind"] for event in page.events]
        assert kinds == ["StepAssigned", "StepSucceeded", "StepReady"]
        assert page.more

        runs = await stub.ListRuns(pb.ListRunsRequest(tenant=TENANT, status="succeeded"))
        assert [json.loads(one)["id"] for one in runs.runs] == [run]
        now_ms = service.writer.now_ms
        usage = await stub.GetUsage(pb.GetUsageRequest(tenant=TENANT, from_ms=now_ms, to_ms=now_ms))
        assert json.loads(usage.usage)["rows"][1]["output_tokens"] == 6


async def test_events_are_streamed_and_the_end_is_waited_for(database: str, tmp_path: Path) -> None:
    async with served(database, tmp_path) as service:
        run = run_of(1)
        await service.writer.turn(
            run,
            ev.RunStarted(
                flow="flow",
                version=1,
                plan=service.plan,
                input=Stored(b""),
                trigger="",
                started_by="",
            ),
            ready("open"),
            assigned("open"),
        )

        async def wait() -> pb.WaitForEndResponse:
            request = pb.WaitForEndRequest(tenant=TENANT, run=run, wait_ms=20_000)
            return await service.stub.WaitForEnd(request)

        waiting = asyncio.create_task(wait())
        call = service.stub.Subscribe(pb.SubscribeRequest(tenant=TENANT, run=run))
        kinds: list[str] = []
        async for message in call:
            kinds += [json.loads(event)["kind"] for event in message.events]
            if len(kinds) == 3:
                done = ev.StepSucceeded(step=StepKey("open"), attempt=1)
                await service.writer.turn(run, done, ev.RunSucceeded(output=Stored(b"")))
            if message.ended:
                break
        assert kinds[2:] == ["StepAssigned", "StepSucceeded", "RunSucceeded"]
        ended = await waiting
        assert ended.ended
        assert json.loads(ended.run)["status"] == "succeeded"


async def test_an_export_verifies_replays_and_opens_offline(database: str, tmp_path: Path) -> None:
    async with served(database, tmp_path) as service:
        run = run_of(1)
        await service.write_run(run)
        await service.write_run(run_of(2))
        # A run that is known already may be shown without its newest event.
        await service.stub.WaitForEnd(pb.WaitForEndRequest(tenant=TENANT, run=run, wait_ms=20_000))
        lines = await export_of(service, run)
    header, turns, blobs = verify(lines)
    assert header.plan is not None and header.plan["hash"] == service.plan
    stored = [
        StoredTurn(
            turn.offset,
            turn.time_ms,
            turn.sequence,
            turn.chain,
            decode_body(turn.body).run_events,
        )
        for turn in turns
    ]
    state = replay(run, TENANT, stored)
    assert (state.sequence, state.chain) == (header.sequence, header.chain)
    secret = state.steps[StepKey("hidden")].output
    assert opened(header.keys[key_id_of(secret)], run, secret) == json.dumps(SECRET_TEXT).encode()
    reference = state.steps[StepKey("open")].output
    named = json.loads(opened(header.keys[key_id_of(reference)], run, reference))
    [blob] = blobs
    assert blob.blob == named["blob"]
    assert len(header.keys) == 1
    tenant_key = service.vault.secret_of(key_id_of(secret))
    assert tenant_key not in header.keys.values()
    assert header.keys[key_id_of(secret)] == hmac.digest(tenant_key, run.encode(), "sha256")


def opened(key: bytes, owner: str, stored: Stored) -> bytes:
    """As an auditor would, with nothing but the export."""
    header = stored[:HEADER_BYTES]
    associated = f"{TENANT}\0{owner}".encode() + header
    return AESGCM(key).decrypt(stored[HEADER_BYTES:BODY_AT], stored[BODY_AT:], associated)


@pytest.mark.parametrize(
    ("method", "request_", "status", "code"),
    [
        ("GetRun", pb.GetRunRequest(tenant=TENANT, run=run_of(9)), "NOT_FOUND", "HR-2003"),
        ("GetRun", pb.GetRunRequest(tenant="other", run=run_of(1)), "NOT_FOUND", "HR-2003"),
        (
            "StateAt",
            pb.StateAtRequest(tenant=TENANT, run=run_of(1), sequence=99),
            "INVALID_ARGUMENT",
            "HR-2005",
        ),
        (
            "ListRuns",
            pb.ListRunsRequest(tenant=TENANT, status="fine"),
            "INVALID_ARGUMENT",
            "HR-2005",
        ),
        (
            "ListEvents",
            pb.ListEventsRequest(tenant=TENANT, run=run_of(1), after_sequence=-1),
            "INVALID_ARGUMENT",
            "HR-2005",
        ),
    ],
)
async def test_a_wrong_question_is_refused_with_its_code(
    database: str, tmp_path: Path, method: str, request_: object, status: str, code: str
) -> None:
    async with served(database, tmp_path) as service:
        await service.write_run(run_of(1))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await getattr(service.stub, method)(request_)
        assert refused.value.code().name == status
        assert ("headrace-code", code) in list(refused.value.trailing_metadata())


async def test_streams_of_unknown_runs_are_refused(database: str, tmp_path: Path) -> None:
    async with served(database, tmp_path) as service:
        for call in (
            service.stub.Subscribe(pb.SubscribeRequest(tenant=TENANT, run=run_of(9))),
            service.stub.ExportRun(pb.ExportRunRequest(tenant=TENANT, run=run_of(9))),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                async for _ in call:
                    pass
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
