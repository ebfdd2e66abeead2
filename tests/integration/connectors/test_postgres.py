"""postgres.* against a real database of a customer."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace_runtime.postgres.pool import Session, open_connection
from tests.integration.connectors.conftest import ANSWER_BYTES_MAX, TENANT, Connectors, output_of
from tests.support.cutting_proxy import CuttingProxy, cutting_proxy
from tests.support.postgres import PostgresForTests

pytestmark = pytest.mark.postgres

QUERY, EXECUTE = "postgres.query", "postgres.execute"
INSERT = "insert into item (name) values ($1) returning id, name"


@pytest.fixture
def customer_dsn(postgres: PostgresForTests) -> Generator[str]:
    dsn = postgres.fresh_database()
    yield dsn
    postgres.drop(dsn)


@pytest.fixture
async def customer(customer_dsn: str) -> AsyncGenerator[Session]:
    session = await open_connection(customer_dsn, application_name="customer")
    await session.execute(
        "create table public.item (id integer generated always as identity, name text unique)"
    )
    yield session
    await session.close()


@pytest.fixture
async def db(connectors: Connectors, customer: Session, customer_dsn: str) -> Connectors:
    """Connectors whose tenant has the customer's database as connection `shop`."""
    await connect(connectors, "shop", customer_dsn)
    return connectors


async def connect(connectors: Connectors, name: str, dsn: str) -> None:
    parts = urlsplit(dsn)
    assert parts.hostname is not None and parts.port is not None
    await connectors.set_secret(name, dsn)
    await connectors.allow(parts.hostname, parts.port)


def asking(sql: str, *params: Any, **fields: Any) -> dict[str, Any]:
    return {"connection": "shop", "sql": sql, "params": list(params), **fields}


async def names(customer: Session) -> list[str]:
    return [row["name"] for row in await customer.fetch("select name from public.item order by id")]


async def test_a_query_gives_rows_as_json_values(db: Connectors) -> None:
    moment = datetime(2026, 11, 25, 12, tzinfo=UTC)
    sql = (
        "select $1::int4 as n, $2::numeric as price, $3::timestamptz as at, $4::jsonb as doc,"
        " $5::text[] as tags, $6::uuid as id, $7::bytea as raw, null as nothing, $8::bool as yes"
    )
    given = [
        7,
        "19.99",
        moment.isoformat(),
        {"a": [1]},
        ["x", "y"],
        "0e0cf4a8-6d9a-4b58-b3d1-f0a3b46a0d0b",
        "AAE=",
        True,
    ]
    output = output_of(await db.invoke(QUERY, asking(sql, *given)))
    assert output == {
        "rows": [
            {
                "n": 7,
                "price": 19.99,
                "at": moment.isoformat(),
                "doc": {"a": [1]},
                "tags": ["x", "y"],
                "id": "0e0cf4a8-6d9a-4b58-b3d1-f0a3b46a0d0b",
                "raw": "AAE=",
                "nothing": None,
                "yes": True,
            }
        ],
        "row_count": 1,
    }


async def test_a_query_cannot_write(db: Connectors, customer: Session) -> None:
    outcome = await db.invoke(QUERY, asking(INSERT, "x"))
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "postgres.25006")
    assert await names(customer) == []


async def test_max_rows_bounds_the_rows(db: Connectors) -> None:
    sql = "select g from generate_series(1, 100000) as g"
    output = output_of(await db.invoke(QUERY, asking(sql, max_rows=3)))
    assert (output["row_count"], [row["g"] for row in output["rows"]]) == (3, [1, 2, 3])
    outcome = await db.invoke(QUERY, asking(sql))
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "output.invalid")
    assert "max_rows" in outcome.error_message


