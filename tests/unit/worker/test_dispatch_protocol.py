"""The executor's side of dispatch as a pure class: epochs, results, acknowledgements, credits."""

import pytest

from headrace_core.ids import ExecutorId, PlanHash, RunId, StepKey, TenantId
from headrace_core.payload import Stored
from headrace_core.run.events import StepError
from headrace_worker.messages import (
    Acknowledgement,
    Announcement,
    Attempt,
    Credit,
    Hello,
    Outcome,
    Received,
    Report,
    Result,
    Sending,
    Task,
    Welcome,
)
from headrace_worker.protocol import (
    DRAINING,
    MESSAGE_BYTES_MAX,
    OLDER_EPOCH,
    OTHER_PROCESS,
    RESULTS_PER_MESSAGE_MAX,
    UNKNOWN_LANE,
    DispatchProtocol,
)

ME = ExecutorId("exec-1")
LOG = b"L" * 16
A, B = "scheduler-a:1", "scheduler-b:1"


def attempt(number: int = 1, *, epoch: int = 5, partition: int = 0, run: str = "run") -> Attempt:
    run_id, step = RunId(run), StepKey("step")
    return Attempt(partition, epoch, TenantId("acme"), run_id, step, number, 77)


def task(of: Attempt, *, executor: ExecutorId = ME, lane: str = "shared") -> Task:
    return Task(of, executor, 1, PlanHash("p"), "flow", lane)


def done(of: Attempt, output: bytes = b"x") -> Result:
    return Result(of, Outcome.SUCCEEDED, Stored(output))


def acknowledged(of: Attempt, epoch: int = 5) -> Received:
    return Received(LOG, acknowledgements=[Acknowledgement(of.key, epoch)])


def announced(epoch: int, partition: int = 0, log_id: bytes = LOG) -> Received:
    return Received(log_id, announcements=[Announcement(partition, epoch)])


def taking(*tasks: Task, log_id: bytes = LOG) -> Received:
    return Received(log_id, tasks=tasks)


def protocol(
    *streams: str, lanes: tuple[str, ...] = ("shared",), window: int = 8
) -> DispatchProtocol:
    """Connected to the streams, with hello and first credits already sent."""
    subject = DispatchProtocol(ME, lanes, window)
    for name in streams or (A,):
        subject.connect(name)
    for name in streams or (A,):
        assert subject.next_message(name) is not None
    return subject


def message(subject: DispatchProtocol, stream: str = A) -> Sending:
    found = subject.next_message(stream)
    assert found is not None, "there is something to say"
    return found


def results(subject: DispatchProtocol, stream: str = A) -> list[Result]:
    found = subject.next_message(stream)
    return list(found.results) if found is not None else []


def test_a_stream_opens_with_hello_and_credits_and_then_says_nothing() -> None:
    subject = DispatchProtocol(ME, ("shared",), 8, api_key="key")
    subject.connect(A)
    first = message(subject)
    assert first.hello == Hello(ME, ("shared",), "key")
    assert first.credits == [Credit("shared", 8)]
    assert subject.next_message(A) is None


def test_a_task_is_handed_on_and_its_result_sent_once() -> None:
    subject = protocol()
    first = task(attempt())
    assert subject.receive(A, taking(first)).tasks == [first]
    assert subject.open == 1
    assert subject.finish(done(first.attempt)) == A
    assert results(subject) == [done(first.attempt)]
    assert results(subject) == []
    assert (subject.open, subject.unacknowledged) == (0, 1)


def test_a_result_is_kept_until_it_is_acknowledged() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt())))
    subject.finish(done(attempt()))
    for _ in range(3):
        subject.disconnect(A)
        assert subject.next_message(A) is None, "nothing is taken while there is no stream"
        subject.connect(A)
        assert results(subject) == [done(attempt())]
    subject.receive(A, acknowledged(attempt()))
    assert subject.unacknowledged == 0
    subject.disconnect(A)
    subject.connect(A)
    assert results(subject) == []


def test_a_result_of_a_broken_stream_goes_to_the_new_owner_elsewhere() -> None:
    subject = protocol(A, B)
    subject.receive(A, taking(task(attempt())))
    subject.disconnect(A)
    subject.finish(done(attempt()))
    assert results(subject, B) == [], "nobody there owns the partition yet"
    subject.receive(B, announced(9))
    found = message(subject, B)
    assert found.reports == [Report(0, 9, [attempt()])]
    assert found.results == [done(attempt())]
    subject.connect(A)
    assert results(subject, A) == [], "the former owner is not told any more"


