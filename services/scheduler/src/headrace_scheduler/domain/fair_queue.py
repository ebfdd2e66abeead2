"""Ready steps of one lane: deficit round robin over tenants, priorities inside a tenant.

Shreedhar and Varghese, "Efficient Fair Queueing using Deficit Round Robin" (1995), with a cost of
one per step: a tenant that is visited may take as many steps as its weight, then the next one is
served. A tenant can fill only its own queue, and its first step waits at most one round.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from headrace_core.ids import RunId, StepKey, TenantId

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Ready:
    """A step that waits for credit. The queue may hold steps that are no longer ready: whoever
    takes one looks at the run's state."""

    tenant: TenantId
    run: RunId
    step: StepKey
    partition: int


class _Backlog:
    """One tenant's steps: higher priorities first, in order of arrival inside a priority."""

    __slots__ = ("_by_priority", "_highest", "deficit", "weight")

    def __init__(self, weight: int) -> None:
        self._by_priority: dict[int, deque[Ready]] = {}
        self._highest: list[int] = []
        self.weight = weight
        self.deficit = 0

    def push(self, ready: Ready, priority: int) -> None:
        waiting = self._by_priority.get(priority)
        if waiting is None:
            waiting = self._by_priority[priority] = deque()
            self._highest = sorted(self._by_priority, reverse=True)
        waiting.append(ready)

    def pop(self) -> Ready:
        priority = self._highest[0]
        waiting = self._by_priority[priority]
        ready = waiting.popleft()
        if not waiting:
            del self._by_priority[priority]
            del self._highest[0]
        return ready

    def count(self) -> int:
        return sum(len(waiting) for waiting in self._by_priority.values())

    def __bool__(self) -> bool:
        return bool(self._by_priority)


class FairQueue:
    """Weights are steps per round; a tenant without one counts 1."""

    def __init__(self) -> None:
        self._backlogs: OrderedDict[TenantId, _Backlog] = OrderedDict()
        self._weights: dict[TenantId, int] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def set_weight(self, tenant: TenantId, weight: int) -> None:
        assert weight >= 1, "a weight of 0 would starve the tenant"
        self._weights[tenant] = weight
        backlog = self._backlogs.get(tenant)
        if backlog is not None:
            backlog.weight = weight

    def push(self, ready: Ready, priority: int) -> None:
        backlog = self._backlogs.get(ready.tenant)
        if backlog is None:
            backlog = _Backlog(self._weights.get(ready.tenant, 1))
            self._backlogs[ready.tenant] = backlog
        backlog.push(ready, priority)
        self._size += 1

    def pop(self, find: Callable[[Ready], Found | None]) -> tuple[Ready, Found] | None:
        """The next step in fair order, with what `find` has of it; None when nothing waits.

        What `find` does not know is no longer ready and is dropped: a tenant's turn is not spent
        on it, or many of them, as a partition leaves that was lost, would let the others pass.
        """
        while self._size:
            tenant, backlog = next(iter(self._backlogs.items()))
            if backlog.deficit <= 0:
                backlog.deficit = backlog.weight
            ready = backlog.pop()
            self._size -= 1
            found = find(ready)
            if found is not None:
                backlog.deficit -= 1
            if not backlog:
                # An emptied queue keeps no claim on a later round.
                del self._backlogs[tenant]
            elif backlog.deficit <= 0:
                self._backlogs.move_to_end(tenant)
            if found is not None:
                return ready, found
        return None

    def depth_by_tenant(self) -> dict[TenantId, int]:
        counts: dict[TenantId, int] = {}
        for tenant, backlog in self._backlogs.items():
            counts[tenant] = backlog.count()
        return counts
