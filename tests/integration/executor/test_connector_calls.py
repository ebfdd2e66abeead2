"""Steps that call connectors: real rows in PostgreSQL, a real gRPC service that behaves as each
test wants, and what the attempt says in the end."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace_core.payload import Stored
from headrace_core.workflow.plan import PlanStep
from headrace_core.workflow.plan_parts import Action, Effect, Idempotency, UsesKind
from headrace_core.workflow.template import parse_template
from headrace_executor.adapters.catalogue import PayloadVaults, VaultSecrets
from headrace_executor.adapters.connectors import ConnectorClient
from headrace_executor.app.effects import Effects, Timing
from headrace_executor.app.prepared import Kinds
from headrace_executor.app.steps.connector import ConnectorOperation
from headrace_executor.app.worker import Running, Worker
from headrace_runtime import tenant_secrets
from headrace_runtime.address import Address
from headrace_runtime.delivery import effects
from headrace_runtime.delivery.effect_rules import Row, RowStatus
from headrace_runtime.delivery.effects import EffectKey, PostgresEffects
from headrace_runtime.keys import load_root_key
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Pool, Session, open_pool
from headrace_runtime.rpc.channel import open_channel
from headrace_runtime.sealing import Keyring, TenantVault
from headrace_runtime.tenant_secrets import TenantSecrets
from headrace_worker.messages import Outcome, Result, Task
from tests.support.attempts import PlansAtHand, attempt, task
from tests.support.connector_peer import (
    ACTING,
    ConnectorPeer,
    aborts,
    after,
    connector_peer,
    hangs,
    outcome,
    says,
    success,
)
from tests.support.postgres import PostgresForTests
from tests.support.run_harness import plan_of, step
from tests.support.tenant_keys import ACME, RUN, keyring, two_tenants

pytestmark = pytest.mark.postgres
POST = Action(
    UsesKind.ACTION, "http.post", "http.post@1", "1.0.0#ab", Effect.WRITE, Idempotency.HEADER
)
ONCE = Action(UsesKind.ACTION, "http.once", "http.once@1", "", Effect.DESTRUCTIVE)
GET = Action(UsesKind.ACTION, "http.get", "http.get@1", "1.0.0#cd", Effect.READ)
EXECUTE = Action(
    UsesKind.ACTION, "postgres.execute", "postgres.execute@1", "", Effect.WRITE, Idempotency.NATURAL
)
TOKEN = "token-4711-of-acme"
TIMING = Timing(lease_ms=400, renew_s=0.1, cancel_grace_s=0.2, look_first_s=0.01, look_max_s=0.05)
AWAY_S = 0.6


def calls(name: str, uses: Action, arguments: Any) -> PlanStep:
    return step(name, uses=uses, arguments=parse_template(arguments))


PLAN = plan_of(
    calls("post", POST, {"url": "https://shop.example/orders", "body": {"n": 1}}),
    calls("once", ONCE, {}),
    calls("get", GET, {"url": "https://shop.example/orders"}),
    calls("big", POST, {"url": "https://shop.example/", "body": "x" * (16 << 20)}),
    calls("rows", EXECUTE, {"connection": "${{ secrets.shop_db }}", "sql": "delete from t"}),
)


async def _prepare(session: Session) -> None:
    await migrate(session, effects.SCHEMA, effects.migrations())
    await migrate(session, tenant_secrets.SCHEMA, tenant_secrets.migrations())


@dataclass(slots=True)
class Desk:
    """An executor's worker with everything real but the far side of connectors."""

    worker: Worker
    rows: PostgresEffects
    secrets: TenantSecrets
    vault: TenantVault
    channel: grpc.aio.Channel

    async def run(self, name: str, number: int = 1, timeout_ms: int = 0) -> Result:
        return await self.worker.run(running(name, number, timeout_ms))

    async def row(self, name: str) -> Row | None:
        return await self.rows.read(EffectKey.of(ACME, RUN, attempt(name).step))

    async def status(self, name: str) -> RowStatus | None:
        row = await self.row(name)
        return row.status if row is not None else None

    def opened(self, stored: Stored) -> bytes:
        return bytes(self.vault.open(RUN, stored))


def running(name: str, number: int = 1, timeout_ms: int = 0) -> Running:
    given: Task = task(attempt(name, number), PLAN, timeout_ms=timeout_ms)
    return Running.of(given)


