"""API keys on a real PostgreSQL: what proves one, and what does not."""

import os
from collections.abc import AsyncIterator

import pytest

from headrace_api_gateway.domain.authorisation import PERMISSIONS, Permission
from headrace_core.errors import NotFound, Unauthenticated
from headrace_core.ids import TenantId
from headrace_runtime.api_keys import SERVING_ROLES, ApiKey, ApiKeys, new_key, proven_key
from headrace_runtime.definitions import SCHEMA, migrations
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Pool, Session, open_pool
from headrace_runtime.tenants import Tenants
from tests.support.postgres import PostgresForTests

pytestmark = pytest.mark.postgres
ACME, OTHER = TenantId("acme"), TenantId("other")


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


async def add(pool: Pool, role: str = "worker") -> ApiKey:
    key = new_key(os.urandom(44))
    await ApiKeys(pool).add(key.id, ACME, key.secret_hash, "ci", role)
    return key


async def test_a_key_proves_its_tenant_and_its_secret_is_not_stored(pool: Pool) -> None:
    key = await add(pool)
    stored = await proven_key(ApiKeys(pool), key.text)
    assert (stored.tenant, stored.role, stored.name, stored.revoked) == (
        ACME,
        "worker",
        "ci",
        False,
    )
    kept = await pool.fetchval("select secret_sha256 from headrace_control.api_key")
    assert key.secret.encode() not in kept


@pytest.mark.parametrize(
    "text",
    ["", "hr", "hr_live__", "Bearer x", "hr_live_a_b_c", "hr_internal_00", "hr_live_ab_é_!"],
)
async def test_what_is_no_key_proves_nothing(pool: Pool, text: str) -> None:
    with pytest.raises(Unauthenticated, match="not complete"):
        await proven_key(ApiKeys(pool), text)


async def test_another_secret_of_a_known_id_proves_nothing(pool: Pool) -> None:
    key = await add(pool)
    forged = ApiKey(key.id, new_key(os.urandom(44)).secret)
    with pytest.raises(Unauthenticated, match="no API key"):
        await proven_key(ApiKeys(pool), forged.text)


async def test_a_revoked_key_proves_nothing_and_only_its_tenant_revokes_it(pool: Pool) -> None:
    keys, key = ApiKeys(pool), await add(pool)
    with pytest.raises(NotFound):
        await keys.revoke(OTHER, key.id)
    assert (await proven_key(keys, key.text)).id == key.id
    for _ in range(2):
        await keys.revoke(ACME, key.id)
    with pytest.raises(Unauthenticated, match="revoked"):
        await proven_key(keys, key.text)


async def test_a_key_of_an_unknown_tenant_is_not_added(pool: Pool) -> None:
    with pytest.raises(NotFound):
        await ApiKeys(pool).add("0" * 12, TenantId("nobody"), b"h" * 32, "ci", "worker")


def test_roles_that_open_a_workers_stream_are_those_that_may_serve_tasks() -> None:
    may_serve = {role for role, has in PERMISSIONS.items() if Permission.TASKS_SERVE in has}
    assert may_serve == SERVING_ROLES
