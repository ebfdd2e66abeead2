"""Leases: which scheduler should own which partition. Liveness only, as design 2 §1 has it: a
wrong or late lease can never damage data, the log's claims see to that.

Only the database's clock counts. A dead process is noticed by its lost session within 2 s, one
that hangs by its expired row; the lease itself is longer than any failover of the log.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg

from headrace_core.errors import Unavailable
from headrace_runtime.address import Address
from headrace_runtime.loading_cache import LoadingCache
from headrace_runtime.postgres.migrate import Migration, load_migrations
from headrace_runtime.postgres.pool import CONNECTION_LOST, Pool, Session, open_connection
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_suffix(".sql"))
SCHEMA = "headrace_scheduler"
LEASE = timedelta(seconds=15)
"""Above a broker's own failover (9 s measured), or each of those would start takeovers."""
RENEW_S = 0.5
"""How often `acquire` should be called. Twice in the patience, so that one call may be late."""
PATIENCE = timedelta(seconds=1.2)
"""With a renewal per 0.5 s a lost session is taken over after at most 1.7 s."""
RECONNECT_PATIENCE = timedelta(seconds=1.5)
STATEMENT_TIMEOUT_MS = 5_000
CONNECT_WAIT_S = 1.0
KEPT_MS = 1_000
# Whatever a call ends with, leases are asked for again at the next one: none ends the service.
_FAULTS: tuple[type[Exception], ...] = (*CONNECTION_LOST, asyncpg.PostgresError)


def migrations() -> tuple[Migration, ...]:
    """Of schema `headrace_scheduler`; applied by the scheduler."""
    return load_migrations(Path(__file__).with_name("migrations") / SCHEMA)


@dataclass(frozen=True, slots=True)
class Lease:
    """One row as `acquire` found it; `alive` says whether its session is."""

    partition: int
    session: int | None
    alive: bool


