"""Claims of others on partitions to which this owner has nothing to append.

An owner that appends is told by the log that it was fenced. One that has nothing to append would
never hear of it: a process that stood still in the midst of a takeover claims with a lease that is
long gone, and gives up again; the executors keep their results for that newest epoch, and whoever
holds the lease waits for them, each for the other.
"""

from collections.abc import Mapping, Sequence

from headrace_core.errors import LogRewound, RangeDeleted
from headrace_runtime.eventlog.port import EventLog
from headrace_runtime.eventlog.reader import claims_between
from headrace_scheduler.app.appending import Loss
from headrace_scheduler.app.partition import OwnedPartition

Place = tuple[int, int]
"""An epoch, and the offset that its owner would append at."""


class NewerClaims:
    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._last: dict[int, Place] = {}

    async def look(self, owned: Mapping[int, OwnedPartition]) -> Sequence[Loss]:
        """The partitions that another has claimed, of those without an append since the last look.

        Raises HeadraceError when the log cannot be asked; then nothing is known.
        """
        places = {number: (one.epoch, one.next_offset) for number, one in owned.items()}
        idle = [number for number, place in places.items() if self._last.get(number) == place]
        self._last = places
        if not idle:
            return ()
        ends = await self._log.ends()
        losses: list[Loss] = []
        for number in idle:
            epoch, next_offset = places[number]
            claimed = await self._is_claimed(number, next_offset, ends[number])
            # Given up and claimed anew meanwhile, it is another ownership.
            if claimed and number in owned and owned[number].epoch == epoch:
                losses.append(Loss(number, "another owner has claimed the partition"))
        return losses

    async def _is_claimed(self, partition: int, first: int, end: int) -> bool:
        try:
            return bool(await claims_between(self._log, partition, first, end))
        except (RangeDeleted, LogRewound):
            # What lies above this owner's last record only a newer owner can have deleted.
            return True
