"""The blob store: contents too large for a record, addressed by their hash and already sealed."""

import asyncio
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from headrace_core.errors import BlobMissing
from headrace_core.ids import TenantId

ADDRESS = re.compile(r"[0-9a-f]{64}")


class BlobStore(Protocol):
    """Contract. An address names one content for ever, so `put` of a known one changes nothing
    and may be repeated. `address` is 64 hexadecimal digits; anything else is a ValueError.

    * After `put` returns the content survives a crash of machine and process.
    * `get` raises BlobMissing, and never answers part of a content.
    * Tenants do not see each other's blobs, also under an equal address.
    """

    async def put(self, tenant: TenantId, address: str, content: bytes) -> None: ...

    async def get(self, tenant: TenantId, address: str) -> bytes: ...


async def open_blobs(url: str, home: Path) -> BlobStore:
    """Where large payloads are: the object store at this URL, or without one a directory of the
    home. Raises SetupError where an object store cannot be used."""
    if not url:
        return LocalBlobs(home / "blobs")
    # Only here: who has no object store does not load its library.
    from headrace_runtime.object_blobs import object_blobs

    blobs = object_blobs(url)
    await blobs.check()
    return blobs


class LocalBlobs:
    """Files under one directory: `<tenant>/<2 digits>/<address>`, readable by their owner alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, tenant: TenantId, address: str, content: bytes) -> None:
        """Raises OSError when the disk is full or gone; then nothing is there."""
        await asyncio.to_thread(_write, self._path(tenant, address), self._root, content)

    async def get(self, tenant: TenantId, address: str) -> bytes:
        path = self._path(tenant, address)
        try:
            return await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            raise BlobMissing(
                f"Blob {address} of tenant {tenant!r} is not in the blob store. "
                "Restore the blob directory from a backup of the same time as the log."
            ) from None

    def _path(self, tenant: TenantId, address: str) -> Path:
        return self._root / blob_path(tenant, address)


def blob_path(tenant: TenantId, address: str) -> str:
    """`<tenant>/<2 digits>/<address>`. Raises ValueError for what is no address or no tenant."""
    if not ADDRESS.fullmatch(address):
        raise ValueError(f"{address!r} is not a blob address (64 hexadecimal digits)")
    if not tenant:
        raise ValueError("a blob belongs to a tenant, and its id is empty")
    # A tenant's id never walks out of the root: neither "/" nor a leading dot is left.
    folder = quote(tenant, safe="").replace(".", "%2E")
    return f"{folder}/{address[:2]}/{address}"


def _write(path: Path, root: Path, content: bytes) -> None:
    _make_folders(path.parent, root)
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                draft.unlink()
            raise
    # Also if it was there: whoever wrote it may have died before its name was durable.
    _sync_folder(path.parent)


def _make_folders(folder: Path, root: Path) -> None:
    if folder.is_dir():
        return
    if folder != root:
        _make_folders(folder.parent, root)
    folder.mkdir(mode=0o700, parents=folder == root, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
