"""Timers, rebuilt from state: absolute due times, never early.

A heap with lazy deletion: what fires is checked against the run's state by the decision, so a
timer that lost its meaning costs one look and nothing else. A million runs may sleep, so a timer
is kept as one flat tuple and becomes an effect again when it is due.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_core.ids import RunId, StepKey
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.effects import ArmSchedule, SetTimer

_COUNT_BITS = 40

_Entry = tuple[int, int, str, StepKey, TimerKind | None]
"""Due time and count in one number, partition, run, step, kind; a schedule's timer has its name in
the place of the run, and no kind."""


@dataclass(slots=True)
class Timers:
    _heap: list[_Entry] = field(default_factory=list[_Entry])
    _count: int = 0

    def add(self, partition: int, timer: SetTimer | ArmSchedule) -> None:
        self._count += 1
        order = timer.due_ms << _COUNT_BITS | self._count
        if isinstance(timer, SetTimer):
            entry = (order, partition, timer.run, timer.step, timer.kind)
        else:
            entry = (order, partition, timer.schedule, StepKey(""), None)
        heapq.heappush(self._heap, entry)

    def next_due_ms(self) -> int | None:
        return self._heap[0][0] >> _COUNT_BITS if self._heap else None

    def take_due(self, now_ms: int, limit: int) -> Sequence[tuple[int, SetTimer | ArmSchedule]]:
        """At most `limit` (partition, timer) whose time has come, earliest first."""
        due: list[tuple[int, SetTimer | ArmSchedule]] = []
        while len(due) < limit and self._heap and self._heap[0][0] >> _COUNT_BITS <= now_ms:
            order, partition, name, step, kind = heapq.heappop(self._heap)
            due_ms = order >> _COUNT_BITS
            if kind is None:
                due.append((partition, ArmSchedule(name, due_ms)))
            else:
                due.append((partition, SetTimer(due_ms, RunId(name), step, kind)))
        return due

    def drop_partition(self, partition: int) -> None:
        """The partition was given up; its new owner has its own timers."""
        self._heap = [entry for entry in self._heap if entry[1] != partition]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)