def test_an_acknowledgement_below_the_tasks_epoch_is_ignored() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt(epoch=5))))
    subject.finish(done(attempt(epoch=5)))
    subject.receive(A, acknowledged(attempt(epoch=5), epoch=4))
    assert subject.unacknowledged == 1


@pytest.mark.parametrize("epoch", [5, 6, 100])
def test_an_acknowledgement_of_a_fenced_owner_is_worth_the_same(epoch: int) -> None:
    subject = protocol(A, B)
    subject.receive(A, taking(task(attempt(epoch=5))))
    subject.receive(B, announced(200))
    subject.finish(done(attempt(epoch=5)))
    subject.receive(A, acknowledged(attempt(epoch=5), epoch))
    assert subject.unacknowledged == 0


def test_an_acknowledgement_that_comes_twice_or_of_nothing_changes_nothing() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt())))
    subject.finish(done(attempt()))
    for _ in range(2):
        subject.receive(A, acknowledged(attempt()))
    subject.receive(A, acknowledged(attempt(run="other")))
    assert (subject.open, subject.unacknowledged) == (0, 0)


def test_an_open_attempt_that_a_record_closed_is_handed_back_and_has_no_result() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt())))
    work = subject.receive(A, acknowledged(attempt()))
    assert work.closed == [attempt()]
    assert subject.finish(done(attempt())) is None
    assert results(subject) == []
    assert (subject.open, subject.unacknowledged) == (0, 0)


def test_a_result_acknowledged_before_it_was_sent_is_not_sent() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt())))
    subject.finish(done(attempt()))
    subject.receive(A, acknowledged(attempt()))
    assert results(subject) == []


def test_a_task_for_another_process_is_refused_and_raises_no_epoch() -> None:
    subject = protocol()
    stranger = task(attempt(epoch=50), executor=ExecutorId("exec-0"))
    assert subject.receive(A, taking(stranger)).tasks == []
    (refusal,) = message(subject).refusals
    assert (refusal.attempt, refusal.reason) == (stranger.attempt, OTHER_PROCESS)
    assert subject.receive(A, taking(task(attempt(epoch=5)))).tasks


def test_a_task_of_an_older_epoch_is_refused_after_a_newer_task() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt(2, epoch=9))))
    assert subject.receive(A, taking(task(attempt(1, epoch=5)))).tasks == []
    (refusal,) = message(subject).refusals
    assert (refusal.attempt.number, refusal.reason) == (1, OLDER_EPOCH)


def test_after_the_answer_to_an_epoch_no_older_attempt_begins_on_any_stream() -> None:
    subject = protocol(A, B)
    subject.receive(B, announced(9))
    assert message(subject, B).reports == [Report(0, 9, [])]
    assert subject.receive(A, taking(task(attempt(epoch=8)))).tasks == []
    assert subject.receive(A, taking(task(attempt(2, epoch=9)))).tasks, "its own epoch is fine"


def test_epochs_are_kept_apart_by_partition_and_by_log() -> None:
    subject = protocol()
    subject.receive(A, announced(9))
    assert subject.receive(A, taking(task(attempt(1, epoch=2, partition=1)))).tasks
    other_log = taking(task(attempt(2, epoch=2)), log_id=b"M" * 16)
    assert subject.receive(A, other_log).tasks


def test_a_late_announcement_of_a_fenced_owner_is_not_answered() -> None:
    subject = protocol(A, B)
    subject.receive(A, taking(task(attempt(epoch=9))))
    subject.receive(B, announced(5))
    assert subject.next_message(B) is None
    subject.finish(done(attempt(epoch=9)))
    assert results(subject, A), "the owner stays who it was"


def test_a_report_names_what_is_open_or_unacknowledged_when_it_is_sent() -> None:
    subject = protocol()
    first, second, third, elsewhere = (
        attempt(1), attempt(2), attempt(3), attempt(4, partition=1),
    )  # fmt: skip
    subject.receive(A, taking(*map(task, (first, second, third, elsewhere))))
    subject.finish(done(second))
    subject.finish(done(third))
    subject.receive(A, announced(7))
    subject.receive(A, acknowledged(third))
    assert message(subject).reports == [Report(0, 7, [first, second])]


def test_an_announcement_has_results_sent_again_also_on_the_same_stream() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt())))
    subject.finish(done(attempt()))
    assert results(subject) == [done(attempt())]
    subject.receive(A, announced(6))
    assert results(subject) == [done(attempt())]


def test_a_report_is_not_given_to_an_owner_that_was_overtaken_meanwhile() -> None:
    subject = protocol(A, B)
    subject.receive(A, announced(6))
    subject.receive(B, announced(7))
    assert subject.next_message(A) is None
    assert message(subject, B).reports == [Report(0, 7, [])]


