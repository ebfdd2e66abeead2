"""Sealed payloads: what comes back, what never does, and under which key."""

import os
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_core.errors import BlobMissing, KeyErased, NotFound, PayloadTampered
from headrace_core.payload import (
    COMPRESSED,
    INLINE_BYTES_MAX,
    NOTHING,
    BlobMissingHere,
    Stored,
    is_reference,
    key_id_of,
)
from headrace_runtime.blobs import LocalBlobs
from headrace_runtime.sealing import STORED_BYTES_MIN, TenantVault
from tests.support.tenant_keys import (
    ACME,
    DECEMBER_MS,
    OTHER,
    OTHER_RUN,
    RUN,
    KeysInMemory,
    MovableClock,
    keyring,
    two_tenants,
)

JSON = b'{"customer":"Anna","amount":12}'


def large_json(bytes_min: int = INLINE_BYTES_MAX + 1) -> bytes:
    """Not compressible, so that its stored size says where it went."""
    return orjson.dumps(os.urandom(bytes_min).hex())


@pytest.fixture
async def vault(tmp_path: Path) -> TenantVault:
    return await keyring(two_tenants(), tmp_path).ready(ACME)


def test_a_payload_comes_back_and_does_not_show_its_content(vault: TenantVault) -> None:
    stored = vault.seal(RUN, JSON)
    assert vault.open(RUN, stored) == JSON
    assert b"Anna" not in stored
    assert key_id_of(stored) == 1
    assert len(stored) == STORED_BYTES_MIN + len(JSON)


def test_equal_payloads_are_stored_as_different_bytes(vault: TenantVault) -> None:
    assert len({vault.seal(RUN, JSON) for _ in range(3_000)}) == 3_000


