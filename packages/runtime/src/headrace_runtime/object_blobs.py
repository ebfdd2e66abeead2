"""The blob store in an object store: S3 and what speaks its protocol, Google Cloud, Azure.

Credentials, region and endpoint come from the environment in the way of each cloud (for S3
`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …), or from the machine's own identity.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, from_url

from headrace_core.errors import BlobMissing, SetupError
from headrace_core.ids import TenantId
from headrace_runtime.blobs import blob_path

if TYPE_CHECKING:
    # Types alone: the library does not have them when it runs.
    from obstore.store import ClientConfig, RetryConfig

SCHEMES = ("s3", "gs", "az")
TIMEOUT_S, CONNECT_TIMEOUT_S = 30, 5
RETRIES_MAX, RETRY_S = 3, 15
_MARK = "headrace-blobs"
"""An object that the check at the start writes, and finds ever after."""
_ALLOW_HTTP = "AWS_ALLOW_HTTP"


class ObjectBlobs:
    """BlobStore. Objects `<tenant>/<2 digits>/<address>` below the URL. What fails for a reason
    of the store is an OSError, as with a disk."""

    def __init__(self, url: str, store: ObjectStore) -> None:
        self._url = url
        self._store = store

    async def put(self, tenant: TenantId, address: str, content: bytes) -> None:
        """Conditional, so that the first content of an address stays."""
        await self._create(blob_path(tenant, address), content)

    async def get(self, tenant: TenantId, address: str) -> bytes:
        path = blob_path(tenant, address)
        try:
            found = await obstore.get_async(self._store, path)
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            raise BlobMissing(
                f"Blob {address} of tenant {tenant!r} is not in the blob store {self._url}. "
                "Restore the objects of the same time as the log."
            ) from None
        except BaseError as fault:
            raise OSError(f"the blob store {self._url} cannot be read: {_told(fault)}") from fault

    async def check(self) -> None:
        """Raises SetupError, with what to do, unless objects can be written and read here."""
        try:
            await self._create(_MARK, b"objects of Headrace, see its documentation\n")
            await (await obstore.get_async(self._store, _MARK)).bytes_async()
        except FileNotFoundError as fault:
            raise self._unusable(f"there is no such bucket ({_told(fault)})") from fault
        except (PermissionDeniedError, UnauthenticatedError) as fault:
            raise self._unusable(f"the credentials do not reach it ({_told(fault)})") from fault
        except (BaseError, OSError) as fault:
            raise self._unusable(_told(fault)) from fault

    async def _create(self, path: str, content: bytes) -> None:
        try:
            await obstore.put_async(self._store, path, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return
        except (PermissionDeniedError, UnauthenticatedError, FileNotFoundError):
            raise
        except BaseError as fault:
            raise OSError(f"the blob store {self._url} takes nothing: {_told(fault)}") from fault

    def _unusable(self, why: str) -> SetupError:
        return SetupError(
            f"HEADRACE_BLOBS={self._url} cannot be used: {why}. Make the bucket, give these "
            "credentials the right to read and create objects in it, and set the region and "
            f"endpoint of its cloud (an endpoint of http:// needs {_ALLOW_HTTP}=true)."
        )


def object_blobs(url: str, environment: Mapping[str, str] = os.environ) -> ObjectBlobs:
    """Nothing is asked yet. Raises SetupError for a URL that names no store."""
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://bucket/prefix" for one in SCHEMES)
        raise SetupError(f"HEADRACE_BLOBS={url} names no object store: write one of {known}.")
    client: ClientConfig = {
        "timeout": timedelta(seconds=TIMEOUT_S),
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
        "allow_http": environment.get(_ALLOW_HTTP, "").lower() == "true",
    }
    retry: RetryConfig = {
        "max_retries": RETRIES_MAX,
        "retry_timeout": timedelta(seconds=RETRY_S),
    }
    try:
        store = from_url(url, client_options=client, retry_config=retry)
    except (BaseError, ValueError) as fault:
        raise SetupError(f"HEADRACE_BLOBS={url} names no object store: {_told(fault)}.") from fault
    return ObjectBlobs(url, store)


def _told(fault: Exception) -> str:
    """The library's message without its internals."""
    return str(fault).partition("\n")[0].rstrip(". ")
