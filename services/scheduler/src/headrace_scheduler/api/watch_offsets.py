"""SchedulerService.WatchOffsets: wakes readers of the log after each commit, coalesced."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from headrace.scheduler.v1 import scheduler_service_pb2 as pb


class OffsetHints:
    """The newest end per partition; a watcher that is slow sees only the last one."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self._watchers: set[_Watcher] = set()

    def committed(self, ends: Mapping[int, int]) -> None:
        self._ends.update(ends)
        for watcher in self._watchers:
            watcher.changed.update(ends)
            watcher.ready.set()

    async def watch(self) -> AsyncIterator[pb.WatchOffsetsResponse]:
        watcher = _Watcher(dict(self._ends))
        self._watchers.add(watcher)
        try:
            while True:
                if not watcher.changed:
                    watcher.ready.clear()
                    await watcher.ready.wait()
                changed, watcher.changed = watcher.changed, {}
                yield pb.WatchOffsetsResponse(
                    ends=[
                        pb.PartitionEnd(partition=partition, next_offset=end)
                        for partition, end in changed.items()
                    ]
                )
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    __slots__ = ("changed", "ready")

    def __init__(self, changed: dict[int, int]) -> None:
        self.changed = changed
        self.ready = asyncio.Event()
