"""Data keys in their schema: made once a month, wrapped, erased for good."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asyncpg import InsufficientPrivilegeError

from headrace_core.errors import KeyErased, SetupError
from headrace_core.ids import TenantId
from headrace_core.payload import key_id_of
from headrace_runtime.blobs import LocalBlobs
from headrace_runtime.keys import SCHEMA, DataKeys, RootKey, load_root_key, migrations
from headrace_runtime.postgres.migrate import migrate
from headrace_runtime.postgres.pool import Pool, Session, open_pool
from headrace_runtime.sealing import Keyring
from tests.support.postgres import PostgresForTests
from tests.support.tenant_keys import ACME, DECEMBER_MS, NOVEMBER_MS, OTHER, RUN, MovableClock

pytestmark = pytest.mark.postgres
JSON = b'{"customer":"Anna"}'
ROOT = RootKey(bytes(range(32)))


async def prepare(session: Session) -> None:
    await migrate(session, SCHEMA, migrations())


@pytest.fixture
async def pool(postgres: PostgresForTests) -> AsyncIterator[Pool]:
    dsn = postgres.fresh_database(postgres.template("keys", prepare))
    pool = await open_pool(dsn, application_name="tests")
    yield pool
    await pool.close()
    postgres.drop(dsn)


async def test_a_tenant_gets_a_key_for_this_month_and_the_next(pool: Pool) -> None:
    keys = DataKeys(pool, ROOT)
    first = await keys.ensure(ACME, NOVEMBER_MS)
    assert await keys.ensure(ACME, NOVEMBER_MS) == first
    found = await keys.of_tenants([ACME])
    assert [(key.id, key.month) for key in found] == [(first, "2025-11"), (first + 1, "2025-12")]
    assert len({key.secret for key in found}) == 2
    assert await keys.ensure(ACME, DECEMBER_MS) == first + 1


async def test_two_gateways_that_make_a_key_at_once_make_one(pool: Pool) -> None:
    keys = DataKeys(pool, ROOT)
    made = await asyncio.gather(*(keys.ensure(ACME, NOVEMBER_MS) for _ in range(8)))
    assert len(set(made)) == 1
    assert len(await keys.of_tenants([ACME])) == 2


async def test_the_table_holds_no_key_in_clear(pool: Pool) -> None:
    keys = DataKeys(pool, ROOT)
    await keys.ensure(ACME, NOVEMBER_MS)
    secrets = [key.secret for key in await keys.of_tenants([ACME])]
    for row in await pool.fetch("select wrapped from headrace_keys.data_key"):
        assert not any(secret and secret in row["wrapped"] for secret in secrets)


async def test_a_keyring_of_another_process_opens_what_this_one_sealed(
    pool: Pool, tmp_path: Path
) -> None:
    await DataKeys(pool, load_root_key(tmp_path / "root.key", create=True)).ensure(
        ACME, NOVEMBER_MS
    )
    rings = [
        Keyring(
            DataKeys(pool, load_root_key(tmp_path / "root.key")),
            LocalBlobs(tmp_path / "blobs"),
            MovableClock(),
        )
        for _ in range(2)
    ]
    writer, reader = [await ring.ready(ACME) for ring in rings]
    small, large = writer.seal(RUN, JSON), writer.seal(RUN, b'"' + b"x" * 100_000 + b'"')
    await rings[0].store_pending_blobs()
    assert reader.open(RUN, small) == JSON
    assert await reader.fetch(RUN, large) == writer.open(RUN, large)


async def test_an_erased_month_is_gone_and_the_others_stay(pool: Pool, tmp_path: Path) -> None:
    keys = DataKeys(pool, ROOT)
    november = await keys.ensure(ACME, NOVEMBER_MS)
    await keys.ensure(OTHER, NOVEMBER_MS)
    ring = Keyring(keys, LocalBlobs(tmp_path), MovableClock())
    vault, other = await ring.ready(ACME), await ring.ready(OTHER)
    stored, others = vault.seal(RUN, JSON), other.seal(RUN, JSON)
    assert await keys.erase(ACME, "2025-01", "2025-11") == [november]
    await ring.refresh()
    with pytest.raises(KeyErased):
        vault.open(RUN, stored)
    assert other.open(RUN, others) == JSON
    assert await pool.fetchval("select count(*) from headrace_keys.data_key") == 4
    # Sealing goes on with the key that is left, and a new one for the month can be made.
    assert key_id_of(vault.seal(RUN, JSON)) == november + 1
    again = await keys.ensure(ACME, NOVEMBER_MS)
    assert again not in {november, november + 1}
    await ring.refresh()
    assert key_id_of(vault.seal(RUN, JSON)) == again


async def test_a_key_of_another_root_stops_the_service_with_a_reason(
    pool: Pool, tmp_path: Path
) -> None:
    await DataKeys(pool, ROOT).ensure(TenantId("acme"), NOVEMBER_MS)
    wrong = Keyring(DataKeys(pool, RootKey(bytes(32))), LocalBlobs(tmp_path), MovableClock())
    with pytest.raises(SetupError, match="'acme' for 2025-11"):
        await wrong.ready(ACME)


async def test_a_data_subject_has_one_key_until_it_is_erased_and_then_another(pool: Pool) -> None:
    keys = DataKeys(pool, ROOT)
    month = await keys.ensure(ACME, NOVEMBER_MS)
    made = await asyncio.gather(*(keys.ensure_subject(ACME, "ada", NOVEMBER_MS) for _ in range(8)))
    assert len(set(made)) == 1 and made[0] not in {month, month + 1}
    assert await keys.ensure_subject(ACME, "bob", NOVEMBER_MS) != made[0]
    assert await keys.ensure_subject(OTHER, "ada", NOVEMBER_MS) != made[0]
    assert [key.id for key in await keys.of_tenants([ACME])] == [month, month + 1]
    (key,) = await keys.of_ids(ACME, made[:1])
    assert key.secret is not None and await keys.of_ids(OTHER, made[:1]) == []
    erased = await keys.erase_subject(ACME, "ada", "key:boss")
    assert erased is not None and (erased.key, erased.erased_by) == (made[0], "key:boss")
    assert await keys.erase_subject(ACME, "ada", "key:boss") is None
    assert await keys.erased_of([*made[:1], month]) == made[:1]
    again = await keys.ensure_subject(ACME, "ada", NOVEMBER_MS)
    known = [(one.key, one.erased_ms) for one in await keys.subjects(ACME, subject="ada")]
    assert known == [(made[0], erased.erased_ms), (again, None)]
    assert len(await keys.subjects(ACME)) == 3


async def test_erasing_a_month_leaves_the_data_subjects_of_that_month(pool: Pool) -> None:
    keys = DataKeys(pool, ROOT)
    await keys.ensure(ACME, NOVEMBER_MS)
    ada = await keys.ensure_subject(ACME, "ada", NOVEMBER_MS)
    await keys.erase(ACME, "2025-01", "2025-12")
    (key,) = await keys.of_ids(ACME, [ada])
    assert key.secret is not None


async def test_the_table_does_not_tell_who_a_data_subject_is(pool: Pool) -> None:
    keys = DataKeys(pool, ROOT)
    await keys.ensure_subject(ACME, "ada@example.com", NOVEMBER_MS)
    dumped = str(await pool.fetch("select t::text from headrace_keys.data_key t"))
    assert "ada" not in dumped
    assert hashlib.sha256(b"ada@example.com").hexdigest() not in dumped
    other = RootKey(bytes(32)).subject_digest(ACME, "ada@example.com")
    assert ROOT.subject_digest(ACME, "ada@example.com") != other


async def test_who_may_only_read_keys_may_add_a_data_subject_s_and_change_nothing(
    pool: Pool,
) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        for statement in (
            "create role keys_reader",
            "grant usage on schema headrace_keys to keys_reader",
            "grant select on all tables in schema headrace_keys to keys_reader",
            "set local role keys_reader",
        ):
            await connection.execute(statement)
        add = "select headrace_keys.add_subject_key('acme', '2025-11', $1, 'wrapped')"
        assert await connection.fetchval(add, bytes(32)) is not None
        with pytest.raises(InsufficientPrivilegeError):
            await connection.execute("update headrace_keys.data_key set wrapped = null")
        await transaction.rollback()
