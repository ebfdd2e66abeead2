"""Payloads of a data subject's runs: sealed under the subject's key, gone when that is erased."""

from pathlib import Path

import pytest

from headrace_core.errors import KeyErased, PayloadTampered
from headrace_core.payload import (
    INLINE_BYTES_MAX,
    BlobMissingHere,
    Stored,
    is_reference,
    key_id_of,
    key_mark,
    subject_key_of,
)
from headrace_runtime.sealing import Keyring
from tests.support.tenant_keys import (
    ACME,
    OTHER,
    OTHER_RUN,
    RUN,
    KeysInMemory,
    keyring,
    two_tenants,
)

JSON = b'{"customer":"Ada"}'
LARGE = b'"' + b"ada" * INLINE_BYTES_MAX + b'"'


@pytest.fixture
def keys() -> KeysInMemory:
    return two_tenants()


@pytest.fixture
def ring(keys: KeysInMemory, tmp_path: Path) -> Keyring:
    return keyring(keys, tmp_path)


async def test_a_payload_names_the_data_subject_s_key_and_comes_back(ring: Keyring) -> None:
    key = await ring.subject_key(ACME, "ada")
    vault = ring.vault(ACME)
    stored = vault.under(key).seal(RUN, JSON)
    assert subject_key_of(stored) == key_id_of(stored) == key
    assert vault.open(RUN, stored) == JSON
    assert subject_key_of(vault.seal(RUN, JSON)) == 0


async def test_a_data_subject_keeps_its_key_and_shares_it_with_nobody(ring: Keyring) -> None:
    ada = await ring.subject_key(ACME, "ada")
    assert await ring.subject_key(ACME, "ada") == ada
    assert (
        len({ada, await ring.subject_key(ACME, "bob"), await ring.subject_key(OTHER, "ada")}) == 3
    )


async def test_an_erased_data_subject_s_payloads_open_no_more_and_all_others_do(
    keys: KeysInMemory, ring: Keyring
) -> None:
    ada, bob = [await ring.subject_key(ACME, name) for name in ("ada", "bob")]
    vault = ring.vault(ACME)
    small, large = [vault.under(ada).seal(RUN, json) for json in (JSON, LARGE)]
    others = [vault.under(bob).seal(RUN, JSON), vault.seal(RUN, JSON)]
    await ring.store_pending_blobs()
    keys.erase_subject(ACME, "ada")
    await ring.refresh_subjects()
    for stored in (small, large):
        with pytest.raises(KeyErased, match=f"Key {ada} of a data subject of tenant 'acme'"):
            vault.open(RUN, stored)
        with pytest.raises(KeyErased):
            await vault.fetch(RUN, stored)
    with pytest.raises(KeyErased):
        vault.under(ada).seal(RUN, JSON)
    with pytest.raises(KeyErased):
        await vault.fetch(RUN, key_mark(ada))
    assert [vault.open(RUN, stored) for stored in others] == [JSON, JSON]


async def test_one_who_comes_back_after_an_erasure_gets_a_new_key(
    keys: KeysInMemory, ring: Keyring
) -> None:
    before = await ring.subject_key(ACME, "ada")
    keys.erase_subject(ACME, "ada")
    assert await ring.subject_key(ACME, "ada") != before


async def test_another_process_brings_the_key_to_hand_when_it_is_needed(
    keys: KeysInMemory, ring: Keyring, tmp_path: Path
) -> None:
    key = await ring.subject_key(ACME, "ada")
    small, large = [ring.vault(ACME).under(key).seal(RUN, json) for json in (JSON, LARGE)]
    await ring.store_pending_blobs()
    assert is_reference(large)
    other = await keyring(keys, tmp_path).ready(ACME)
    with pytest.raises(BlobMissingHere) as missing:
        other.under(key)
    with pytest.raises(BlobMissingHere):
        other.open(RUN, small)
    await other.fetch(RUN, missing.value.stored)
    assert other.open(RUN, other.under(key).seal(RUN, JSON)) == JSON
    assert await other.fetch(RUN, large) == LARGE


async def test_a_process_that_never_knew_the_key_learns_that_it_is_erased(
    keys: KeysInMemory, ring: Keyring, tmp_path: Path
) -> None:
    key = await ring.subject_key(ACME, "ada")
    stored = ring.vault(ACME).under(key).seal(RUN, JSON)
    keys.erase_subject(ACME, "ada")
    other = await keyring(keys, tmp_path).ready(ACME)
    with pytest.raises(KeyErased):
        await other.fetch(RUN, stored)


async def test_another_tenant_s_data_subject_s_key_is_no_key(ring: Keyring) -> None:
    key = await ring.subject_key(OTHER, "ada")
    stored = ring.vault(OTHER).under(key).seal(RUN, JSON)
    with pytest.raises(PayloadTampered, match="never had"):
        await (await ring.ready(ACME)).fetch(RUN, stored)


async def test_the_mark_of_a_data_subject_cannot_be_taken_off(ring: Keyring) -> None:
    key = await ring.subject_key(ACME, "ada")
    stored = bytearray(ring.vault(ACME).under(key).seal(RUN, JSON))
    stored[0] ^= 0x08
    with pytest.raises(PayloadTampered):
        ring.vault(ACME).open(RUN, Stored(bytes(stored)))


@pytest.mark.parametrize("json", [JSON, LARGE], ids=["small", "large"])
async def test_a_fork_s_payloads_move_under_its_own_data_subject_s_key(
    keys: KeysInMemory, ring: Keyring, json: bytes
) -> None:
    ada, bob = [await ring.subject_key(ACME, name) for name in ("ada", "bob")]
    vault = ring.vault(ACME)
    stored = vault.under(ada).seal(RUN, json)
    same = vault.reseal(RUN, OTHER_RUN, stored, ada)
    moved = vault.reseal(RUN, OTHER_RUN, stored, bob)
    await ring.store_pending_blobs()
    assert [subject_key_of(one) for one in (same, moved)] == [ada, bob]
    assert await vault.fetch(OTHER_RUN, same) == await vault.fetch(OTHER_RUN, moved) == json
    keys.erase_subject(ACME, "ada")
    await ring.refresh_subjects()
    assert await vault.fetch(OTHER_RUN, moved) == json, "it is not Ada's any more"
    with pytest.raises(KeyErased):
        await vault.fetch(OTHER_RUN, same)
