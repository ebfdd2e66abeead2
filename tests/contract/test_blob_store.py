"""The contract of the blob store, for every adapter."""

import asyncio
import os
import stat
from collections.abc import Generator
from pathlib import Path

import pytest

from headrace_core.errors import BlobMissing, SetupError
from headrace_core.ids import TenantId
from headrace_runtime import object_blobs
from headrace_runtime.blobs import BlobStore, LocalBlobs, open_blobs
from tests.support.object_store import FarStore, far_store

ACME, OTHER = TenantId("acme"), TenantId("other")
ADDRESS = "ab" * 32


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def far() -> Generator[FarStore]:
    with far_store() as found:
        yield found


@pytest.fixture(params=["a directory", "an object store"])
async def blobs(
    request: pytest.FixtureRequest,
    far: FarStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> BlobStore:
    if request.param == "a directory":
        return LocalBlobs(tmp_path / "home" / "blobs")
    return await at(far, f"{far.url}/{tmp_path.name}", monkeypatch)


async def at(far: FarStore, url: str, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    """The object store at this URL, as a service opens it."""
    for name, value in far.environment.items():
        monkeypatch.setenv(name, value)
    return await open_blobs(url, Path("unused"))


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


async def test_of_two_writers_at_once_one_content_stays(blobs: BlobStore) -> None:
    contents = [bytes([number]) * 70_000 for number in range(8)]
    await asyncio.gather(*(blobs.put(ACME, ADDRESS, content) for content in contents))
    assert await blobs.get(ACME, ADDRESS) in contents


async def test_objects_are_below_the_url_by_tenant(
    far: FarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await at(far, f"{far.url}/by-tenant", monkeypatch)
    await blobs.put(TenantId("../acme"), ADDRESS, b"content")
    assert far.objects("blobs/by-tenant/") == [
        f"blobs/by-tenant/%2E%2E%2Facme/ab/{ADDRESS}",
        "blobs/by-tenant/headrace-blobs",
    ]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://nobody-made-this/blobs", "there is no such bucket"),
        ("ftp://headrace/blobs", "write one of s3://bucket/prefix"),
        ("s3://", "names no object store"),
        ("blobs", "names no object store"),
    ],
)
async def test_a_url_that_leads_to_no_store_says_so_at_the_start(
    far: FarStore, monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    with pytest.raises(SetupError, match=says):
        await at(far, url, monkeypatch)


async def test_a_store_that_does_not_answer_says_what_to_set(
    far: FarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_blobs, "RETRIES_MAX", 0)
    away = FarStore("http://127.0.0.1:9")
    with pytest.raises(SetupError, match="set the region and endpoint"):
        await at(away, far.url, monkeypatch)


async def test_a_store_that_goes_away_fails_like_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_blobs, "RETRIES_MAX", 0)
    with far_store() as far:
        blobs = await at(far, far.url, monkeypatch)
    with pytest.raises(OSError, match="takes nothing"):
        await blobs.put(ACME, ADDRESS, b"content")
    with pytest.raises(OSError, match="cannot be read"):
        await blobs.get(ACME, ADDRESS)
