"""The contract of the blob store, for every adapter."""

import os
import stat
from pathlib import Path

import pytest

from headrace_core.errors import BlobMissing
from headrace_core.ids import TenantId
from headrace_runtime.blobs import BlobStore, LocalBlobs

ACME, OTHER = TenantId("acme"), TenantId("other")
ADDRESS = "ab" * 32


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(params=["local"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    adapters = {"local": lambda: LocalBlobs(tmp_path / "home" / "blobs")}
    return adapters[request.param]()


async def test_what_was_put_is_what_comes_back(blobs: BlobStore) -> None:
    content = os.urandom(200_000)
    await blobs.put(ACME, ADDRESS, content)
    assert await blobs.get(ACME, ADDRESS) == content


async def test_an_unknown_address_is_missing(blobs: BlobStore) -> None:
    with pytest.raises(BlobMissing, match=ADDRESS):
        await blobs.get(ACME, ADDRESS)


async def test_the_first_content_of_an_address_stays(blobs: BlobStore) -> None:
    await blobs.put(ACME, ADDRESS, b"first")
    await blobs.put(ACME, ADDRESS, b"second")
    assert await blobs.get(ACME, ADDRESS) == b"first"


async def test_tenants_do_not_see_each_others_blobs(blobs: BlobStore) -> None:
    await blobs.put(ACME, ADDRESS, b"acme's")
    with pytest.raises(BlobMissing):
        await blobs.get(OTHER, ADDRESS)


@pytest.mark.parametrize("address", ["", "ab", "../" + ADDRESS, "AB" * 32, ADDRESS + "\n"])
async def test_what_is_no_address_is_refused(blobs: BlobStore, address: str) -> None:
    with pytest.raises(ValueError, match="not a blob address"):
        await blobs.put(ACME, address, b"")
    with pytest.raises(ValueError, match="not a blob address"):
        await blobs.get(ACME, address)


async def test_an_empty_content_is_a_content(blobs: BlobStore) -> None:
    await blobs.put(ACME, ADDRESS, b"")
    assert await blobs.get(ACME, ADDRESS) == b""


@pytest.mark.parametrize("tenant", ["..", ".", "a/b", "../../etc", "ä ö"])
async def test_no_tenant_id_leads_out_of_the_directory(tmp_path: Path, tenant: str) -> None:
    root = tmp_path / "home" / "blobs"
    await LocalBlobs(root).put(TenantId(tenant), ADDRESS, b"content")
    (found,) = files_below(tmp_path)
    assert root in found.parents
    assert len(found.relative_to(root).parts) == 3


async def test_files_are_the_owners_alone_and_no_draft_is_left(tmp_path: Path) -> None:
    await LocalBlobs(tmp_path / "blobs").put(ACME, ADDRESS, b"content")
    modes = {
        stat.S_IMODE(path.stat().st_mode): path.is_dir()
        for path in [tmp_path / "blobs", *(tmp_path / "blobs").rglob("*")]
    }
    assert modes == {0o700: True, 0o600: False}
    assert len(files_below(tmp_path)) == 1


async def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    await blobs.put(ACME, ADDRESS, b"content")
    in_the_way = tmp_path / "blobs" / "acme" / "cd"
    in_the_way.write_text("a file where a directory should be")
    with pytest.raises(OSError, match="cd"):
        await blobs.put(ACME, "cd" * 32, b"content")
    with pytest.raises((BlobMissing, NotADirectoryError)):
        await blobs.get(ACME, "cd" * 32)