def desk_on(pool: Pool, ring: Keyring, home: Path, vault: TenantVault, address: str) -> Desk:
    channel = open_channel(Address.parse(address))
    connector = ConnectorOperation(ConnectorClient(channel, AWAY_S))
    secrets = TenantSecrets(pool, load_root_key(home / "root.key", create=True))
    rows, acceptances = PostgresEffects(pool), itertools.count(1)
    worker = Worker(
        PlansAtHand(PLAN),
        PayloadVaults(ring),
        VaultSecrets(secrets),
        Effects(rows, lambda: f"exec-1/{next(acceptances)}", TIMING),
        Kinds({}, {"http": connector, "postgres": connector}),
    )
    return Desk(worker, rows, secrets, vault, channel)


@pytest.fixture
async def peer() -> AsyncIterator[ConnectorPeer]:
    async with connector_peer() as found:
        yield found


@pytest.fixture
async def desk(
    postgres: PostgresForTests, tmp_path: Path, peer: ConnectorPeer
) -> AsyncIterator[Desk]:
    dsn = postgres.fresh_database(postgres.template("connector-calls", _prepare))
    pool = await open_pool(dsn, application_name="tests")
    ring = keyring(two_tenants(), tmp_path)
    made = desk_on(pool, ring, tmp_path, await ring.ready(ACME), peer.address)
    yield made
    await made.channel.close()
    pool.terminate()
    postgres.drop(dsn)


async def test_one_invocation_carries_all_that_an_attempt_is(
    desk: Desk, peer: ConnectorPeer
) -> None:
    result = await desk.run("post", timeout_ms=30_000)
    assert result.outcome is Outcome.SUCCEEDED and result.error is None
    assert desk.opened(result.output) == b'{"status":200}'
    (call,) = peer.calls
    request = call.request
    assert (request.tenant, request.run, request.step) == (ACME, RUN, "post")
    assert (request.action, request.lock) == ("http.post", "1.0.0#ab")
    assert request.input == b'{"url":"https://shop.example/orders","body":{"n":1}}'
    assert request.idempotency_key == f"{RUN}/post/0/do"
    assert 25_000 < request.timeout_ms < 30_000, "its own word comes before ours"
    row = await desk.row("post")
    assert row is not None and row.status is RowStatus.DONE and row.result == result.output


async def test_a_read_has_neither_row_nor_key(desk: Desk, peer: ConnectorPeer) -> None:
    result = await desk.run("get")
    assert result.outcome is Outcome.SUCCEEDED
    assert peer.calls[0].request.idempotency_key == ""
    assert peer.calls[0].request.timeout_ms == 0
    assert await desk.row("get") is None


CLAIMED, DONE, FAILED = RowStatus.CLAIMED, RowStatus.DONE, RowStatus.FAILED_BEFORE_EFFECT
WORDS = [
    (pb.WORD_SUCCESS, False, Outcome.SUCCEEDED, DONE),
    (pb.WORD_RETRY, False, Outcome.FAILED, FAILED),
    (pb.WORD_RETRY, True, Outcome.AMBIGUOUS, CLAIMED),
    (pb.WORD_RATE_LIMITED, False, Outcome.FAILED, FAILED),
    (pb.WORD_AUTH_EXPIRED, False, Outcome.FAILED, FAILED),
    (pb.WORD_PERMANENT, False, Outcome.FAILED, FAILED),
    (pb.WORD_UNKNOWN_OUTCOME, True, Outcome.UNKNOWN, CLAIMED),
    (pb.WORD_CANCELLED, True, Outcome.AMBIGUOUS, CLAIMED),
    (pb.WORD_UNSPECIFIED, False, Outcome.AMBIGUOUS, CLAIMED),
]


@pytest.mark.parametrize(("word", "acted", "expected", "status"), WORDS)
async def test_each_word_ends_the_attempt_and_its_row(
    desk: Desk,
    peer: ConnectorPeer,
    word: "pb.Word.ValueType",
    acted: bool,
    expected: Outcome,
    status: RowStatus,
) -> None:
    error = "" if word == pb.WORD_SUCCESS else "http.503"
    ends = outcome(
        word, error_type=error, error_message="busy", retry_after_ms=1_500, may_have_acted=acted
    )
    peer.script = [says(ACTING, ends)]
    result = await desk.run("post")
    assert result.outcome is expected
    assert await desk.status("post") is status
    if error and word != pb.WORD_UNSPECIFIED:
        assert result.error is not None and result.error.type == error
        assert desk.opened(result.error.message) == b'"busy"'
        assert result.retry_after_ms == 1_500