@given(json=st.binary(min_size=1, max_size=3_000))
async def test_any_bytes_come_back(json: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    vault = await keyring(two_tenants(), tmp_path_factory.getbasetemp()).ready(ACME)
    assert vault.open(RUN, vault.seal(RUN, json)) == json


def test_null_is_stored_as_nothing(vault: TenantVault) -> None:
    assert vault.seal(RUN, b"null") == NOTHING
    assert vault.open(RUN, NOTHING) == b"null"


@pytest.mark.parametrize("json", [JSON, JSON * 100], ids=["short", "compressed"])
def test_no_byte_can_be_changed(vault: TenantVault, json: bytes) -> None:
    stored = vault.seal(RUN, json)
    for place in (0, *range(5, len(stored))):
        changed = bytearray(stored)
        changed[place] ^= 2
        with pytest.raises(PayloadTampered):
            vault.open(RUN, Stored(bytes(changed)))


def test_a_payload_that_was_cut_off_is_told(vault: TenantVault) -> None:
    stored = vault.seal(RUN, JSON)
    for length in (1, 4, 5, 17, STORED_BYTES_MIN - 1, len(stored) - 1):
        with pytest.raises((PayloadTampered, BlobMissingHere)):
            vault.open(RUN, Stored(stored[:length]))


def test_a_payload_does_not_open_for_another_run(vault: TenantVault) -> None:
    with pytest.raises(PayloadTampered, match="belongs to another run"):
        vault.open(OTHER_RUN, vault.seal(RUN, JSON))


async def test_a_payload_does_not_open_for_another_tenant(tmp_path: Path) -> None:
    ring = keyring(two_tenants(), tmp_path)
    stored = (await ring.ready(ACME)).seal(RUN, JSON)
    other = await ring.ready(OTHER)
    with pytest.raises(BlobMissingHere):
        other.open(RUN, stored)
    with pytest.raises(PayloadTampered, match="'other' never had"):
        await other.fetch(RUN, stored)
    forged = Stored(stored[:1] + (2).to_bytes(4) + stored[5:])
    with pytest.raises(PayloadTampered):
        other.open(RUN, forged)


def test_what_compresses_well_is_compressed(vault: TenantVault) -> None:
    json = JSON * 100
    stored = vault.seal(RUN, json)
    assert stored[0] & COMPRESSED
    assert len(stored) < len(json) / 10
    assert vault.open(RUN, stored) == json


def test_what_does_not_compress_is_stored_as_it_is(vault: TenantVault) -> None:
    json = os.urandom(2_000)
    stored = vault.seal(RUN, json)
    assert not stored[0] & COMPRESSED
    assert len(stored) == STORED_BYTES_MIN + len(json)
    assert vault.open(RUN, stored) == json


async def test_a_large_payload_goes_to_the_blob_store(tmp_path: Path) -> None:
    keys, json = two_tenants(), large_json()
    writer = keyring(keys, tmp_path)
    stored = (await writer.ready(ACME)).seal(RUN, json)
    assert is_reference(stored)
    assert len(stored) < 300
    await writer.store_pending_blobs()

    reader = await keyring(keys, tmp_path).ready(ACME)
    with pytest.raises(BlobMissingHere) as missing:
        reader.open(RUN, stored)
    assert (missing.value.run, missing.value.stored) == (RUN, stored)
    assert await reader.fetch(RUN, stored) == json
    assert reader.open(RUN, stored) == json


async def test_a_payload_at_the_bound_stays_inline(vault: TenantVault) -> None:
    assert not is_reference(vault.seal(RUN, b"x" * INLINE_BYTES_MAX))
    assert is_reference(vault.seal(RUN, b"x" * (INLINE_BYTES_MAX + 1)))


async def test_who_sealed_a_reference_can_open_it_at_once(vault: TenantVault) -> None:
    json = large_json()
    assert vault.open(RUN, vault.seal(RUN, json)) == json


async def test_equal_large_contents_of_a_tenant_are_one_blob(vault: TenantVault) -> None:
    json = large_json()
    vault.seal(RUN, json)
    vault.seal(OTHER_RUN, json)
    (blob,) = vault.take_pending_blobs()
    assert blob.tenant == ACME
    assert json not in blob.content
    assert vault.take_pending_blobs() == []


async def test_tenants_do_not_share_the_address_of_equal_contents(tmp_path: Path) -> None:
    ring, json = keyring(two_tenants(), tmp_path), large_json()
    addresses: set[str] = set()
    for tenant in (ACME, OTHER):
        vault = await ring.ready(tenant)
        vault.seal(RUN, json)
        addresses |= {blob.address for blob in vault.take_pending_blobs()}
    assert len(addresses) == 2


async def test_a_blob_that_was_lost_is_missing(tmp_path: Path) -> None:
    keys = two_tenants()
    stored = (await keyring(keys, tmp_path).ready(ACME)).seal(RUN, large_json())
    with pytest.raises(BlobMissing):
        await (await keyring(keys, tmp_path).ready(ACME)).fetch(RUN, stored)


async def test_a_blob_of_another_content_is_not_taken(tmp_path: Path) -> None:
    keys = two_tenants()
    vault = await keyring(keys, tmp_path).ready(ACME)
    stored, other = vault.seal(RUN, large_json()), vault.seal(RUN, large_json())
    assert stored != other
    first, second = vault.take_pending_blobs()
    await LocalBlobs(tmp_path / "blobs").put(ACME, first.address, second.content)
    with pytest.raises(PayloadTampered):
        await (await keyring(keys, tmp_path).ready(ACME)).fetch(RUN, stored)


async def test_blobs_that_could_not_be_stored_stay_pending(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file where the directory should be")
    ring = keyring(two_tenants(), tmp_path)
    vault = await ring.ready(ACME)
    vault.seal(RUN, large_json())
    with pytest.raises(OSError, match="blobs"):
        await ring.store_pending_blobs()
    assert vault.has_pending_blobs


async def test_opened_contents_are_kept_within_their_bound(tmp_path: Path) -> None:
    ring = keyring(two_tenants(), tmp_path, content_bytes_max=200_000)
    vault = await ring.ready(ACME)
    first, second = (vault.seal(RUN, large_json()) for _ in range(2))
    with pytest.raises(BlobMissingHere):
        vault.open(RUN, first)
    assert len(vault.open(RUN, second)) > INLINE_BYTES_MAX


async def test_an_erased_key_opens_nothing_from_the_next_refresh_on(tmp_path: Path) -> None:
    keys = two_tenants()
    ring = keyring(keys, tmp_path)
    vault = await ring.ready(ACME)
    small, large = vault.seal(RUN, JSON), vault.seal(RUN, large_json())
    keys.erase(1)
    await ring.refresh()
    for stored in (small, large):
        with pytest.raises(KeyErased, match="Data key 1 of tenant 'acme' \\(2025-11\\) was erased"):
            vault.open(RUN, stored)
        with pytest.raises(KeyErased):
            await vault.fetch(RUN, stored)
    with pytest.raises(KeyErased, match="no usable data key"):
        vault.seal(RUN, JSON)


async def test_an_erased_key_is_erased_for_a_process_that_never_knew_it(tmp_path: Path) -> None:
    keys = two_tenants()
    stored = (await keyring(keys, tmp_path).ready(ACME)).seal(RUN, JSON)
    keys.erase(1)
    with pytest.raises(KeyErased):
        (await keyring(keys, tmp_path).ready(ACME)).open(RUN, stored)


async def test_a_key_made_a_moment_ago_is_fetched_like_a_blob(tmp_path: Path) -> None:
    keys, clock = two_tenants(), MovableClock(DECEMBER_MS)
    late = await keyring(keys, tmp_path, clock).ready(ACME)
    keys.add(3, ACME, "2025-12")
    stored = (await keyring(keys, tmp_path, clock).ready(ACME)).seal(RUN, JSON)
    assert key_id_of(stored) == 3
    with pytest.raises(BlobMissingHere):
        late.open(RUN, stored)
    assert await late.fetch(RUN, stored) == JSON
    assert late.open(RUN, stored) == JSON


async def test_a_new_month_seals_with_its_own_key_and_opens_the_old(tmp_path: Path) -> None:
    keys, clock = two_tenants(), MovableClock()
    keys.add(3, ACME, "2025-12")
    ring = keyring(keys, tmp_path, clock)
    vault = await ring.ready(ACME)
    november = vault.seal(RUN, JSON)
    clock.ms = DECEMBER_MS
    await ring.refresh()
    december = vault.seal(RUN, JSON)
    assert (key_id_of(november), key_id_of(december)) == (1, 3)
    assert vault.open(RUN, november) == vault.open(RUN, december) == JSON


async def test_a_month_without_a_key_of_its_own_goes_on_with_the_last(tmp_path: Path) -> None:
    ring = keyring(two_tenants(), tmp_path, MovableClock(DECEMBER_MS))
    assert key_id_of((await ring.ready(ACME)).seal(RUN, JSON)) == 1


async def test_keys_are_loaded_once(tmp_path: Path) -> None:
    keys = two_tenants()
    ring = keyring(keys, tmp_path)
    assert await ring.ready(ACME) is await ring.ready(ACME) is ring.vault(ACME)
    assert keys.reads == 1


async def test_a_tenant_without_keys_is_not_known(tmp_path: Path) -> None:
    ring = keyring(KeysInMemory(), tmp_path)
    with pytest.raises(NotFound, match="'acme' has no payload keys"):
        await ring.ready(ACME)
    with pytest.raises(LookupError):
        ring.vault(ACME)


async def test_run_keys_beyond_the_bound_are_derived_again(tmp_path: Path) -> None:
    vault = await keyring(two_tenants(), tmp_path, run_keys_max=1).ready(ACME)
    first, second = vault.seal(RUN, JSON), vault.seal(OTHER_RUN, JSON)
    assert vault.open(RUN, first) == vault.open(OTHER_RUN, second) == JSON


def test_a_forked_child_draws_nonces_of_its_own(vault: TenantVault) -> None:
    vault.seal(RUN, JSON)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, vault.seal(RUN, JSON)[5:17])
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 12)
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 12
    assert theirs not in {vault.seal(RUN, JSON)[5:17] for _ in range(1_024)}
