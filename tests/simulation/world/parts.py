"""The engine's ports in memory, with the semantics of the real ones: leases, snapshots, plans."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace_core.ids import PlanHash, RunId, StepKey, TenantId
from headrace_core.partition.state import StartKey
from headrace_core.payload import NOTHING, Stored, Vault
from headrace_core.workflow.plan import Plan
from headrace_scheduler.app.ports import Checkpoint, RunRow, Snapshot, SnapshotChange
from headrace_scheduler.domain.commands import RowVerdict
from tests.support.plain_vault import PlainVault

BASE_MS = 1_700_000_000_000
LEASE_S = 1.5


class SimClock:
    """A host's clock: the loop's time, off by `skew_ms`, which may jump."""

    def __init__(self, skew_ms: int = 0) -> None:
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        return BASE_MS + self.skew_ms + int(asyncio.get_running_loop().time() * 1_000)


class SimCatalogue:
    """Plans are published before the campaign begins; one vault serves its only tenant."""

    def __init__(self, plans: Mapping[PlanHash, Plan], vault: PlainVault | None = None) -> None:
        self._plans = plans
        self._vault = vault or PlainVault()

    async def load(self, tenant: TenantId, plan: PlanHash) -> None:
        assert plan in self._plans

    def plan(self, tenant: TenantId, plan: PlanHash) -> Plan:
        return self._plans[plan]

    def vault(self, tenant: TenantId) -> Vault:
        return self._vault

    async def subject_key(self, tenant: TenantId, subject: str) -> int:
        return self._vault.subject_key(subject)

    async def version(self, tenant: TenantId, plan: PlanHash) -> int:
        return 1

    async def fetch(self, tenant: TenantId, owner: RunId, stored: Stored) -> None:
        self._vault.fetch(stored)

    async def store_blobs(self) -> None:
        await asyncio.sleep(0)


class SimRows:
    """Of a world in which nothing acts outside: closing a row finds nothing there."""

    async def close(
        self, tenant: TenantId, run: RunId, step: StepKey, fallback: int, attempt: int
    ) -> tuple[RowVerdict, Stored]:
        await asyncio.sleep(0.001)
        return RowVerdict.NO_EFFECT, NOTHING


@dataclass(slots=True)
class _Stored:
    checkpoint: Checkpoint
    runs: dict[RunId, RunRow] = field(default_factory=dict[RunId, RunRow])
    keys: dict[bytes, StartKey] = field(default_factory=dict[bytes, StartKey])


class SimSnapshots:
    """Refuses like the real store: another log, or an offset not above the checkpoint's."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Stored] = {}
        self.refused = 0
        self.failing = False

    def is_newer(self, checkpoint: Checkpoint, stored: Checkpoint) -> bool:
        return checkpoint.offset > stored.offset

    def rows_to_delete(self, change: SnapshotChange) -> Sequence[RunId]:
        return change.ended

    def offset_of(self, partition: int) -> int:
        """Of its checkpoint, -1 without one: what lies below may be deleted once archived."""
        stored = self._partitions.get(partition)
        return stored.checkpoint.offset if stored is not None else -1

    async def load(self, partition: int) -> Snapshot | None:
        await asyncio.sleep(0.001)
        stored = self._partitions.get(partition)
        if stored is None:
            return None
        return Snapshot(stored.checkpoint, tuple(stored.runs.values()), tuple(stored.keys.items()))

    async def save(self, change: SnapshotChange) -> bool:
        await asyncio.sleep(0.002)
        if self.failing:
            raise OSError("the snapshot store is away")
        number = change.checkpoint.partition
        stored = self._partitions.get(number)
        if stored is not None and not self.is_newer(change.checkpoint, stored.checkpoint):
            self.refused += 1
            return False
        before = stored or _Stored(change.checkpoint)
        after = _Stored(change.checkpoint, dict(before.runs), dict(before.keys))
        for row in change.changed:
            kept = after.runs.get(row.run)
            first = kept.first_offset if kept is not None else row.first_offset
            after.runs[row.run] = replace(row, first_offset=first)
        for run in self.rows_to_delete(change):
            after.runs.pop(run, None)
        after.keys.update(change.new_start_keys)
        self._partitions[number] = after
        return True


class LeaseTable:
    """Shared by all owners: who should own which partition, until when."""

    def __init__(self, partitions: int) -> None:
        self.holder: dict[int, tuple[str, float]] = {}
        self.partitions = partitions

    def owner_of(self, partition: int) -> str | None:
        held = self.holder.get(partition)
        return held[0] if held is not None and held[1] > _now_s() else None


class SimLeases:
    """One owner's view. A frozen host does not even notice that its leases are gone."""

    def __init__(self, table: LeaseTable, owner: str, share: int) -> None:
        self._table = table
        self._owner = owner
        self._share = share
        self.thawed = asyncio.Event()
        self.thawed.set()
        self.taken: frozenset[int] = frozenset()

    async def acquire(self) -> Sequence[int]:
        await asyncio.sleep(0.001)
        await self.thawed.wait()
        table, until_s = self._table, _now_s() + LEASE_S
        mine = self._mine()
        kept = frozenset(mine)
        for partition in mine:
            table.holder[partition] = (self._owner, until_s)
        for partition in range(table.partitions):
            if len(mine) >= self._share:
                break
            if table.owner_of(partition) is None:
                table.holder[partition] = (self._owner, until_s)
                mine.append(partition)
        self.taken = frozenset(mine) - kept
        return mine

    async def release(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if self._table.owner_of(partition) == self._owner:
                del self._table.holder[partition]

    def _mine(self) -> list[int]:
        return [
            partition
            for partition in range(self._table.partitions)
            if self._table.owner_of(partition) == self._owner
        ]


def _now_s() -> float:
    return asyncio.get_running_loop().time()
