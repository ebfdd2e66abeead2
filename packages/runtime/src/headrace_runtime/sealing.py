"""Sealed payloads: a key per run, derived from the tenant's data key of the month, or from the
data subject's where the run has one.

Stored bytes are header (flags, key id), nonce, AES-256-GCM ciphertext with its tag. The key is
HMAC-SHA256(data key, run id); associated data are tenant, NUL, run id and the header, so that
not one byte can be changed or moved to another run. A blob is sealed in the same way, with its
address in the place of the run id. Random nonces are safe here because a run's key seals far
fewer than 2^32 payloads.
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import orjson
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace_core.errors import KeyErased, NotFound, PayloadTampered
from headrace_core.ids import RunId, TenantId
from headrace_core.payload import (
    COMPRESSED,
    HEADER_BYTES,
    INLINE_BYTES_MAX,
    NOTHING,
    OF_SUBJECT,
    REFERENCE,
    SEALED,
    BlobMissingHere,
    Stored,
    is_reference,
    key_id_of,
    key_mark,
    subject_key_of,
)
from headrace_runtime.blobs import BlobStore
from headrace_runtime.clock import Clock
from headrace_runtime.keys import NONCE_BYTES, DataKey, month_of
from headrace_runtime.loading_cache import LoadingCache
from headrace_runtime.nonces import NONCES
from headrace_runtime.postgres.pool import CONNECTION_LOST

NULL = b"null"
TAG_BYTES = 16
BODY_AT = HEADER_BYTES + NONCE_BYTES
STORED_BYTES_MIN = BODY_AT + TAG_BYTES
COMPRESS_FROM_BYTES = 1_024
# One more level costs a third more CPU for a few percent on JSON of this size.
COMPRESSION_LEVEL = 1
CONTENT_BYTES_MAX = 256 * 1024 * 1024
RUN_KEYS_MAX = 16_384
TENANTS_MAX = 10_000
SUBJECTS_FRESH_S = 2.0
SUBJECT_KEYS_MAX = 16_384
"""Of one tenant in one process; another one is read again when it is asked for."""


class KeySource(Protocol):
    """What a keyring reads: `headrace_runtime.keys.DataKeys`."""

    async def of_tenants(
        self, tenants: Sequence[TenantId], above_id: int = 0
    ) -> Sequence[DataKey]: ...

    async def of_ids(self, tenant: TenantId, ids: Sequence[int]) -> Sequence[DataKey]: ...

    async def erased_of(self, ids: Sequence[int]) -> Sequence[int]: ...

    async def ensure_subject(self, tenant: TenantId, subject: str, now_ms: int) -> int: ...


@dataclass(frozen=True, slots=True)
class PendingBlob:
    """Sealed already. To be in the blob store before a record names it."""

    tenant: TenantId
    address: str
    content: bytes


class RunKey:
    """What seals and opens the payloads of one run under one data key."""

    __slots__ = ("decrypt", "encrypt", "owner")

    def __init__(self, secret: bytes, tenant: TenantId, run: str) -> None:
        aead = AESGCM(hmac.digest(secret, run.encode(), "sha256"))
        self.encrypt = aead.encrypt
        self.decrypt = aead.decrypt
        self.owner = f"{tenant}\0{run}".encode()


Derive = Callable[["TenantVault", str, int], RunKey]


class Contents:
    """Opened contents of references, the last used within a bound of bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._contents: OrderedDict[tuple[TenantId, str], bytes] = OrderedDict()

    def get(self, tenant: TenantId, address: str) -> bytes | None:
        content = self._contents.get((tenant, address))
        if content is not None:
            self._contents.move_to_end((tenant, address))
        return content

    def put(self, tenant: TenantId, address: str, content: bytes) -> None:
        """Kept in any case until the next one comes: whoever fetched it will open it now."""
        before = self._contents.pop((tenant, address), b"")
        self._contents[tenant, address] = content
        self._bytes += len(content) - len(before)
        while self._bytes > self._bytes_max and len(self._contents) > 1:
            _, dropped = self._contents.popitem(last=False)
            self._bytes -= len(dropped)

    def clear(self) -> None:
        self._contents.clear()
        self._bytes = 0


