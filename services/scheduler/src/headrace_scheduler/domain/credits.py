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
    """`withdrawn` are the executors whose stream has ended since steps were last given out: what
    was spent of theirs and is not sent yet was granted on a stream that is gone."""

    def __init__(self) -> None:
        self.withdrawn: set[ExecutorId] = set()
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

    @property
    def free(self) -> int:
        """Over all lanes."""
        return sum(entry.total for entry in self._lanes.values())

    def spend(self, lane: str) -> ExecutorId | None:
        """Take one credit; None when the lane has none."""
        entry = self._lanes.get(lane)
        if entry is None or not entry.total:
            return None
        if len(entry.credit) == 1:
            executor = next(iter(entry.credit))
        else:
            executor = max(entry.credit, key=entry.credit.__getitem__)
        self._take(entry, executor)
        return executor

    def give_back(self, executor: ExecutorId, lane: str) -> None:
        """What was spent was not used. Void if its stream has ended meanwhile."""
        if executor not in self.withdrawn:
            self.grant(executor, lane, 1)

    def sent(self, executor: ExecutorId, lane: str) -> None:
        """What was spent is used on the executor's stream of now, which counts it as one of its
        own; if that is not the stream it was granted on, it costs one that is."""
        if executor in self.withdrawn and self.of(executor, lane):
            self._take(self._lanes[lane], executor)

    def _take(self, entry: _Lane, executor: ExecutorId) -> None:
        left = entry.credit[executor] - 1
        entry.total -= 1
        if left:
            entry.credit[executor] = left
        else:
            del entry.credit[executor]

    def withdraw(self, executor: ExecutorId) -> int:
        """The executor's stream has ended: its credits are void. Answers how many there were."""
        gone = 0
        self.withdrawn.add(executor)
        for entry in self._lanes.values():
            credit = entry.credit.pop(executor, 0)
            entry.total -= credit
            gone += credit
        return gone

    def of(self, executor: ExecutorId, lane: str) -> int:
        entry = self._lanes.get(lane)
        return entry.credit.get(executor, 0) if entry is not None else 0
