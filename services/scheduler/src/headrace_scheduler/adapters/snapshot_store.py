"""Snapshots on PostgreSQL: one transaction under the lock of the partition's checkpoint row.

A write is refused unless the log is the same and the offset is above the checkpoint's; comparing
a run's row with itself would not be enough (see the tests' snapshot model). Run states are
sealed: a snapshot holds nothing that the log does not hold sealed as well, since state keeps
stored payload bytes.
"""

from pathlib import Path

from headrace_core.ids import RunId, TenantId
from headrace_core.partition.state import StartKey
from headrace_runtime.postgres.pool import Connection, Pool
from headrace_runtime.postgres.sql import load_statements
from headrace_scheduler.adapters.database import unavailable_when_lost
from headrace_scheduler.app.ports import Checkpoint, RunRow, Snapshot, SnapshotChange

_SQL = load_statements(Path(__file__).with_suffix(".sql"))
NOTHING_WRITTEN = -1


class PostgresSnapshots:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def load(self, partition: int) -> Snapshot | None:
        with unavailable_when_lost("loading a snapshot"):
            return await self._load(partition)

    async def save(self, change: SnapshotChange) -> bool:
        with unavailable_when_lost("writing a snapshot"):
            return await self._save(change)

    async def _load(self, partition: int) -> Snapshot | None:
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            row = await connection.fetchrow(_SQL["load_checkpoint"], partition)
            if row is None or row["off"] == NOTHING_WRITTEN:
                return None
            runs = await connection.fetch(_SQL["load_runs"], partition)
            keys = await connection.fetch(_SQL["load_start_keys"], partition)
        checkpoint = Checkpoint(
            partition, row["log_id"], row["off"], row["epoch"], row["next_seq"], row["state"]
        )
        return Snapshot(
            checkpoint,
            [
                RunRow(RunId(r["run"]), TenantId(r["tenant"]), r["off"], r["first_off"], r["state"])
                for r in runs
            ],
            [
                (k["key"], StartKey(k["fingerprint"], RunId(k["run"]), k["expires_ms"]))
                for k in keys
            ],
        )

    async def _save(self, change: SnapshotChange) -> bool:
        checkpoint = change.checkpoint
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                _SQL["create_checkpoint"], checkpoint.partition, checkpoint.log_id
            )
            held = await connection.fetchrow(_SQL["lock_checkpoint"], checkpoint.partition)
            assert held is not None
            if held["log_id"] != checkpoint.log_id or held["off"] >= checkpoint.offset:
                return False
            await self._write(connection, change)
            await connection.execute(
                _SQL["move_checkpoint"],
                checkpoint.partition,
                checkpoint.offset,
                checkpoint.epoch,
                checkpoint.next_seq,
                checkpoint.state,
            )
        return True

    async def _write(self, connection: Connection, change: SnapshotChange) -> None:
        part, offset = change.checkpoint.partition, change.checkpoint.offset
        if change.changed:
            await connection.execute(
                _SQL["write_runs"],
                part,
                offset,
                [row.run for row in change.changed],
                [row.tenant for row in change.changed],
                [row.first_offset for row in change.changed],
                [row.state for row in change.changed],
            )
        if change.ended:
            await connection.execute(_SQL["delete_runs"], part, list(change.ended))
        if change.new_start_keys:
            await connection.execute(
                _SQL["write_start_keys"],
                part,
                [key for key, _ in change.new_start_keys],
                [kept.fingerprint for _, kept in change.new_start_keys],
                [kept.run for _, kept in change.new_start_keys],
                [kept.expires_at_ms for _, kept in change.new_start_keys],
            )
        await connection.execute(_SQL["delete_start_keys"], part, change.now_ms)
