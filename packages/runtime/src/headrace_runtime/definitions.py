"""Published flows in `headrace_control`: versions, labels, plans.

Every service reads plans here, by (tenant, hash); the gateway writes. A version never changes,
so plans and version numbers are cached for good; a label moves, so it is asked for each time, or
kept for a moment where runs are started by the thousand.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from pydantic import ValidationError

from headrace_core.errors import NotFound, SetupError
from headrace_core.ids import PlanHash, TenantId
from headrace_core.workflow.canonical import canonical_json
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.plan_json import plan_from_json, plan_to_json
from headrace_runtime.loading_cache import LoadingCache
from headrace_runtime.postgres.migrate import Migration, load_migrations
from headrace_runtime.postgres.pool import Pool
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))
SCHEMA = "headrace_control"
PLANS_MAX = 1_024
VERSIONS_MAX = 16_384


def migrations() -> tuple[Migration, ...]:
    """Of schema `headrace_control`; applied by the gateway."""
    return load_migrations(Path(__file__).with_name("migrations") / SCHEMA)


@dataclass(frozen=True, slots=True)
class Version:
    number: int
    hash: PlanHash


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    flow: str
    number: int
    hash: PlanHash
    labels: tuple[str, ...]
    created_ms: int


@dataclass(frozen=True, slots=True)
class Publication:
    """`is_new` is False when this tenant had published the same definition before."""

    flow: str
    version: Version
    is_new: bool


class Definitions:
    """The reading side. With `labels_kept_ms` a label that another process moved is seen that much
    later; one that moves labels itself calls `forget_labels` after it."""

    def __init__(self, pool: Pool, *, plans_max: int = PLANS_MAX, labels_kept_ms: int = 0) -> None:
        self._pool = pool
        self._plans = LoadingCache(self._load_plan, plans_max)
        self._numbers = LoadingCache(self._load_number, VERSIONS_MAX)
        self._labels = LoadingCache(self._load_label, VERSIONS_MAX)
        self._labels_kept_ms = labels_kept_ms
        self._label_reads = 0

    async def plan(self, tenant: TenantId, plan_hash: PlanHash) -> Plan:
        """Raises NotFound, and SetupError for a plan that this release cannot read."""
        return await self._plans.get((tenant, plan_hash))

    def get_cached(self, tenant: TenantId, plan_hash: PlanHash) -> Plan | None:
        return self._plans.get_cached((tenant, plan_hash))

    async def resolve(self, tenant: TenantId, flow: str, label_or_version: str | int) -> Version:
        """`stable`, `3` or 3; what the label says now. Raises NotFound."""
        wanted = str(label_or_version)
        if wanted.isascii() and wanted.isdigit():
            return await self._numbers.get((tenant, flow, int(wanted)))
        if not self._labels_kept_ms:
            return await self._load_label((tenant, flow, wanted, 0, 0))
        # Whoever asks in the same span of time, and after the same moves of our own, shares one.
        span = int(asyncio.get_running_loop().time() * 1000) // self._labels_kept_ms
        return await self._labels.get((tenant, flow, wanted, span, self._label_reads))

    def forget_labels(self) -> None:
        self._label_reads += 1

    async def number_of(self, tenant: TenantId, plan_hash: PlanHash) -> int:
        """The number under which this plan was published. Raises NotFound."""
        row = await self._pool.fetchrow(STATEMENTS["by_hash"], tenant, plan_hash)
        if row is None:
            raise NotFound(f"Tenant {tenant!r} has no published flow version {plan_hash}.")
        return row["version"]

    async def source(self, tenant: TenantId, flow: str, number: int) -> str:
        """The definition as it was published. Raises NotFound."""
        row = await self._pool.fetchrow(STATEMENTS["definition"], tenant, flow, number)
        if row is None:
            raise _no_version(flow, number)
        return row["definition"]

    async def versions(self, tenant: TenantId, flow: str = "") -> Sequence[PublishedVersion]:
        """Of one flow or of all, by flow and number."""
        rows = await self._pool.fetch(STATEMENTS["flows"], tenant, flow)
        return [
            PublishedVersion(
                row["flow"],
                row["version"],
                row["hash"],
                tuple(row["labels"]),
                int(row["created"].timestamp() * 1000),
            )
            for row in rows
        ]

    async def _load_plan(self, key: tuple[TenantId, PlanHash]) -> Plan:
        tenant, plan_hash = key
        stored = await self._pool.fetchval(STATEMENTS["plan"], tenant, plan_hash)
        if stored is None:
            raise NotFound(f"Tenant {tenant!r} has no published flow version {plan_hash}.")
        try:
            return plan_from_json(stored)
        except ValidationError as fault:
            raise SetupError(
                f"Plan {plan_hash} of tenant {tenant!r} cannot be read by this release: it was "
                f"published by a newer one. Upgrade this service first. ({fault})"
            ) from fault

    async def _load_label(self, key: tuple[TenantId, str, str, int, int]) -> Version:
        tenant, flow, label, _, _ = key
        row = await self._pool.fetchrow(STATEMENTS["by_label"], tenant, flow, label)
        if row is None:
            raise NotFound(f"Flow {flow!r} has no label {label!r}. Publish it, or set the label.")
        return Version(row["version"], row["hash"])

    async def _load_number(self, key: tuple[TenantId, str, int]) -> Version:
        tenant, flow, number = key
        row = await self._pool.fetchrow(STATEMENTS["by_number"], tenant, flow, number)
        if row is None:
            raise _no_version(flow, number)
        return Version(row["version"], row["hash"])


class Publishing:
    """The writing side: the gateway's alone."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def publish(self, tenant: TenantId, plan: Plan, source: str) -> Publication:
        """Store the plan as the next version of its flow; the same hash is the same version.

        Raises NotFound for an unknown tenant.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            # Versions are numbered without a hole: one publisher of a tenant at a time.
            if await connection.fetchval(STATEMENTS["lock_tenant"], tenant) is None:
                raise NotFound(f"There is no tenant {tenant!r}.")
            row = await connection.fetchrow(STATEMENTS["by_hash"], tenant, plan.hash)
            if row is not None:
                return Publication(row["flow"], Version(row["version"], row["hash"]), is_new=False)
            lock = canonical_json(dict(plan.lock)).decode()
            added = await connection.fetchrow(
                STATEMENTS["next_version"],
                *(tenant, plan.flow, plan.hash, plan_to_json(plan), source, lock),
            )
            assert added is not None, "an insert without a condition returns its row"
            return Publication(plan.flow, Version(added["version"], plan.hash), is_new=True)

    async def move_label(self, tenant: TenantId, flow: str, label: str, number: int) -> None:
        """Raises NotFound for a version that does not exist."""
        try:
            await self._pool.execute(STATEMENTS["move_label"], tenant, flow, label, number)
        except asyncpg.ForeignKeyViolationError:
            raise _no_version(flow, number) from None


def _no_version(flow: str, number: int) -> NotFound:
    return NotFound(f"Flow {flow!r} has no version {number}.")
