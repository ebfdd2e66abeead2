"""Ready steps meet credits: queues per lane, fair over tenants, and what was assigned."""

from collections.abc import Callable, Iterator

from headrace_core.ids import ExecutorId, TenantId
from headrace_core.run.state import RunState
from headrace_scheduler.domain.credits import Credits
from headrace_scheduler.domain.fair_queue import FairQueue, Ready


class Assigning:
    """`tokens` draws the number that proves whose attempt a result closes."""

    def __init__(self, tokens: Callable[[], int], queue: type[FairQueue] = FairQueue) -> None:
        self.credits = Credits()
        self._queue = queue
        self._queues: dict[str, FairQueue] = {}
        self._weights: dict[TenantId, int] = {}
        self._tokens = tokens

    def enqueue(self, lane: str, ready: Ready, priority: int) -> None:
        queue = self._queues.get(lane)
        if queue is None:
            queue = self._queues[lane] = self._queue()
            for tenant, weight in self._weights.items():
                queue.set_weight(tenant, weight)
        queue.push(ready, priority)

    def set_weight(self, tenant: TenantId, weight: int) -> None:
        self._weights[tenant] = weight
        for queue in self._queues.values():
            queue.set_weight(tenant, weight)

    def candidates(
        self, find: Callable[[Ready], RunState | None]
    ) -> Iterator[tuple[str, Ready, RunState]]:
        """Lane, step and run in fair order, of the steps that `find` knows as ready, while their
        lane has credit; the caller spends one for each."""
        self.credits.withdrawn.clear()
        for lane, queue in self._queues.items():
            while self.credits.available(lane):
                found = queue.pop(find)
                if found is None:
                    break
                yield lane, *found

    def spend(self, lane: str) -> tuple[ExecutorId, int]:
        executor = self.credits.spend(lane)
        assert executor is not None, "candidates are offered only where there is credit"
        return executor, self._tokens()

    def has_work(self) -> bool:
        return any(
            len(queue) and self.credits.available(lane) for lane, queue in self._queues.items()
        )

    def depths(self) -> Iterator[tuple[str, TenantId, int]]:
        for lane, queue in self._queues.items():
            for tenant, depth in queue.depth_by_tenant().items():
                yield lane, tenant, depth