def test_a_task_that_comes_twice_runs_once() -> None:
    subject = protocol()
    again = taking(task(attempt()))
    assert subject.receive(A, again).tasks
    assert subject.receive(A, again).tasks == []
    subject.finish(done(attempt()))
    assert results(subject) == [done(attempt())]
    assert subject.receive(A, again).tasks == []
    assert results(subject) == [done(attempt())], "and its result is said again"


def test_a_task_that_moved_with_its_partition_is_answered_to_the_new_owner() -> None:
    subject = protocol(A, B)
    subject.receive(A, taking(task(attempt(epoch=5))))
    assert subject.receive(B, taking(task(attempt(epoch=6)))).tasks == []
    subject.finish(done(attempt(epoch=5)))
    assert results(subject, A) == []
    assert results(subject, B) == [done(attempt(epoch=5))]


def test_a_cancellation_reaches_open_attempts_only() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt(1)), task(attempt(2))))
    subject.finish(done(attempt(2)))
    keys = [attempt(number).key for number in (1, 2, 3)]
    assert subject.receive(A, Received(LOG, cancellations=keys)).cancelled == [attempt(1)]
    assert subject.finish(Result(attempt(1), Outcome.CANCELLED)) == A, "it still says its word"


def test_two_words_of_one_attempt_are_a_bug() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt())))
    subject.finish(done(attempt()))
    with pytest.raises(AssertionError, match="ended twice"):
        subject.finish(done(attempt()))


def test_results_coalesce_but_a_message_stays_small() -> None:
    subject = protocol(window=4)
    count = RESULTS_PER_MESSAGE_MAX + 10
    subject.receive(A, taking(*(task(attempt(number)) for number in range(count))))
    for number in range(count):
        subject.finish(done(attempt(number)))
    assert [len(results(subject)) for _ in range(3)] == [RESULTS_PER_MESSAGE_MAX, 10, 0]


def test_a_message_is_bounded_in_bytes_but_always_takes_one_result() -> None:
    subject = protocol()
    huge = b"h" * (MESSAGE_BYTES_MAX + 1)
    sizes = (b"a" * 400_000, b"b" * 400_000, b"c" * 400_000, huge, b"d")
    subject.receive(A, taking(*(task(attempt(number)) for number in range(len(sizes)))))
    for number, output in enumerate(sizes):
        subject.finish(done(attempt(number), output))
    assert [len(results(subject)) for _ in range(5)] == [2, 1, 1, 1, 0]


def test_the_message_of_an_error_counts_as_bytes_too() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt(1)), task(attempt(2))))
    error = StepError(type="http.500", message=Stored(b"e" * MESSAGE_BYTES_MAX))
    for number in (1, 2):
        subject.finish(Result(attempt(number), Outcome.FAILED, error=error))
    assert [len(results(subject)) for _ in range(3)] == [1, 1, 0]


def test_credits_are_given_again_as_attempts_end() -> None:
    subject = protocol(window=8)
    subject.receive(A, taking(*(task(attempt(number)) for number in range(8))))
    assert subject.next_message(A) is None, "the window is full"
    subject.finish(done(attempt(0)))
    assert message(subject).credits == [Credit("shared", 1)], "with a result, even one is told"


def test_credits_alone_wait_until_they_are_worth_a_message() -> None:
    subject = protocol(window=8)
    strangers = [taking(task(attempt(number), executor=ExecutorId("x"))) for number in range(3)]
    subject.receive(A, strangers[0])
    assert message(subject).credits == [Credit("shared", 1)], "a refused task used its credit"
    subject.set_window(9)
    assert subject.next_message(A) is None, "one place more is not worth a message"
    subject.set_window(16)
    assert message(subject).credits == [Credit("shared", 8)]


def test_a_smaller_window_gives_nothing_until_there_is_room_again() -> None:
    subject = protocol(window=8)
    subject.receive(A, taking(*(task(attempt(number)) for number in range(8))))
    subject.set_window(2)
    given: list[int] = []
    for number in range(8):
        subject.finish(done(attempt(number)))
        subject.receive(A, acknowledged(attempt(number)))
        found = subject.next_message(A)
        given.append(sum(credit.room for credit in found.credits) if found else 0)
    assert given == [0, 0, 0, 0, 0, 0, 1, 1]


def test_unacknowledged_results_stop_further_credits() -> None:
    subject = protocol(window=4)
    granted, number = 4, 0
    while granted:
        numbers = range(number, number + granted)
        subject.receive(A, taking(*(task(attempt(one)) for one in numbers)))
        for one in numbers:
            subject.finish(done(attempt(one)))
        number += granted
        granted = sum(credit.room for credit in message(subject).credits)
    assert number == 16
    for one in range(8):
        subject.receive(A, acknowledged(attempt(one)))
    assert message(subject).credits == [Credit("shared", 4)]