async def test_rows_with_too_many_bytes_are_refused(db: Connectors) -> None:
    sql = "select repeat('x', 1000) as text from generate_series(1, $1::int)"
    outcome = await db.invoke(QUERY, asking(sql, ANSWER_BYTES_MAX // 1000 + 1))
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "output.invalid")


async def test_a_statement_changes_rows_and_says_how_many(
    db: Connectors, customer: Session
) -> None:
    messages = await db.messages(EXECUTE, asking(INSERT, "a"), idempotency_key="k1")
    assert [one.WhichOneof("message") for one in messages] == ["progress", "outcome"]
    assert output_of(messages[-1].outcome) == {"rows": [{"id": 1, "name": "a"}], "row_count": 1}
    update = "update item set name = name || '!' where id < $1"
    output = output_of(await db.invoke(EXECUTE, asking(update, 10), idempotency_key="k2"))
    assert output == {"rows": [], "row_count": 1}
    assert await names(customer) == ["a!"]


async def test_a_repeat_under_the_same_key_gets_the_same_answer_and_does_nothing(
    db: Connectors, customer: Session
) -> None:
    given = asking("insert into item (name) values ($1) returning id, clock_timestamp()", "a")
    first = output_of(await db.invoke(EXECUTE, given, idempotency_key="k"))
    again = output_of(await db.invoke(EXECUTE, given, idempotency_key="k"))
    assert again == first
    assert await names(customer) == ["a"]


async def test_repeats_at_the_same_time_act_once(db: Connectors, customer: Session) -> None:
    given = asking("insert into item (name) values (gen_random_uuid()::text) returning id, name")
    answers = await asyncio.gather(
        *(db.invoke(EXECUTE, given, idempotency_key="k") for _ in range(4))
    )
    assert len({output_of(one)["rows"][0]["name"] for one in answers}) == 1
    assert len(await names(customer)) == 1


async def test_a_key_stands_for_one_request(db: Connectors, customer: Session) -> None:
    output_of(await db.invoke(EXECUTE, asking(INSERT, "a"), idempotency_key="k"))
    outcome = await db.invoke(EXECUTE, asking(INSERT, "b"), idempotency_key="k")
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "input.invalid")
    assert await names(customer) == ["a"]


async def test_a_statement_that_fails_leaves_neither_effect_nor_key(
    db: Connectors, customer: Session
) -> None:
    await customer.execute("insert into public.item (name) values ('taken')")
    outcome = await db.invoke(EXECUTE, asking(INSERT, "taken"), idempotency_key="k")
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "postgres.23505")
    assert not outcome.may_have_acted
    await customer.execute("delete from public.item")
    output_of(await db.invoke(EXECUTE, asking(INSERT, "taken"), idempotency_key="k"))


@pytest.fixture
async def cut(
    connectors: Connectors, customer: Session, customer_dsn: str
) -> AsyncGenerator[CuttingProxy]:
    async with cutting_proxy(customer_dsn) as (through, proxy):
        await connect(connectors, "shop", through)
        yield proxy


async def test_a_commit_whose_answer_is_lost_may_be_repeated_under_its_key(
    connectors: Connectors, customer: Session, cut: CuttingProxy
) -> None:
    given = asking(INSERT, "a")
    # The commit waits in the server until its answer is sure to be lost.
    await customer.execute(
        "create function public.waits() returns trigger language plpgsql as"
        " $$ begin perform pg_advisory_xact_lock(7); return null; end $$;"
        "create constraint trigger late after insert on public.item"
        " deferrable initially deferred for each row execute function public.waits()"
    )
    words: list[tuple[int, bool]] = []
    for key in ("k", ""):
        request = pb.InvokeRequest(
            tenant=TENANT, action=EXECUTE, input=orjson.dumps(given), idempotency_key=key
        )
        await customer.execute("select pg_advisory_lock(7)")
        async for message in connectors.stub.Invoke(request, timeout=30):
            if message.WhichOneof("message") == "progress":
                cut.lose_next_answer()
                await customer.execute("select pg_advisory_unlock(7)")
            else:
                words.append((message.outcome.word, message.outcome.may_have_acted))
        given = asking(INSERT, "b")
    assert cut.cuts == 2
    assert words == [(pb.WORD_RETRY, True), (pb.WORD_UNKNOWN_OUTCOME, True)]
    again = output_of(await connectors.invoke(EXECUTE, asking(INSERT, "a"), idempotency_key="k"))
    assert again["rows"] == [{"id": 1, "name": "a"}]
    assert await names(customer) == ["a", "b"]


async def test_a_statement_that_takes_too_long_is_stopped_in_the_database(
    db: Connectors, customer: Session
) -> None:
    outcome = await db.invoke(EXECUTE, asking("select pg_sleep(60)"), timeout_ms=500)
    assert (outcome.word, outcome.error_type) == (pb.WORD_RETRY, "timeout.attempt")
    assert not outcome.may_have_acted
    running = "select count(*) from pg_stat_activity where state = 'active' and query like $1"
    assert await customer.fetchval(running, "select pg_sleep(60)%") == 0


async def test_what_a_statement_leaves_in_its_session_does_not_reach_the_next(
    db: Connectors,
) -> None:
    output_of(await db.invoke(EXECUTE, asking("create temporary table left_over (n int)")))
    output_of(await db.invoke(EXECUTE, asking("set work_mem = '123kB'")))
    sql = "select to_regclass('left_over')::text as t, current_setting('work_mem') as m"
    row = output_of(await db.invoke(QUERY, asking(sql)))["rows"][0]
    assert (row["t"], row["m"] == "123kB") == (None, False)