async def test_what_happened_is_not_asked_for_again(desk: Desk, peer: ConnectorPeer) -> None:
    first = await desk.run("post")
    second = await desk.run("post", 2)
    assert second.outcome is Outcome.SUCCEEDED
    assert second.output == first.output and len(peer.calls) == 1


async def test_a_stream_that_ends_without_an_outcome_may_have_acted(
    desk: Desk, peer: ConnectorPeer
) -> None:
    peer.script = [says(ACTING), says(), says(ACTING, success(None))]
    for number in (1, 2):
        silent = await desk.run("post", number)
        assert silent.outcome is Outcome.AMBIGUOUS and silent.error is not None
        assert silent.error.type == "connectors.lost"
    assert (await desk.run("post", 3)).outcome is Outcome.SUCCEEDED
    assert len({call.request.idempotency_key for call in peer.calls}) == 1
    peer.script = [says(ACTING)]
    assert (await desk.run("once")).outcome is Outcome.UNKNOWN
    lost = await desk.run("get")
    assert lost.outcome is Outcome.FAILED and lost.error is not None
    assert lost.error.type == "connectors.lost", "a read may be repeated"


async def test_a_service_that_is_killed_in_mid_call_leaves_the_outcome_open(
    desk: Desk, peer: ConnectorPeer
) -> None:
    peer.script = [hangs]
    asked = asyncio.create_task(desk.run("post"))
    await peer.called(1)
    await peer.stop()
    result = await asked
    assert result.outcome is Outcome.AMBIGUOUS and result.error is not None
    assert result.error.type == "connectors.lost"
    assert await desk.status("post") is CLAIMED


async def test_a_service_that_is_away_did_nothing_and_the_attempt_may_be_repeated(
    desk: Desk, peer: ConnectorPeer
) -> None:
    await peer.stop()
    for name in ("post", "once", "get"):
        result = await desk.run(name)
        assert result.outcome is Outcome.FAILED and result.error is not None
        assert result.error.type == "connectors.away"
    assert await desk.status("post") is FAILED and await desk.status("once") is FAILED


async def test_a_service_that_is_started_again_meanwhile_is_waited_for(
    desk: Desk, peer: ConnectorPeer
) -> None:
    await peer.stop()
    asked = asyncio.create_task(desk.run("post"))
    await peer.start()
    assert (await asked).outcome is Outcome.SUCCEEDED


async def test_a_service_that_stops_hands_the_call_to_its_successor(
    desk: Desk, peer: ConnectorPeer
) -> None:
    stops = outcome(pb.WORD_CANCELLED, error_type="cancelled", error_message="The service stops.")
    peer.script = [says(stops), says(ACTING, success(1))]
    result = await desk.run("once")
    assert result.outcome is Outcome.SUCCEEDED and len(peer.calls) == 2
    peer.script = [says(stops)]
    given_back = await desk.run("post")
    assert given_back.outcome is Outcome.CANCELLED
    assert await desk.status("post") is FAILED


async def test_a_refusal_before_acting_is_one_and_after_it_is_not(
    desk: Desk, peer: ConnectorPeer
) -> None:
    peer.script = [aborts(grpc.StatusCode.INVALID_ARGUMENT)]
    refused = await desk.run("post")
    assert refused.outcome is Outcome.FAILED and refused.error is not None
    assert refused.error.type == "connectors.error"
    peer.script = [aborts(grpc.StatusCode.INVALID_ARGUMENT, acting=True)]
    assert (await desk.run("post", 2)).outcome is Outcome.AMBIGUOUS
    peer.script = [aborts(grpc.StatusCode.INTERNAL)]
    assert (await desk.run("once")).outcome is Outcome.UNKNOWN


async def test_an_output_that_is_not_json_does_not_pass_for_a_failure(
    desk: Desk, peer: ConnectorPeer
) -> None:
    peer.script = [says(ACTING, outcome(pb.WORD_SUCCESS, output=b"{broken"))]
    assert (await desk.run("post")).outcome is Outcome.AMBIGUOUS


async def test_a_call_that_takes_too_long_is_given_up_and_repeated_under_its_key(
    desk: Desk, peer: ConnectorPeer
) -> None:
    peer.script = [hangs, says(ACTING, success("late"))]
    late = await desk.run("post", timeout_ms=150)
    assert late.outcome is Outcome.AMBIGUOUS and late.error is not None
    assert late.error.type == "timeout.attempt"
    await peer.until(lambda: peer.calls[0].given_up)
    again = await desk.run("post", 2)
    assert again.outcome is Outcome.SUCCEEDED
    keys = {call.request.idempotency_key for call in peer.calls}
    assert len(peer.calls) == 2 and len(keys) == 1