class TenantVault:
    """`headrace_core.payload.Vault` of one tenant, with what surrounds it in a service.

    `open` also raises BlobMissingHere for a key that this process has not seen yet (made by the
    gateway a moment ago): `fetch` brings that to hand too.
    """

    def __init__(
        self,
        tenant: TenantId,
        derive: Derive,
        contents: Contents,
        blobs: BlobStore,
        load: Callable[[TenantId, int], Awaitable[None]],
    ) -> None:
        self.tenant = tenant
        self._derive = derive
        self._contents = contents
        self._blobs = blobs
        self._load = load
        self._subjects: OrderedDict[int, DataKey] = OrderedDict()
        self._secrets: dict[int, bytes | None] = {}
        self._months: dict[int, str] = {}
        self._current = 0
        self._headers: dict[int, bytes] = {}
        self._pending: dict[str, bytes] = {}
        self._compress = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress
        self._decompress = zstandard.ZstdDecompressor().decompress

    def open(self, run: RunId, stored: Stored) -> bytes:
        if not stored:
            return NULL
        opened = self._open_body(run, run, stored)
        if stored[0] & REFERENCE:
            content = self._contents.get(self.tenant, orjson.loads(opened)["blob"])
            if content is None:
                raise BlobMissingHere(run, stored)
            return content
        return opened

    def seal(
        self,
        run: RunId,
        json: bytes,
        inline_bytes_max: int = INLINE_BYTES_MAX,
        subject_key: int = 0,
    ) -> Stored:
        """Raises KeyErased when the tenant has no usable data key left, or the data subject none.
        BlobMissingHere stands for a subject's key that is not at hand."""
        if json == NULL or not json:
            return NOTHING
        if len(json) > inline_bytes_max:
            return self._seal_reference(run, json, subject_key)
        return self._seal_body(run, json, SEALED, subject_key)

    def under(self, subject_key: int) -> "TenantVault | SubjectVault":
        if not subject_key:
            return self
        if subject_key not in self._subjects:
            raise BlobMissingHere(RunId(""), key_mark(subject_key))
        return SubjectVault(self, subject_key)

    def reseal(self, source: RunId, target: RunId, stored: Stored, subject_key: int = 0) -> Stored:
        """The same payload for another run of the tenant. A blob is not read for that, unless it
        is sealed under another data subject's key than the run's: then it is sealed again.

        Raises BlobMissingHere for what is not at hand, KeyErased and PayloadTampered.
        """
        if not stored:
            return NOTHING
        if is_reference(stored) and subject_key_of(stored) != subject_key:
            return self.seal(target, self.open(source, stored), subject_key=subject_key)
        content = self._open_body(source, source, stored)
        return self._seal_body(target, content, SEALED | (stored[0] & REFERENCE), subject_key)

    async def fetch(self, run: RunId, stored: Stored) -> bytes:
        """The opened payload, and what a following `open` needs is at hand.

        Raises BlobMissing, KeyErased or PayloadTampered.
        """
        if not stored:
            return NULL
        await self._bring_key(run, stored)
        if len(stored) == HEADER_BYTES:
            self.secret_of(key_id_of(stored))
            return NULL
        if is_reference(stored):
            reference = orjson.loads(self._open_body(run, run, stored))
            address: str = reference["blob"]
            if self._contents.get(self.tenant, address) is None:
                sealed = Stored(await self._blobs.get(self.tenant, address))
                self._contents.put(self.tenant, address, self._open_body(address, run, sealed))
        return self.open(run, stored)

    def take_pending_blobs(self) -> Sequence[PendingBlob]:
        """Blobs sealed since the last call. The caller stores them, or puts them back."""
        taken = [PendingBlob(self.tenant, *entry) for entry in self._pending.items()]
        self._pending.clear()
        return taken

    def put_back(self, blobs: Sequence[PendingBlob]) -> None:
        """Not stored: they are pending again."""
        for blob in blobs:
            self._pending.setdefault(blob.address, blob.content)

    @property
    def has_pending_blobs(self) -> bool:
        return bool(self._pending)

    def admit(self, keys: Sequence[DataKey]) -> bool:
        """Take in keys that were loaded; True if one of them is now erased and was not before."""
        erased = any(key.secret is None and self._secrets.get(key.id) for key in keys)
        self._secrets.update({key.id: key.secret for key in keys})
        self._months.update({key.id: key.month for key in keys})
        return erased

    def admit_subject(self, key: DataKey) -> None:
        self._subjects[key.id] = key
        self._subjects.move_to_end(key.id)
        while len(self._subjects) > SUBJECT_KEYS_MAX:
            self._subjects.popitem(last=False)

    def live_subject_keys(self) -> Sequence[int]:
        return [key.id for key in self._subjects.values() if key.secret is not None]

    def forget_subjects(self, erased: Container[int]) -> bool:
        """True if one of these keys was at hand."""
        known = [key for key in self._subjects.values() if key.id in erased and key.secret]
        self._subjects.update({key.id: replace(key, secret=None) for key in known})
        return bool(known)

    def use_month(self, month: str) -> None:
        """Seal with the newest key up to `month` from here on; a later one only if it is alone."""
        usable = [(self._months[key], key) for key, secret in self._secrets.items() if secret]
        due = [entry for entry in usable if entry[0] <= month]
        self._current = max(due)[1] if due else min(usable)[1] if usable else 0
        key_id = self._current.to_bytes(4)
        self._headers = {
            flags: bytes((flags,)) + key_id
            for flags in (SEALED, SEALED | COMPRESSED, SEALED | REFERENCE)
        }

    def secret_of(self, key_id: int) -> bytes:
        """Raises KeyErased. The key is at hand."""
        subject = self._subjects.get(key_id)
        if subject is not None:
            if subject.secret is None:
                raise KeyErased(
                    f"Key {key_id} of a data subject of tenant {self.tenant!r} was erased; "
                    "what it sealed cannot be opened any more."
                )
            return subject.secret
        secret = self._secrets[key_id]
        if secret is None:
            raise KeyErased(
                f"Data key {key_id} of tenant {self.tenant!r} ({self._months[key_id]}) was erased; "
                "what it sealed cannot be opened any more."
            )
        return secret

    async def bring_key(self, key_id: int) -> None:
        """So that `secret_of` answers for it. Raises PayloadTampered for no key of the tenant."""
        await self._bring_key(RunId(""), key_mark(key_id))

    def _is_at_hand(self, key_id: int) -> bool:
        return key_id in self._secrets or key_id in self._subjects

    async def _bring_key(self, run: RunId, stored: Stored) -> None:
        key_id = key_id_of(stored)
        if self._is_at_hand(key_id):
            return
        await self._load(self.tenant, subject_key_of(stored))
        if not self._is_at_hand(key_id):
            raise PayloadTampered(
                f"A payload of run {run} names key {key_id}, which tenant {self.tenant!r} never "
                "had: it is another tenant's, or damaged."
            )

    def _seal_body(self, owner: str, content: bytes, flags: int, subject_key: int = 0) -> Stored:
        if len(content) >= COMPRESS_FROM_BYTES:
            compressed = self._compress(content)
            if len(compressed) < len(content):
                content, flags = compressed, flags | COMPRESSED
        if subject_key:
            if subject_key not in self._subjects:
                raise BlobMissingHere(RunId(owner), key_mark(subject_key))
            key = self._derive(self, owner, subject_key)
            return _sealed(bytes((flags | OF_SUBJECT,)) + subject_key.to_bytes(4), key, content)
        if not self._current:
            raise KeyErased(
                f"Tenant {self.tenant!r} has no usable data key. "
                "The gateway makes one at onboarding and every month: is it running?"
            )
        return _sealed(self._headers[flags], self._derive(self, owner, self._current), content)

    def _open_body(self, owner: str, run: RunId, stored: Stored) -> bytes:
        if len(stored) < STORED_BYTES_MIN:
            raise PayloadTampered(f"A payload of run {run} is cut off: {len(stored)} bytes.")
        header = stored[:HEADER_BYTES]
        key_id = int.from_bytes(stored[1:HEADER_BYTES])
        if not self._is_at_hand(key_id):
            raise BlobMissingHere(run, stored)
        key = self._derive(self, owner, key_id)
        try:
            content = key.decrypt(
                stored[HEADER_BYTES:BODY_AT], stored[BODY_AT:], key.owner + header
            )
        except InvalidTag:
            raise PayloadTampered(
                f"A payload of run {run} is not what was sealed for it (key {key_id}): "
                "it was changed, or belongs to another run."
            ) from None
        return self._decompress(content) if header[0] & COMPRESSED else content

    def _seal_reference(self, run: RunId, json: bytes, subject_key: int) -> Stored:
        key_id = subject_key or self._current
        if not key_id or not self._is_at_hand(key_id):
            return self._seal_body(run, json, SEALED, subject_key)
        address = hmac.digest(self.secret_of(key_id), json, "sha256").hex()
        self._pending[address] = self._seal_body(address, json, SEALED, subject_key)
        self._contents.put(self.tenant, address, json)
        reference = orjson.dumps({"blob": address, "bytes": len(json)})
        return self._seal_body(run, reference, SEALED | REFERENCE, subject_key)


