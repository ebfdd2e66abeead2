"""Versions, labels, plans and tenants on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from headrace_core.errors import InvalidInput, NotFound, SetupError
from headrace_core.ids import PlanHash, TenantId
from headrace_core.workflow.plan import Plan
from headrace_runtime.definitions import SCHEMA, Definitions, Publishing, Version, migrations
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Pool, Session, open_pool
from headrace_runtime.tenants import Tenants
from tests.support.postgres import PostgresForTests

pytestmark = pytest.mark.postgres
ACME, OTHER = TenantId("acme"), TenantId("other")


def plan(number: int = 1, flow: str = "orders") -> Plan:
    return Plan(
        hash=PlanHash(f"{number:064x}"),
        flow=flow,
        steps={},
        order=(),
        entry=(),
        successors={},
        lock={"http.get@1": "1.0.0"},
    )


async def prepare(session: Session) -> None:
    await migrate(session, SCHEMA, migrations())


@pytest.fixture
async def pool(postgres: PostgresForTests) -> AsyncIterator[Pool]:
    dsn = postgres.fresh_database(postgres.template("control", prepare))
    pool = await open_pool(dsn, application_name="tests")
    for tenant in (ACME, OTHER):
        await Tenants(pool).add(tenant)
    yield pool
    await pool.close()
    postgres.drop(dsn)


async def test_a_published_plan_comes_back_and_is_read_once(pool: Pool) -> None:
    definitions = Definitions(pool)
    published = await Publishing(pool).publish(ACME, plan(), "name: orders")
    assert published.version == Version(1, plan().hash)
    assert published.is_new
    assert definitions.get_cached(ACME, plan().hash) is None
    loaded = await asyncio.gather(*(definitions.plan(ACME, plan().hash) for _ in range(5)))
    assert loaded[0] == plan()
    assert all(each is loaded[0] for each in loaded)
    assert definitions.get_cached(ACME, plan().hash) is loaded[0]


async def test_versions_of_a_flow_are_numbered_without_a_hole(pool: Pool) -> None:
    publishing = Publishing(pool)
    publications = await asyncio.gather(
        *(publishing.publish(ACME, plan(number), "…") for number in range(1, 9))
    )
    assert sorted(made.version.number for made in publications) == list(range(1, 9))
    other_flow = await publishing.publish(ACME, plan(99, flow="invoices"), "…")
    assert other_flow.version.number == 1


async def test_the_same_definition_is_the_same_version(pool: Pool) -> None:
    publishing = Publishing(pool)
    await publishing.publish(ACME, plan(1), "first")
    await publishing.publish(ACME, plan(2), "second")
    again = await publishing.publish(ACME, plan(1), "first, once more")
    assert (again.version.number, again.is_new) == (1, False)
    assert await Definitions(pool).source(ACME, "orders", 1) == "first"


async def test_tenants_do_not_see_each_others_flows(pool: Pool) -> None:
    await Publishing(pool).publish(ACME, plan(), "…")
    definitions = Definitions(pool)
    with pytest.raises(NotFound, match="'other' has no published flow version"):
        await definitions.plan(OTHER, plan().hash)
    with pytest.raises(NotFound):
        await definitions.resolve(OTHER, "orders", 1)
    assert await definitions.versions(OTHER) == []
    assert (await Publishing(pool).publish(OTHER, plan(), "…")).version.number == 1


async def test_a_label_says_what_it_was_moved_to_last(pool: Pool) -> None:
    publishing, definitions = Publishing(pool), Definitions(pool)
    for number in (1, 2):
        await publishing.publish(ACME, plan(number), "…")
    await publishing.move_label(ACME, "orders", "stable", 1)
    assert await definitions.resolve(ACME, "orders", "stable") == Version(1, plan(1).hash)
    await publishing.move_label(ACME, "orders", "stable", 2)
    await publishing.move_label(ACME, "orders", "draft", 2)
    assert await definitions.resolve(ACME, "orders", "stable") == Version(2, plan(2).hash)
    listed = await definitions.versions(ACME, "orders")
    assert [(each.number, each.labels) for each in listed] == [(1, ()), (2, ("draft", "stable"))]


async def test_a_kept_label_moves_at_once_for_the_process_that_moved_it(pool: Pool) -> None:
    publishing = Publishing(pool)
    definitions = Definitions(pool, labels_kept_ms=3_600_000)
    for number in (1, 2):
        await publishing.publish(ACME, plan(number), "…")
    await publishing.move_label(ACME, "orders", "stable", 1)
    assert (await definitions.resolve(ACME, "orders", "stable")).number == 1
    await publishing.move_label(ACME, "orders", "stable", 2)
    definitions.forget_labels()
    assert (await definitions.resolve(ACME, "orders", "stable")).number == 2


@pytest.mark.parametrize("wanted", [2, "2"])
async def test_a_version_is_named_by_its_number(pool: Pool, wanted: str | int) -> None:
    for number in (1, 2):
        await Publishing(pool).publish(ACME, plan(number), "…")
    assert await Definitions(pool).resolve(ACME, "orders", wanted) == Version(2, plan(2).hash)


async def test_what_is_not_there_is_not_found_by_name(pool: Pool) -> None:
    definitions, publishing = Definitions(pool), Publishing(pool)
    with pytest.raises(NotFound, match="'orders' has no version 7"):
        await definitions.resolve(ACME, "orders", "7")
    with pytest.raises(NotFound, match="'orders' has no label 'stable'"):
        await definitions.resolve(ACME, "orders", "stable")
    with pytest.raises(NotFound, match="'orders' has no version 7"):
        await publishing.move_label(ACME, "orders", "stable", 7)
    with pytest.raises(NotFound, match="no tenant 'nobody'"):
        await publishing.publish(TenantId("nobody"), plan(), "…")
    with pytest.raises(NotFound):
        await definitions.source(ACME, "orders", 1)


async def test_the_number_of_a_plan_is_found_by_its_hash(pool: Pool) -> None:
    definitions = Definitions(pool)
    for number in (1, 2):
        await Publishing(pool).publish(ACME, plan(number), "…")
    assert await definitions.number_of(ACME, plan(2).hash) == 2
    with pytest.raises(NotFound):
        await definitions.number_of(OTHER, plan(2).hash)


async def test_a_plan_of_a_newer_release_is_refused_with_what_to_do(pool: Pool) -> None:
    await Publishing(pool).publish(ACME, plan(), "…")
    await pool.execute("update headrace_control.flow_version set plan = '{\"hash\": 1}'")
    with pytest.raises(SetupError, match="Upgrade this service first"):
        await Definitions(pool).plan(ACME, plan().hash)


async def test_plans_beyond_the_bound_are_read_again(pool: Pool) -> None:
    definitions = Definitions(pool, plans_max=1)
    for number in (1, 2):
        await Publishing(pool).publish(ACME, plan(number), "…")
        await definitions.plan(ACME, plan(number).hash)
    assert definitions.get_cached(ACME, plan(1).hash) is None
    assert await definitions.plan(ACME, plan(1).hash) == replace(plan(1))


async def test_a_tenant_is_added_once_with_an_opaque_schema_name(pool: Pool) -> None:
    tenants = Tenants(pool)
    first = await tenants.get(ACME)
    assert await tenants.add(ACME, weight=5) == first
    assert "acme" not in first.schema_name
    await tenants.set_weight(ACME, 5)
    assert [(each.id, each.weight) for each in await tenants.all()] == [(ACME, 5), (OTHER, 1)]
    with pytest.raises(NotFound):
        await tenants.set_weight(TenantId("nobody"), 2)


@pytest.mark.parametrize("tenant", ["", "Acme", "1st", "a b", "../x", "a" * 40, "a_b", "acmé"])
async def test_what_is_no_tenant_id_is_refused(pool: Pool, tenant: str) -> None:
    with pytest.raises(InvalidInput, match="not a tenant id"):
        await Tenants(pool).add(TenantId(tenant))