async def test_a_time_that_is_up_before_the_call_left_had_no_effect(
    desk: Desk, peer: ConnectorPeer
) -> None:
    await peer.stop()
    result = await desk.run("once", timeout_ms=150)
    assert result.outcome is Outcome.FAILED and result.error is not None
    assert result.error.type == "timeout.attempt"
    assert await desk.status("once") is FAILED


async def test_a_cancellation_reaches_the_call_after_its_grace(
    desk: Desk, peer: ConnectorPeer
) -> None:
    peer.script = [hangs]
    at_once, keyed = running("get"), running("post")
    words = [asyncio.create_task(desk.worker.run(one)) for one in (at_once, keyed)]
    await peer.called(2)
    for one in (at_once, keyed):
        one.limits.cancel()
    read, changed = [await word for word in words]
    assert (read.outcome, changed.outcome) == (Outcome.CANCELLED, Outcome.AMBIGUOUS)
    await peer.until(lambda: all(call.given_up for call in peer.calls))


async def test_a_cancelled_call_that_ends_in_its_grace_says_how(
    desk: Desk, peer: ConnectorPeer
) -> None:
    event = asyncio.Event()
    peer.script = [after(event.wait(), success("in time"))]
    one = running("post")
    asked = asyncio.create_task(desk.worker.run(one))
    await peer.called(1)
    one.limits.cancel()
    event.set()
    assert (await asked).outcome is Outcome.SUCCEEDED
    assert await desk.status("post") is DONE


async def test_a_process_that_dies_in_mid_call_leaves_a_claim_that_lapses(
    desk: Desk, peer: ConnectorPeer
) -> None:
    """Killed is a task that hears nothing any more; its rows stay as they are."""
    peer.script = [hangs, hangs, says(ACTING, success("again"))]
    dying = [asyncio.create_task(desk.run(name)) for name in ("post", "once")]
    await peer.called(2)
    # Longer than a lease: it is renewed while the call runs.
    others = [asyncio.create_task(desk.run(name, 2, 900)) for name in ("post", "once")]
    waited = [await other for other in others]
    assert [word.outcome for word in waited] == [Outcome.AMBIGUOUS, Outcome.UNKNOWN]
    assert len(peer.calls) == 2, "a live claim is waited for"
    for task_ in dying:
        task_.cancel()
    await asyncio.gather(*dying, return_exceptions=True)
    again = await desk.run("post", 3)
    assert again.outcome is Outcome.SUCCEEDED
    assert peer.calls[2].request.idempotency_key == f"{RUN}/post/0/do"
    unknown = await desk.run("once", 3)
    assert unknown.outcome is Outcome.UNKNOWN and len(peer.calls) == 3


async def test_a_secret_is_in_the_call_alone(desk: Desk, peer: ConnectorPeer) -> None:
    dsn = f"postgres://shop:{TOKEN}@db.example/shop"
    await desk.secrets.set(ACME, "shop_db", dsn.encode())
    peer.script = [says(ACTING, success({"echo": dsn, "rows": []}))]
    result = await desk.run("rows")
    (call,) = peer.calls
    assert dsn.encode() in call.request.input
    assert list(call.request.secret_names) == ["shop_db"]
    stored = desk.opened(result.output)
    assert stored == b'{"echo":"***","rows":[]}'
    row = await desk.row("rows")
    assert row is not None and row.result == result.output


async def test_a_secret_is_the_newest_at_each_call(desk: Desk, peer: ConnectorPeer) -> None:
    missing = await desk.run("rows")
    assert missing.outcome is Outcome.FAILED and missing.error is not None
    assert b"shop_db" in desk.opened(missing.error.message)
    await desk.secrets.set(ACME, "shop_db", b"first-value")
    peer.script = [says(outcome(pb.WORD_AUTH_EXPIRED, error_type="auth")), says(success(1))]
    await desk.run("rows", 2)
    await desk.secrets.set(ACME, "shop_db", b"second-value")
    await desk.run("rows", 3)
    assert [b"first-value" in call.request.input for call in peer.calls] == [True, False]
    assert b"second-value" in peer.calls[1].request.input


async def test_an_input_beyond_what_a_message_takes_is_refused_here(
    desk: Desk, peer: ConnectorPeer
) -> None:
    result = await desk.run("big")
    assert result.outcome is Outcome.FAILED and result.error is not None
    assert result.error.type == "input.invalid" and not peer.calls
    assert await desk.status("big") is FAILED
