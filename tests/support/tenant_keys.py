"""A keyring over keys that are held in memory, with a real blob directory."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headrace_core.ids import RunId, TenantId, run_id
from headrace_runtime.blobs import LocalBlobs
from headrace_runtime.keys import DataKey, month_of
from headrace_runtime.sealing import Keyring

ACME, OTHER = TenantId("acme"), TenantId("other")
RUN: RunId = run_id(7, 20_000, bytes(10))
OTHER_RUN: RunId = run_id(7, 20_000, bytes(range(10)))
NOVEMBER_MS = 1_763_000_000_000
"""2025-11-13"""
DECEMBER_MS = NOVEMBER_MS + 30 * 86_400_000


class KeysInMemory:
    """`headrace_runtime.sealing.KeySource`; tests add and erase."""

    def __init__(self, *keys: DataKey) -> None:
        self.keys = {key.id: key for key in keys}
        self.subjects: dict[int, DataKey] = {}
        self.known: dict[tuple[TenantId, str], list[int]] = {}
        self.reads = 0

    def add(self, key_id: int, tenant: TenantId, month: str) -> None:
        self.keys[key_id] = DataKey(key_id, tenant, month, key_id.to_bytes(4) * 8)

    def erase(self, key_id: int) -> None:
        key = self.keys[key_id]
        self.keys[key_id] = DataKey(key.id, key.tenant, key.month, None)

    async def of_tenants(self, tenants: Sequence[TenantId], above_id: int = 0) -> Sequence[DataKey]:
        self.reads += 1
        return [
            key
            for key in self.keys.values()
            if key.tenant in tenants and (key.id > above_id or key.secret is None)
        ]

    async def of_ids(self, tenant: TenantId, ids: Sequence[int]) -> Sequence[DataKey]:
        self.reads += 1
        found = [self.subjects[one] for one in ids if one in self.subjects]
        return [key for key in found if key.tenant == tenant]

    async def erased_of(self, ids: Sequence[int]) -> Sequence[int]:
        return [one for one in ids if self.subjects[one].secret is None]

    async def ensure_subject(self, tenant: TenantId, subject: str, now_ms: int) -> int:
        for key_id in self.known.get((tenant, subject), []):
            if self.subjects[key_id].secret is not None:
                return key_id
        key_id = 1_000 + len(self.subjects)
        self.subjects[key_id] = DataKey(key_id, tenant, month_of(now_ms), key_id.to_bytes(4) * 8)
        self.known.setdefault((tenant, subject), []).append(key_id)
        return key_id

    def erase_subject(self, tenant: TenantId, subject: str) -> None:
        for key_id in self.known[tenant, subject]:
            self.subjects[key_id] = replace(self.subjects[key_id], secret=None)


class MovableClock:
    def __init__(self, now_ms: int = NOVEMBER_MS) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms


def keyring(
    keys: KeysInMemory, root: Path, clock: MovableClock | None = None, **limits: int
) -> Keyring:
    return Keyring(keys, LocalBlobs(root / "blobs"), clock or MovableClock(), **limits)


def two_tenants() -> KeysInMemory:
    keys = KeysInMemory()
    keys.add(1, ACME, "2025-11")
    keys.add(2, OTHER, "2025-11")
    return keys
