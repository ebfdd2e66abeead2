"""Credits: the room that executors have granted, per lane, and who gets the next step.

A credit is granted once and spent once; what an executor granted goes with its stream. The
least loaded executor of the lane is served first, which spreads small bursts.
"""

from dataclasses import dataclass, field

from headrace_core.ids import ExecutorId


@dataclass(slots=True)
class _Lane:
    """Executors with credit in this lane, in the order in which they will be asked."""

    credit: dict[ExecutorId, int] = field(default_factory=dict[ExecutorId, int])
    total: int = 0


class Credits:
    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    def grant(self, executor: ExecutorId, lane: str, count: int) -> None:
        assert count > 0, "a grant adds room"
        entry = self._lanes.get(lane)
        if entry is None:
            entry = self._lanes[lane] = _Lane()
        entry.credit[executor] = entry.credit.get(executor, 0) + count
        entry.total += count

    def available(self, lane: str) -> int:
        entry = self._lanes.get(lane)
        return entry.total if entry is not None else 0

    def spend(self, lane: str) -> ExecutorId | None:
        """Take one credit; None when the lane has none."""
        entry = self._lanes.get(lane)
        if entry is None or not entry.total:
            return None
        if len(entry.credit) == 1:
            executor = next(iter(entry.credit))
        else:
            executor = max(entry.credit, key=entry.credit.__getitem__)
        left = entry.credit[executor] - 1
        entry.total -= 1
        if left:
            entry.credit[executor] = left
        else:
            del entry.credit[executor]
        return executor

    def withdraw(self, executor: ExecutorId) -> int:
        """The executor's stream has ended: its credits are void. Answers how many there were."""
        gone = 0
        for entry in self._lanes.values():
            credit = entry.credit.pop(executor, 0)
            entry.total -= credit
            gone += credit
        return gone

    def of(self, executor: ExecutorId, lane: str) -> int:
        entry = self._lanes.get(lane)
        return entry.credit.get(executor, 0) if entry is not None else 0
