"""Moves the checkpoints of owned partitions, a few seconds apart.

What is written is read from memory between two passes, when everything in memory stands in the
log. Short runs never reach a snapshot: they have ended before the next one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from headrace_core.errors import HeadraceError
from headrace_core.run.freeze import freeze_partition, freeze_run
from headrace_runtime.clock import Clock
from headrace_runtime.telemetry import Logger
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Checkpoint, RunRow, SnapshotChange, SnapshotStore


class Snapshots:
    """`interval_ms` is the time between two checkpoints of one partition."""

    def __init__(self, store: SnapshotStore, clock: Clock, interval_ms: int, log: Logger) -> None:
        self._store = store
        self._clock = clock
        self._interval_ms = interval_ms
        self._log = log
        self._due_ms: dict[int, int] = {}
        self._saving: dict[int, asyncio.Task[None]] = {}

    def after_pass(self, owned: Sequence[OwnedPartition]) -> None:
        """Called between passes; freezes at most one partition, so that no pass waits long."""
        now_ms = self._clock.now_ms()
        for partition in owned:
            number = partition.number
            due_ms = self._due_ms.setdefault(number, now_ms + self._interval_ms)
            if now_ms < due_ms or number in self._saving:
                continue
            if partition.next_offset - 1 <= partition.checkpoint_offset:
                self._due_ms[number] = now_ms + self._interval_ms
                continue
            self._begin(partition, now_ms)
            return

    def forget(self, partition: int) -> None:
        self._due_ms.pop(partition, None)

    async def save_all(self, owned: Sequence[OwnedPartition]) -> None:
        """A last checkpoint before the partitions are given up, so that the next owner folds
        little."""
        for partition in owned:
            saving = self._saving.get(partition.number)
            if saving is not None:
                await saving
            if partition.next_offset - 1 > partition.checkpoint_offset:
                await self._save(partition, take_change(partition, self._clock.now_ms()))

    def _begin(self, partition: OwnedPartition, now_ms: int) -> None:
        change = take_change(partition, now_ms)
        task = asyncio.get_running_loop().create_task(self._save(partition, change))
        self._saving[partition.number] = task
        task.add_done_callback(lambda _: self._saving.pop(partition.number, None))
        self._due_ms[partition.number] = now_ms + self._interval_ms

    async def _save(self, partition: OwnedPartition, change: SnapshotChange) -> None:
        saved = False
        try:
            saved = await self._store.save(change)
        except (OSError, HeadraceError) as error:
            self._log.warning("snapshot not written", partition=partition.number, cause=repr(error))
        finally:
            # A later checkpoint without these rows would recover a state that never was.
            if saved:
                partition.checkpoint_offset = change.checkpoint.offset
            else:
                give_back(partition, change)


def take_change(partition: OwnedPartition, now_ms: int) -> SnapshotChange:
    """What the next checkpoint transaction writes; the marks of change are taken with it."""
    offset = partition.next_offset - 1
    checkpoint = Checkpoint(
        partition=partition.number,
        log_id=partition.log_id,
        offset=offset,
        epoch=partition.epoch,
        next_seq=partition.next_seq,
        # Start keys have rows of their own: there may be hundreds of thousands of them.
        state=freeze_partition(replace(partition.state, start_keys={})),
    )
    changed: list[RunRow] = []
    # In order, since the next owner takes up its runs in the order of their rows.
    for run_id in sorted(partition.dirty):
        run = partition.runs.get(run_id)
        if run is not None:
            first = partition.first_offsets.get(run_id, 0)
            frozen = freeze_run(run)
            changed.append(RunRow(run_id, run.tenant, offset, first, frozen))
            partition.runs.let_sleep(run_id, frozen)
    change = SnapshotChange(
        checkpoint=checkpoint,
        changed=changed,
        ended=sorted(partition.ended),
        new_start_keys=tuple(partition.new_start_keys),
        now_ms=now_ms,
    )
    partition.dirty.clear()
    partition.ended.clear()
    partition.new_start_keys.clear()
    return change


def give_back(partition: OwnedPartition, change: SnapshotChange) -> None:
    """The transaction was refused or failed: its changes belong to the next one."""
    partition.dirty.update(row.run for row in change.changed if row.run in partition.runs)
    partition.ended.update(change.ended)
    partition.new_start_keys[:0] = change.new_start_keys
