"""The protocol under a network that loses, doubles, delays and reorders, and owners that change.

One log, two partitions, two schedulers. Every message towards the executor may come late, twice
or never, and on a stream that has been cut; what the executor sends may be lost with its stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace_core.ids import ExecutorId, PlanHash, RunId, StepKey, TenantId
from headrace_core.payload import Stored
from headrace_worker.messages import (
    Acknowledgement,
    Announcement,
    Attempt,
    AttemptKey,
    Outcome,
    Received,
    Result,
    Sending,
    Task,
    Work,
)
from headrace_worker.protocol import DispatchProtocol

ME, FORMER = ExecutorId("exec-2"), ExecutorId("exec-1")
LOG = b"L" * 16
STREAMS = ("a:1", "b:1")
WINDOW = 4
partitions = st.integers(0, 1)
places = st.integers(0, 1_000)


@dataclass(slots=True)
class Owner:
    """Who owns a partition, and its epoch; an older owner's messages may still be on their way."""

    stream: str
    epoch: int


@dataclass(slots=True)
class Wire:
    """Messages under way to the executor on one scheduler's streams."""

    connected: bool = False
    messages: list[Received] = field(default_factory=list[Received])


class DispatchUnderFaults(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.subject = DispatchProtocol(ME, ("shared",), WINDOW)
        self.wires = {stream: Wire() for stream in STREAMS}
        self.owners = {0: Owner(STREAMS[0], 1), 1: Owner(STREAMS[1], 1)}
        self.attempts = 0
        self.begun: dict[AttemptKey, Attempt] = {}
        self.running: dict[AttemptKey, Attempt] = {}
        self.kept: dict[AttemptKey, Result] = {}
        self.reported = {0: 0, 1: 0}

    # Schedulers -----------------------------------------------------------------------------

    @rule(partition=partitions, stream=st.sampled_from(STREAMS))
    def another_owner_claims(self, partition: int, stream: str) -> None:
        owner = self.owners[partition]
        self.owners[partition] = Owner(stream, owner.epoch + 3)
        self._queue(stream, Received(LOG, announcements=[self._announcement(partition)]))

    @rule(partition=partitions, mine=st.booleans())
    def the_owner_sends_a_task(self, partition: int, *, mine: bool) -> None:
        self.attempts += 1
        owner = self.owners[partition]
        step = StepKey(f"s{self.attempts}")
        attempt = Attempt(partition, owner.epoch, TenantId("t"), RunId("r"), step, 1, 7)
        executor = ME if mine else FORMER
        task = Task(attempt, executor, 0, PlanHash("p"), "f", "shared")
        self._queue(owner.stream, Received(LOG, tasks=[task]))

    @precondition(lambda self: self.running)
    @rule(place=places, behind=st.integers(0, 6))
    def somebody_closes_an_open_attempt(self, place: int, behind: int) -> None:
        """The owner by a record of its own, or one so old that it does not know the attempt."""
        attempt = self.running[sorted(self.running)[place % len(self.running)]]
        owner = self.owners[attempt.partition]
        acknowledgement = Acknowledgement(attempt.key, owner.epoch - behind)
        self._queue(owner.stream, Received(LOG, acknowledgements=[acknowledgement]))

    @rule(stream=st.sampled_from(STREAMS), place=places)
    def a_message_arrives(self, stream: str, place: int) -> None:
        self._deliver(stream, place, keep=False)

    @rule(stream=st.sampled_from(STREAMS), place=places)
    def a_message_arrives_and_will_come_again(self, stream: str, place: int) -> None:
        self._deliver(stream, place, keep=True)

    @rule(stream=st.sampled_from(STREAMS), place=places)
    def a_message_is_lost(self, stream: str, place: int) -> None:
        messages = self.wires[stream].messages
        if messages:
            messages.pop(place % len(messages))

    @rule(stream=st.sampled_from(STREAMS))
    def a_stream_opens(self, stream: str) -> None:
        if not self.wires[stream].connected:
            self.wires[stream].connected = True
            self.subject.connect(stream)

    @rule(stream=st.sampled_from(STREAMS))
    def a_stream_breaks(self, stream: str) -> None:
        if self.wires[stream].connected:
            self.wires[stream].connected = False
            self.subject.disconnect(stream)

    # The executor ---------------------------------------------------------------------------

    @precondition(lambda self: self.running)
    @rule(place=places)
    def an_attempt_ends(self, place: int) -> None:
        key = sorted(self.running)[place % len(self.running)]
        result = Result(self.running.pop(key), Outcome.SUCCEEDED, Stored(key[1].encode()))
        self.subject.finish(result)
        self.kept[key] = result

    @rule(stream=st.sampled_from(STREAMS), lost=st.booleans())
    def the_executor_writes(self, stream: str, *, lost: bool) -> None:
        """Lost: the stream breaks while the message is under way."""
        if not self.wires[stream].connected:
            return
        message = self.subject.next_message(stream)
        if message is None:
            return
        self._check(message)
        if lost:
            self.a_stream_breaks(stream)
        else:
            self._answer(stream, message)

    def teardown(self) -> None:
        """Without further faults everything that was accepted ends and is acknowledged."""
        for stream in STREAMS:
            self.a_stream_breaks(stream)
            self.wires[stream].messages.clear()
            self.a_stream_opens(stream)
        for partition, owner in self.owners.items():
            self._queue(owner.stream, Received(LOG, announcements=[self._announcement(partition)]))
        for _ in range(4):
            for stream in STREAMS:
                while self.wires[stream].messages:
                    self._deliver(stream, 0, keep=False)
                while self.running:
                    self.an_attempt_ends(0)
                while (message := self.subject.next_message(stream)) is not None:
                    self._check(message)
                    self._answer(stream, message)
        assert (self.subject.open, self.subject.unacknowledged) == (0, 0)
        assert not self.kept

    @invariant()
    def a_result_is_kept_until_a_valid_acknowledgement(self) -> None:
        assert self.subject.unacknowledged == len(self.kept)
        assert self.subject.open == len(self.running)

    # ----------------------------------------------------------------------------------------

    def _announcement(self, partition: int) -> Announcement:
        return Announcement(partition, self.owners[partition].epoch)

    def _queue(self, stream: str, message: Received) -> None:
        self.wires[stream].messages.append(message)

    def _deliver(self, stream: str, place: int, *, keep: bool) -> None:
        wire = self.wires[stream]
        if not wire.messages or not wire.connected:
            return
        at = place % len(wire.messages)
        message = wire.messages[at] if keep else wire.messages.pop(at)
        work = self.subject.receive(stream, message)
        for one in message.acknowledgements:
            kept = self.kept.get(one.attempt)
            if kept is not None and one.epoch >= kept.attempt.epoch:
                del self.kept[one.attempt]
        self._begin(work, {one.attempt: one.epoch for one in message.acknowledgements})

    def _begin(self, work: Work, valid: Mapping[AttemptKey, int]) -> None:
        for attempt in work.closed:
            assert valid[attempt.key] >= attempt.epoch, "closed by one who does not know it"
            del self.running[attempt.key]
        for task in work.tasks:
            attempt = task.attempt
            assert task.executor == ME, "a task for another process was begun"
            assert attempt.key not in self.running and attempt.key not in self.kept
            assert attempt.epoch >= self.reported[attempt.partition], "REP"
            self.running[attempt.key] = attempt

    def _check(self, message: Sending) -> None:
        for report in message.reports:
            self.reported[report.partition] = max(self.reported[report.partition], report.epoch)
            held = {key for key, one in self.running.items() if one.partition == report.partition}
            held |= {
                key for key, one in self.kept.items() if one.attempt.partition == report.partition
            }
            assert {attempt.key for attempt in report.open} == held
        for result in message.results:
            assert self.kept[result.attempt.key] == result

    def _answer(self, stream: str, message: Sending) -> None:
        """The owner records and acknowledges; whoever is not the owner knows nothing."""
        for result in message.results:
            attempt = result.attempt
            owner = self.owners[attempt.partition]
            if owner.stream != stream:
                continue
            acknowledgement = Acknowledgement(attempt.key, owner.epoch)
            self._queue(stream, Received(LOG, acknowledgements=[acknowledgement]))


TestDispatchUnderFaults = pytest.mark.slow(DispatchUnderFaults.TestCase)
TestDispatchUnderFaults.settings = settings(max_examples=150, stateful_step_count=60)