@pytest.mark.parametrize(
    ("sql", "params", "said"),
    [
        ("commit", [], "COMMIT is not run here"),
        ("/* x */ begin", [], "BEGIN is not run here"),
        ("select 1 as a, 2 as a", [], "two columns"),
        ("select $1::int as n", [], "takes 1 and 0 are given"),
        ("select $1::int as n", ["seven"], "$1 is of type int4"),
        ("select $1::int as n", [2**40], "$1 does not fit"),
        ("  -- nothing", [], "no statement"),
    ],
)
async def test_a_statement_that_cannot_be_is_refused(
    db: Connectors, sql: str, params: list[Any], said: str
) -> None:
    outcome = await db.invoke(QUERY, asking(sql, *params))
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "input.invalid")
    assert said in outcome.error_message


async def test_two_statements_in_one_text_are_refused(db: Connectors, customer: Session) -> None:
    outcome = await db.invoke(
        EXECUTE, asking("insert into item (name) values ('a'); commit; select 1")
    )
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "postgres.42601")
    assert await names(customer) == []


async def test_a_database_that_is_not_on_the_list_is_refused(
    connectors: Connectors, customer_dsn: str
) -> None:
    await connectors.set_secret("shop", customer_dsn)
    outcome = await connectors.invoke(QUERY, asking("select 1 as n"))
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "egress.refused")


async def test_a_database_that_was_taken_off_the_list_is_refused_though_connected(
    db: Connectors, customer_dsn: str
) -> None:
    output_of(await db.invoke(QUERY, asking("select 1 as n")))
    parts = urlsplit(customer_dsn)
    await db.deny(parts.hostname or "", parts.port or 0)
    assert (await db.invoke(QUERY, asking("select 1 as n"))).error_type == "egress.refused"


async def test_a_wrong_password_needs_somebody_to_set_another(
    db: Connectors, customer_dsn: str
) -> None:
    password = urlsplit(customer_dsn).password or ""
    await db.set_secret("shop", customer_dsn.replace(password, "not-the-password"))
    outcome = await db.invoke(QUERY, asking("select 1 as n"))
    assert (outcome.word, outcome.error_type) == (pb.WORD_AUTH_EXPIRED, "auth")
    assert "not-the-password" not in outcome.error_message
    # A new version of the secret counts from the next attempt on.
    await db.set_secret("shop", customer_dsn)
    output_of(await db.invoke(QUERY, asking("select 1 as n")))


async def test_a_password_comes_back_masked(db: Connectors, customer_dsn: str) -> None:
    password = urlsplit(customer_dsn).password or ""
    output = output_of(await db.invoke(QUERY, asking("select $1::text as said", password)))
    assert output["rows"] == [{"said": "***"}]


async def test_a_secret_that_holds_no_dsn_is_said_without_its_value(
    connectors: Connectors,
) -> None:
    await connectors.set_secret("shop", "mysql://root:hidden-word@db/x")
    outcome = await connectors.invoke(QUERY, asking("select 1 as n"))
    assert (outcome.word, outcome.error_type) == (pb.WORD_AUTH_EXPIRED, "auth")
    assert "postgresql://" in outcome.error_message
    assert "hidden-word" not in outcome.error_message


async def test_where_no_database_listens_nothing_was_done(
    connectors: Connectors, unused_tcp_port: int
) -> None:
    await connect(connectors, "shop", f"postgresql://u:p@127.0.0.1:{unused_tcp_port}/x")
    outcome = await connectors.invoke(EXECUTE, asking("select 1"), idempotency_key="k")
    assert (outcome.word, outcome.error_type) == (pb.WORD_RETRY, "network")
    assert not outcome.may_have_acted


async def test_a_connection_can_be_checked(db: Connectors) -> None:
    async def check(connection: str) -> pb.Outcome:
        request = pb.CheckRequest(tenant=TENANT, connection=connection)
        return (await db.stub.Check(request)).outcome

    assert (await check("shop")).word == pb.WORD_SUCCESS
    assert (await check("other")).word == pb.WORD_AUTH_EXPIRED


async def test_a_login_that_may_create_no_table_is_told_what_is_missing(
    db: Connectors, customer: Session, customer_dsn: str
) -> None:
    await customer.execute(
        "drop role if exists shop_writer; create role shop_writer login password 'writer-password'"
    )
    await customer.execute("grant insert, select on public.item to shop_writer")
    parts = urlsplit(customer_dsn)
    await db.set_secret(
        "shop",
        f"postgresql://shop_writer:writer-password@{parts.netloc.rpartition('@')[2]}{parts.path}",
    )
    outcome = await db.invoke(EXECUTE, asking(INSERT, "a"), idempotency_key="k")
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "postgres.42501")
    assert "headrace_idempotency" in outcome.error_message
    output_of(await db.invoke(EXECUTE, asking(INSERT, "a")))
    await customer.execute("drop owned by shop_writer; drop role shop_writer")