def plan_acquire(
    me: int, leases: Sequence[Lease], sessions: int
) -> tuple[Sequence[Lease], Sequence[int]]:
    """(leases to try to take, partitions to give up), for a fair share of `sessions` living ones.

    Nobody gives up what nobody could take: shares differ by one at most.
    """
    mine = [lease.partition for lease in leases if lease.session == me]
    free = [lease for lease in leases if not lease.alive]
    share = -(-len(leases) // max(1, sessions))
    return free[: max(0, share - len(mine))], mine[share:]


class Leases:
    """One scheduler's. It keeps a connection of its own, whose end is what others see die."""

    def __init__(
        self, dsn: str, owner: str, address: Address, partitions: int, *, lease: timedelta = LEASE
    ) -> None:
        self._dsn = dsn
        self._owner = owner
        self._address = str(address)
        self._partitions = partitions
        self._lease = lease
        # Drawn per process: a restarted scheduler is another one.
        self.session = secrets.randbits(62) + 1
        self._connection: Session | None = None
        self._reconnect_patience = timedelta()
        self._calls = asyncio.Lock()
        self._taken: frozenset[int] = frozenset()

    @property
    def taken(self) -> frozenset[int]:
        """What the last `acquire` took: it was free, or another's, in the meantime."""
        return self._taken

    async def acquire(self) -> Sequence[int]:
        """Renew, take free and dead leases up to this scheduler's share, give up what is beyond
        it; all partitions held now. Raises Unavailable: then nothing is known, and whoever owns a
        partition goes on.
        """
        async with self._calls:
            try:
                return await self._acquire(await self._connected())
            except _FAULTS as fault:
                await self._disconnect()
                raise Unavailable(f"Leases cannot be renewed: {fault!r}") from fault

    async def release(self, partitions: Sequence[int]) -> None:
        """Give up, e.g. on a drain; others take them at their next call. Raises Unavailable."""
        async with self._calls:
            try:
                connection = await self._connected()
                await connection.execute(STATEMENTS["release"], self.session, list(partitions))
            except _FAULTS as fault:
                await self._disconnect()
                raise Unavailable(f"Leases cannot be released: {fault!r}") from fault

    async def close(self) -> None:
        """Leave: what is still held is free at once. Never raises for a database that is gone."""
        async with self._calls:
            if self._connection is not None and not self._connection.is_closed():
                with suppress(*_FAULTS):
                    await self._connection.execute(STATEMENTS["leave"], self.session)
            await self._disconnect()

    async def _acquire(self, connection: Session) -> Sequence[int]:
        async with connection.transaction():
            await connection.execute(
                STATEMENTS["renew"], self.session, self._owner, self._address, self._lease
            )
        rows = await connection.fetch(STATEMENTS["survey"], PATIENCE, self._reconnect_patience)
        leases = [Lease(row["part"], row["session"], row["alive"]) for row in rows]
        wanted, excess = plan_acquire(self.session, leases, len(rows[0]["sessions"] or ()))
        held = {lease.partition for lease in leases if lease.session == self.session}
        if excess:
            await connection.execute(STATEMENTS["release"], self.session, excess)
            held.difference_update(excess)
        self._taken = frozenset()
        if wanted:
            taken = await connection.fetch(
                STATEMENTS["take"],
                *(self.session, self._owner, self._address),
                [lease.partition for lease in wanted],
                [lease.session for lease in wanted],
            )
            self._taken = frozenset(row["part"] for row in taken)
            held.update(self._taken)
        return sorted(held)

    async def _connected(self) -> Session:
        if self._connection is not None and self._connection.is_closed():
            await self._disconnect()
        if self._connection is None:
            connection = await open_connection(
                self._dsn,
                application_name="headrace leases",
                statement_timeout_ms=STATEMENT_TIMEOUT_MS,
                wait_s=CONNECT_WAIT_S,
            )
            self._connection = connection
            await connection.execute(STATEMENTS["watch_connection"])
            await connection.fetchval(STATEMENTS["hold_session"], self.session)
            await connection.execute(STATEMENTS["create_rows"], self._partitions)
            await connection.execute(STATEMENTS["forget_dead"])
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._reconnect_patience = RECONNECT_PATIENCE
        if connection is not None:
            with suppress(*_FAULTS):
                await connection.close(timeout=1)


class Owners:
    """Owner addresses for whoever sends to a partition: cached for a second, corrected by
    NOT_OWNER answers. A hint only; the addressed scheduler knows better."""

    def __init__(self, pool: Pool, *, kept_ms: int = KEPT_MS) -> None:
        self._pool = pool
        self._kept_ms = kept_ms
        self._table = LoadingCache(self._load, 1)
        self._learnt: dict[int, Address] = {}
        self._read_at_s = 0.0

    async def partitions(self) -> int:
        """Of the log; 0 until a scheduler has started for the first time."""
        return len(await self._current())

    async def address_of(self, partition: int) -> Address | None:
        """None while nobody has it: ask again."""
        table = await self._current()
        learnt = self._learnt.get(partition)
        return learnt or (table[partition] if partition < len(table) else None)

    def learn(self, partition: int, address: Address | None) -> None:
        """What a NOT_OWNER answer said; None: the table is read again at the next call."""
        if address is None:
            self._learnt.pop(partition, None)
            self._table.forget(None)
        else:
            self._learnt[partition] = address

    async def _current(self) -> Sequence[Address | None]:
        now_s = asyncio.get_running_loop().time()
        if (now_s - self._read_at_s) * 1000 >= self._kept_ms:
            self._read_at_s = now_s
            self._table.forget(None)
        return await self._table.get(None)

    async def _load(self, _: None) -> Sequence[Address | None]:
        try:
            rows = await self._pool.fetch(STATEMENTS["owners"])
        except asyncpg.UndefinedTableError:
            return ()
        self._learnt.clear()
        return [Address.parse(row["address"]) if row["address"] else None for row in rows]
