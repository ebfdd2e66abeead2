"""Timers, rebuilt from state: absolute due times, never early.

A heap with lazy deletion: what fires is checked against the run's state by the decision, so a
timer that lost its meaning costs one look and nothing else.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_scheduler.domain.effects import ArmSchedule, SetTimer


@dataclass(slots=True)
class Timers:
    _heap: list[tuple[int, int, int, SetTimer | ArmSchedule]] = field(
        default_factory=list[tuple[int, int, int, SetTimer | ArmSchedule]]
    )
    _count: int = 0

    def add(self, partition: int, timer: SetTimer | ArmSchedule) -> None:
        self._count += 1
        heapq.heappush(self._heap, (timer.due_ms, self._count, partition, timer))

    def next_due_ms(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def take_due(self, now_ms: int, limit: int) -> Sequence[tuple[int, SetTimer | ArmSchedule]]:
        """At most `limit` (partition, timer) whose time has come, earliest first."""
        due: list[tuple[int, SetTimer | ArmSchedule]] = []
        while self._heap and self._heap[0][0] <= now_ms and len(due) < limit:
            _, _, partition, timer = heapq.heappop(self._heap)
            due.append((partition, timer))
        return due

    def drop_partition(self, partition: int) -> None:
        """The partition was given up; its new owner has its own timers."""
        self._heap = [entry for entry in self._heap if entry[2] != partition]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)