def test_credits_of_a_broken_stream_are_given_anew() -> None:
    subject = protocol(window=8)
    subject.receive(A, taking(task(attempt(1)), task(attempt(2))))
    subject.disconnect(A)
    subject.connect(A)
    assert message(subject).credits == [Credit("shared", 6)], "two attempts still run"


def test_every_scheduler_and_every_lane_has_room_of_its_own() -> None:
    subject = DispatchProtocol(ME, ("one", "two"), 1)
    subject.connect(A)
    subject.connect(B)
    for stream in (A, B):
        assert message(subject, stream).credits == [Credit("one", 1), Credit("two", 1)]


def test_the_window_is_shared_by_the_connected_schedulers() -> None:
    subject = DispatchProtocol(ME, ("shared",), 8)
    subject.connect(A)
    subject.connect(B)
    for stream in (A, B):
        assert message(subject, stream).credits == [Credit("shared", 4)]
    subject.disconnect(B)
    assert message(subject, A).credits == [Credit("shared", 4)], "what the other had is free"


def test_a_task_of_a_lane_that_is_not_served_is_refused() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt(), lane="worker:acme:list")))
    assert [refusal.reason for refusal in message(subject).refusals] == [UNKNOWN_LANE]


def test_a_drain_refuses_new_tasks_gives_no_credit_and_still_sends_results() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt(1))))
    subject.start_drain()
    assert subject.receive(A, taking(task(attempt(2)))).tasks == []
    subject.finish(done(attempt(1)))
    found = message(subject)
    assert [refusal.reason for refusal in found.refusals] == [DRAINING]
    assert (found.results, list(found.credits)) == ([done(attempt(1))], [])
    subject.receive(A, acknowledged(attempt(1)))
    assert (subject.open, subject.unacknowledged) == (0, 0)


def test_notes_are_numbered_per_attempt_and_kept_until_they_are_acknowledged() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt(1)), task(attempt(2))))
    numbers = [subject.note(attempt(one).key, Stored(b"n")) for one in (1, 1, 2)]
    assert numbers == [1, 2, 1]
    assert [note.number for note in message(subject).notes] == [1, 2, 1]
    noted = Received(LOG, note_acknowledgements=[(attempt(1).key, 1)])
    assert subject.receive(A, noted).noted == [(attempt(1).key, 1)]
    assert subject.receive(A, noted).noted == [], "said twice is heard once"
    subject.disconnect(A)
    subject.connect(A)
    again = [(note.attempt.number, note.number) for note in message(subject).notes]
    assert again == [(1, 2), (2, 1)]


def test_an_attempt_that_has_ended_or_is_closed_takes_no_note() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt(1)), task(attempt(2))))
    subject.finish(done(attempt(1)))
    subject.receive(A, acknowledged(attempt(2)))
    assert [subject.note(attempt(one).key, Stored(b"n")) for one in (1, 2, 3)] == [None] * 3


def test_large_notes_are_spread_over_messages() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt())))
    for _ in range(3):
        subject.note(attempt().key, Stored(b"n" * 500_000))
    assert [len(message(subject).notes) for _ in range(3)] == [1, 1, 1]


def test_who_welcomed_is_known_as_long_as_the_stream_lives() -> None:
    subject = protocol()
    subject.receive(A, Received(LOG, welcome=Welcome("sched", TenantId("acme"))))
    assert subject.welcome_of(A) == Welcome("sched", TenantId("acme"))
    subject.disconnect(A)
    assert subject.welcome_of(A) is None


def test_word_of_an_attempt_has_no_owner_while_its_stream_is_broken() -> None:
    subject = protocol()
    subject.receive(A, taking(task(attempt())))
    assert subject.owner_of(attempt().key) == A
    subject.disconnect(A)
    assert subject.owner_of(attempt().key) is None
    assert subject.owner_of(attempt(9).key) is None


def test_signs_of_life_of_an_open_attempt_are_one_until_they_are_sent() -> None:
    mine, own = attempt(), DispatchProtocol(ME, ("shared",), 4)
    own.connect(A)
    own.receive(A, taking(task(mine)))
    own.next_message(A)
    assert own.beat(mine.key) == own.beat(mine.key) == A
    message = own.next_message(A)
    assert message is not None
    assert message.heartbeats == [mine]
    assert own.next_message(A) is None
    own.finish(done(mine))
    assert own.beat(mine.key) is None, "its word is said"
    assert own.beat(attempt(9).key) is None, "it is not known"
