"""Credits are conserved; timers are never early."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace_core.ids import ExecutorId, RunId, StepKey
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.credits import Credits
from headrace_scheduler.domain.effects import SetTimer
from headrace_scheduler.domain.timers import Timers

EXECUTORS = st.sampled_from([ExecutorId("e1"), ExecutorId("e2")])
LANES = st.sampled_from(["shared", "worker:acme:audit"])


class CreditLedger(RuleBasedStateMachine):
    """Granted = used + given back + withdrawn + free, per stream and lane, whatever the order."""

    def __init__(self) -> None:
        super().__init__()
        self.credits = Credits()
        self.left: dict[tuple[ExecutorId, str], int] = {}
        self.spent: list[tuple[ExecutorId, str, int]] = []
        self.streams: dict[ExecutorId, int] = {}

    def stream(self, executor: ExecutorId) -> int:
        return self.streams.get(executor, 0)

    @rule(executor=EXECUTORS, lane=LANES, count=st.integers(1, 5))
    def grant(self, executor: ExecutorId, lane: str, count: int) -> None:
        self.credits.grant(executor, lane, count)
        self.left[executor, lane] = self.left.get((executor, lane), 0) + count

    @precondition(lambda self: not self.spent)
    @rule(lanes=st.lists(LANES, max_size=6))
    def a_pass_gives_out_steps(self, lanes: list[str]) -> None:
        self.credits.withdrawn.clear()
        for lane in lanes:
            executor = self.credits.spend(lane)
            if executor is None:
                assert not any(left for (_, of), left in self.left.items() if of == lane)
            else:
                self.left[executor, lane] -= 1
                assert self.left[executor, lane] >= 0
                self.spent.append((executor, lane, self.stream(executor)))

    @precondition(lambda self: self.spent)
    @rule(durable=st.booleans())
    def its_append_ends(self, *, durable: bool) -> None:
        for executor, lane, stream in self.spent:
            of_now, key = stream == self.stream(executor), (executor, lane)
            if durable:
                self.credits.sent(executor, lane)
                # The stream that followed counts the task as one of its own credits.
                self.left[key] = max(0, self.left.get(key, 0) - (not of_now))
            else:
                self.credits.give_back(executor, lane)
                self.left[key] = self.left.get(key, 0) + of_now
        self.spent.clear()

    @rule(executor=EXECUTORS)
    def withdraw(self, executor: ExecutorId) -> None:
        gone = self.credits.withdraw(executor)
        held = [key for key in self.left if key[0] == executor]
        assert gone == sum(self.left.pop(key) for key in held)
        self.streams[executor] = self.stream(executor) + 1

    @invariant()
    def totals_agree(self) -> None:
        for lane in ("shared", "worker:acme:audit"):
            of_lane = {key: left for key, left in self.left.items() if key[1] == lane}
            assert self.credits.available(lane) == sum(of_lane.values())
            assert all(self.credits.of(*key) == left for key, left in of_lane.items())


TestCreditLedger = CreditLedger.TestCase
TestCreditLedger.settings = settings(max_examples=100, deadline=None)


@given(due=st.lists(st.integers(0, 1_000), max_size=50), now=st.lists(st.integers(0, 1_000)))
@settings(deadline=None)
def test_timers_fire_once_and_never_early(due: list[int], now: list[int]) -> None:
    timers = Timers()
    for number, due_ms in enumerate(due):
        timer = SetTimer(due_ms, RunId(f"r{number}"), StepKey("a"), TimerKind.STEP_DUE)
        timers.add(number % 3, timer)
    fired: list[int] = []
    for now_ms in sorted(now):
        for _, timer in timers.take_due(now_ms, 1_000):
            assert timer.due_ms <= now_ms
            fired.append(timer.due_ms)
    assert fired == sorted(due_ms for due_ms in due if now and due_ms <= max(now))
    assert len(timers) == len(due) - len(fired)


def test_timers_of_a_partition_that_was_given_up_are_dropped() -> None:
    timers = Timers()
    for partition in (0, 1):
        timers.add(partition, SetTimer(5, RunId("r"), StepKey("a"), TimerKind.STEP_DUE))
    timers.drop_partition(0)
    assert [partition for partition, _ in timers.take_due(10, 10)] == [1]