@dataclass(frozen=True, slots=True)
class SubjectVault:
    """The tenant's vault, sealing under a data subject's key."""

    vault: TenantVault
    subject_key: int

    def open(self, run: RunId, stored: Stored) -> bytes:
        return self.vault.open(run, stored)

    def seal(self, run: RunId, json: bytes) -> Stored:
        return self.vault.seal(run, json, subject_key=self.subject_key)

    def under(self, subject_key: int) -> "TenantVault | SubjectVault":
        return self.vault.under(subject_key)

    @property
    def has_pending_blobs(self) -> bool:
        return self.vault.has_pending_blobs


class Keyring:
    """Every tenant's vault in this process. Run keys, contents and tenants are bounded."""

    def __init__(
        self,
        keys: KeySource,
        blobs: BlobStore,
        clock: Clock,
        *,
        run_keys_max: int = RUN_KEYS_MAX,
        content_bytes_max: int = CONTENT_BYTES_MAX,
    ) -> None:
        self._keys = keys
        self._blobs = blobs
        self._clock = clock
        self._derive = lru_cache(maxsize=run_keys_max)(_derive)
        self._contents = Contents(content_bytes_max)
        self._vaults = LoadingCache(self._load, TENANTS_MAX)
        self._newest_id = 0

    async def ready(self, tenant: TenantId) -> TenantVault:
        """The tenant's vault, its keys loaded once. Raises NotFound for a tenant without keys."""
        return self._vaults.get_cached(tenant) or await self._vaults.get(tenant)

    def vault(self, tenant: TenantId) -> TenantVault:
        """Raises LookupError before `ready`."""
        vault = self._vaults.get_cached(tenant)
        if vault is None:
            raise LookupError(f"keys of tenant {tenant!r} were not loaded: await ready() first")
        return vault

    async def store_pending_blobs(self) -> None:
        """Make durable what was sealed as a reference. Raises OSError; all of it stays pending
        then, and the records that name it must not be written."""
        pending = [vault for vault in self._vaults.values() if vault.has_pending_blobs]
        for vault in pending:
            blobs = vault.take_pending_blobs()
            puts = [self._blobs.put(blob.tenant, blob.address, blob.content) for blob in blobs]
            for fault in await asyncio.gather(*puts, return_exceptions=True):
                if isinstance(fault, BaseException):
                    vault.put_back(blobs)
                    raise fault

    async def refresh(self) -> None:
        """Take in keys made or erased since; new months come into use. One statement."""
        month = month_of(self._clock.now_ms())
        vaults = {vault.tenant: vault for vault in self._vaults.values()}
        newest = self._newest_id
        keys = await self._keys.of_tenants(list(vaults), newest)
        for tenant, vault in vaults.items():
            self._admit(vault, [key for key in keys if key.tenant == tenant], month)
        self._newest_id = max([newest, *(key.id for key in keys)])

    async def refresh_subjects(self) -> None:
        """Let go of data subjects' keys that were erased since. One statement, if any is held."""
        vaults = list(self._vaults.values())
        held = [key for vault in vaults for key in vault.live_subject_keys()]
        erased = frozenset(await self._keys.erased_of(held)) if held else frozenset[int]()
        forgotten = [vault.forget_subjects(erased) for vault in vaults] if erased else []
        if any(forgotten):
            self._forget_derived()

    async def subject_key(self, tenant: TenantId, subject: str) -> int:
        """The data subject's key, at hand for sealing; made unless it is there. Raises NotFound
        for a tenant without keys."""
        await self.ready(tenant)
        key_id = await self._keys.ensure_subject(tenant, subject, self._clock.now_ms())
        await self._load_key(tenant, key_id)
        return key_id

    async def keep_fresh(
        self, interval_s: float = 60.0, subjects_interval_s: float = SUBJECTS_FRESH_S
    ) -> None:
        """The loops that bound how long an erased key still opens something here.

        A database that is away for a while must not end the service: the next round asks again.
        """
        async with asyncio.TaskGroup() as rounds:
            rounds.create_task(_every(interval_s, self.refresh))
            rounds.create_task(_every(subjects_interval_s, self.refresh_subjects))

    async def _load(self, tenant: TenantId) -> TenantVault:
        vault = TenantVault(tenant, self._derive, self._contents, self._blobs, self._load_key)
        keys = await self._keys.of_tenants([tenant])
        if not keys:
            raise NotFound(
                f"Tenant {tenant!r} has no payload keys: it does not exist, or its onboarding "
                "did not end."
            )
        self._admit(vault, keys, month_of(self._clock.now_ms()))
        return vault

    async def _load_key(self, tenant: TenantId, subject_key: int) -> None:
        """That key, or with 0 all keys of the tenant's own."""
        if subject_key:
            vault = self.vault(tenant)
            for key in await self._keys.of_ids(tenant, [subject_key]):
                vault.admit_subject(key)
            return
        keys = await self._keys.of_tenants([tenant])
        self._admit(self.vault(tenant), keys, month_of(self._clock.now_ms()))

    def _admit(self, vault: TenantVault, keys: Sequence[DataKey], month: str) -> None:
        if vault.admit(keys):
            self._forget_derived()
        vault.use_month(month)

    def _forget_derived(self) -> None:
        """Derived keys and opened contents of an erased key must not outlive it."""
        self._derive.cache_clear()
        self._contents.clear()


async def _every(interval_s: float, refresh: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        with suppress(*CONNECTION_LOST):
            await refresh()


def _sealed(header: bytes, key: RunKey, content: bytes) -> Stored:
    nonce = NONCES.take()
    return Stored(header + nonce + key.encrypt(nonce, content, key.owner + header))


def _derive(vault: TenantVault, owner: str, key_id: int) -> RunKey:
    return RunKey(vault.secret_of(key_id), vault.tenant, owner)
