"""Fair queues: bounded unfairness, weights, priorities, no starvation."""

from collections import Counter
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace_core.ids import RunId, StepKey, TenantId
from headrace_scheduler.domain.fair_queue import FairQueue, Ready

WEIGHTS = {"a": 1, "b": 1, "c": 2, "d": 5}


def ready(tenant: str, number: int = 0) -> Ready:
    return Ready(TenantId(tenant), RunId(f"run{number}"), StepKey("a"), 0)


def pop(queue: FairQueue) -> Ready | None:
    found = queue.pop(lambda one: one)
    return None if found is None else found[0]


def test_a_noisy_tenant_fills_only_its_own_queue() -> None:
    queue = FairQueue()
    for number in range(1_000):
        queue.push(ready("noisy", number), 0)
    queue.push(ready("quiet"), 0)
    first_two = [pop(queue), pop(queue)]
    assert {one.tenant for one in first_two if one is not None} == {"noisy", "quiet"}


def test_priorities_go_first_inside_a_tenant_and_order_of_arrival_inside_a_priority() -> None:
    queue = FairQueue()
    for number, priority in enumerate([0, 5, 0, 5, -1]):
        queue.push(ready("a", number), priority)
    order = [one.run for one in iter(partial(pop, queue), None)]
    assert order == ["run1", "run3", "run0", "run2", "run4"]


def test_a_weight_of_three_gets_three_steps_per_round() -> None:
    queue = FairQueue()
    queue.set_weight(TenantId("big"), 3)
    for number in range(30):
        queue.push(ready("big", number), 0)
        queue.push(ready("small", number), 0)
    served = [one.tenant for one in (pop(queue) for _ in range(16)) if one is not None]
    assert served.count(TenantId("big")) == 12


@given(
    backlog=st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(20, 60), min_size=2),
    taken=st.integers(1, 40),
)
@settings(max_examples=200, deadline=None)
def test_backlogged_tenants_of_equal_weight_differ_by_at_most_one_step(
    backlog: dict[str, int], taken: int
) -> None:
    queue = FairQueue()
    for tenant, depth in backlog.items():
        for number in range(depth):
            queue.push(ready(tenant, number), 0)
    counts = dict.fromkeys(backlog, 0)
    for _ in range(min(taken, 20 * len(backlog) - len(backlog))):
        one = pop(queue)
        assert one is not None
        counts[one.tenant] += 1
    assert max(counts.values()) - min(counts.values()) <= 1


class Crowd(RuleBasedStateMachine):
    """Tenants that come and go, in any order. While one waits, each other tenant is served at most
    its weight once more than the rounds that the waiting one has had; so an idle tenant's first
    step waits for at most one round of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue()
        self.waiting: Counter[str] = Counter()
        self.served: dict[str, Counter[str]] = {}
        for tenant, weight in WEIGHTS.items():
            self.queue.set_weight(TenantId(tenant), weight)

    @rule(tenant=st.sampled_from("abcd"), count=st.integers(1, 9), priority=st.integers(-1, 1))
    def come(self, tenant: str, count: int, priority: int) -> None:
        for number in range(count):
            self.queue.push(ready(tenant, number), priority)
        if not self.waiting[tenant]:
            self.served[tenant] = Counter()
        self.waiting[tenant] += count

    @rule(count=st.integers(1, 12))
    def serve(self, count: int) -> None:
        for _ in range(count):
            one = pop(self.queue)
            assert (one is None) == (not self.waiting.total())
            if one is None:
                return
            self.waiting[one.tenant] -= 1
            for tenant, since in self.served.items():
                since[one.tenant] += self.waiting[tenant] > 0 or one.tenant == tenant

    @invariant()
    def nobody_is_far_ahead_of_who_waits(self) -> None:
        for tenant, count in self.waiting.items():
            if not count:
                continue
            since = self.served[tenant]
            rounds = since[tenant] // WEIGHTS[tenant] + 1
            for other, weight in WEIGHTS.items():
                assert other == tenant or since[other] <= rounds * weight


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=150, deadline=None)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-3, 3)), max_size=80))
@settings(max_examples=200, deadline=None)
def test_everything_that_was_pushed_comes_out_once(steps: list[tuple[str, int]]) -> None:
    queue = FairQueue()
    for number, (tenant, priority) in enumerate(steps):
        queue.push(ready(tenant, number), priority)
    assert len(queue) == len(steps)
    served = sorted(one.run for one in iter(partial(pop, queue), None))
    assert served == sorted(f"run{number}" for number in range(len(steps)))
    assert len(queue) == 0 and queue.depth_by_tenant() == {}


def test_steps_that_are_no_longer_ready_cost_their_tenant_no_turn() -> None:
    queue = FairQueue()
    for number in range(50):
        queue.push(ready("stale", number), 0)
    queue.push(ready("stale", 99), 0)
    for number in range(100, 150):
        queue.push(ready("busy", number), 0)

    def find(one: Ready) -> Ready | None:
        return None if int(one.run[3:]) < 50 else one

    served = [queue.pop(find) for _ in range(2)]
    assert [one[0].run for one in served if one is not None] == ["run99", "run100"]


def test_a_queue_of_nothing_that_is_still_ready_is_empty_after_one_look() -> None:
    queue = FairQueue()
    for number, tenant in enumerate("abab"):
        queue.push(ready(tenant, number), 0)
    assert queue.pop(lambda one: None) is None
    assert len(queue) == 0 and queue.depth_by_tenant() == {}
