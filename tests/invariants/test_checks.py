"""The log checker passes a healthy campaign and finds every violation that is planted in it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from headrace_core.ids import RunId, StepKey, letter_id
from headrace_core.partition.events import (
    DeadLetterDiscarded,
    DeadLetterReplayed,
    MessageReceived,
)
from headrace_core.run import events as ev
from headrace_core.run.status import CancelCause, Repair, SkipReason
from headrace_runtime.eventlog.port import Entry
from tests.invariants.checks import check_campaign, in_flight_at
from tests.invariants.facts import Violation, gather
from tests.invariants.log_builder import (
    BARE,
    END,
    KEYED,
    LOG_ID,
    PAID,
    PINGED,
    TENANT,
    LogBuilder,
    assigned,
    healthy,
    honest,
    lost,
    place_of,
    request,
    run_in,
    started,
    succeeded,
)
from tests.invariants.witnesses import (
    EventSeen,
    HistorySaid,
    LookedUp,
    Request,
    StartAnswered,
    TaskAccepted,
    Witnesses,
)

Calls = list[Request]
Broken = tuple[LogBuilder, Witnesses]


def found_in(log: LogBuilder, witnesses: Witnesses) -> list[Violation]:
    return check_campaign(log.raw, LOG_ID, witnesses)


def test_a_healthy_campaign_has_no_violation() -> None:
    log, calls = healthy()
    assert list(map(str, found_in(log, honest(log, calls)))) == []


def test_void_records_and_claims_are_told_apart() -> None:
    log, _ = healthy()
    facts = gather(log.raw, LOG_ID)
    assert (facts.void, facts.claims, facts.accepted) == (1, 3, 6)


def test_attempts_in_flight_are_counted_by_the_times_of_the_log() -> None:
    log, _ = healthy()
    facts = gather(log.raw, LOG_ID)
    times = [turn.time_ms for _, turn, _ in facts.runs[PAID].events()]
    assert in_flight_at(facts, times[0] - 1) == 0
    assert in_flight_at(facts, times[0]) == 1
    assert in_flight_at(facts, times[0] + 20) == 2
    assert in_flight_at(facts, times[-1] + 1_000) == 0


# Plants in the log: written first, then witnessed honestly, so that only the log is at fault.


def _second_end(log: LogBuilder, calls: Calls) -> None:
    log.turn(PAID, [ev.RunFailed(error=ev.StepError(type="late"))])


def _event_after_the_end(log: LogBuilder, calls: Calls) -> None:
    log.turn(PAID, [ev.StepReady(step=StepKey("later"))])


def _no_end(log: LogBuilder, calls: Calls) -> None:
    log.turn(run_in(0, 9), [started()])


def _lost_event(log: LogBuilder, calls: Calls) -> None:
    run = run_in(0, 9)
    log.turn(run, [started(), ev.StepReady(step=KEYED)])
    log.turn(run, [END], sequence=4)


def _event_twice(log: LogBuilder, calls: Calls) -> None:
    run = run_in(0, 9)
    log.turn(run, [started(), ev.StepReady(step=KEYED), assigned(KEYED)])
    log.turn(run, [succeeded(KEYED)])
    log.turn(run, [succeeded(KEYED)], sequence=4)
    log.turn(run, [END])


def _second_verdict(log: LogBuilder, calls: Calls) -> None:
    run = run_in(0, 9)
    log.turn(run, [started(), ev.StepReady(step=KEYED), assigned(KEYED)])
    log.turn(run, [succeeded(KEYED), succeeded(KEYED), END])


def _attempt_twice(log: LogBuilder, calls: Calls) -> None:
    run = run_in(0, 9)
    log.turn(run, [started(), ev.StepReady(step=KEYED), assigned(KEYED), assigned(KEYED)])
    log.turn(run, [succeeded(KEYED), END])


def _undeclared_move(log: LogBuilder, calls: Calls) -> None:
    run = run_in(0, 9)
    log.turn(run, [started(), ev.StepReady(step=KEYED), assigned(KEYED), END])


def _foreign_place(log: LogBuilder, calls: Calls) -> None:
    log.turn(run_in(0, 9), [started(), END], partition=1)


def _message_twice(log: LogBuilder, calls: Calls) -> None:
    log.turn(None, messages=[MessageReceived(source=0, number=1)], partition=1)


def _message_from_nobody(log: LogBuilder, calls: Calls) -> None:
    log.turn(None, messages=[MessageReceived(source=0, number=2)], partition=1)


def _early_retry(log: LogBuilder, calls: Calls) -> None:
    run = run_in(0, 9)
    later = replace(lost(KEYED), due_ms=10**15, counted=True)
    log.turn(run, [started(), ev.StepReady(step=KEYED), assigned(KEYED), later])
    log.turn(run, [ev.StepReady(step=KEYED), assigned(KEYED, 2), succeeded(KEYED, 2), END])


def _assigned_after_a_cancel(log: LogBuilder, calls: Calls) -> None:
    run = run_in(0, 9)
    cancel = ev.RunCancelRequested(cause=CancelCause.REQUEST, requested_by="ann")
    log.turn(run, [started(), ev.StepReady(step=KEYED), cancel])
    log.turn(run, [assigned(KEYED), succeeded(KEYED), ev.RunCancelled()])


def _undone_in_order(log: LogBuilder, calls: Calls) -> None:
    run, other = run_in(0, 9), StepKey("other")
    done = [replace(succeeded(step, 0), compensable=True) for step in (KEYED, other)]
    log.turn(run, [started(), *done, ev.RunCompensating(error=ev.StepError(type="late"))])
    log.turn(run, [ev.StepCompensating(step=KEYED), ev.RunCompensated()])


def _letter(run: RunId, step: StepKey = KEYED) -> ev.DeadLetterAdded:
    error = ev.StepError(type="http.500")
    letter = letter_id(run, step, 1)
    return ev.DeadLetterAdded(
        step=step, attempt=1, letter=letter, operation="http.post@1", error=error
    )


def _failed_call(log: LogBuilder, calls: Calls, *behind: ev.RunEvent) -> RunId:
    """A run whose call has failed, with these events behind that."""
    run = run_in(0, 9)
    error = ev.StepError(type="http.500")
    log.turn(run, [started(), ev.StepReady(step=KEYED), assigned(KEYED)])
    failed = ev.StepFailed(step=KEYED, error=error, attempt=1)
    log.turn(run, [failed, *behind, ev.RunFailed(error=error, step=KEYED)])
    calls.append(request(run, KEYED, 4, "of its own", performed=False))
    return run


def _no_letter(log: LogBuilder, calls: Calls) -> None:
    _failed_call(log, calls)


def _letter_of_another_step(log: LogBuilder, calls: Calls) -> None:
    _failed_call(log, calls, _letter(run_in(0, 9), BARE))


def _letter_under_another_name(log: LogBuilder, calls: Calls) -> None:
    _failed_call(log, calls, _letter(PAID))


def _letter_decided_twice(log: LogBuilder, calls: Calls) -> None:
    run = _failed_call(log, calls, _letter(run_in(0, 9)))
    for _ in range(2):
        log.turn(None, [], [_discarded(run)], partition=1)


def _letter_of_nobody(log: LogBuilder, calls: Calls) -> None:
    log.turn(None, [], [_discarded(PAID)], partition=1)


def _replay_that_never_began(log: LogBuilder, calls: Calls) -> None:
    run = _failed_call(log, calls, _letter(run_in(0, 9)))
    replayed = DeadLetterReplayed(
        letter=letter_id(run, KEYED, 1),
        tenant=TENANT,
        run=run,
        step=KEYED,
        as_run=run_in(0, 8),
        replayed_by="ann",
    )
    log.turn(None, [], [replayed], partition=1)


def _discarded(run: RunId) -> DeadLetterDiscarded:
    letter = letter_id(run, KEYED, 1)
    return DeadLetterDiscarded(
        letter=letter, tenant=TENANT, run=run, step=KEYED, discarded_by="ann"
    )


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (_no_letter, "what failed for good outside is one dead letter"),
        (_letter_of_another_step, "what failed for good outside is one dead letter"),
        (_letter_under_another_name, "what failed for good outside is one dead letter"),
        (_letter_decided_twice, "a dead letter is decided once"),
        (_letter_of_nobody, "a dead letter is decided once"),
        (_replay_that_never_began, "a dead letter is decided once"),
        (_early_retry, "timers are never early"),
        (_assigned_after_a_cancel, "nothing is assigned after a cancel"),
        (_undone_in_order, "undone one at a time, the last one first"),
        (_second_end, "one terminal event"),
        (_event_after_the_end, "one terminal event"),
        (_no_end, "one terminal event"),
        (_lost_event, "no event lost"),
        (_event_twice, "no event twice"),
        (_second_verdict, "one verdict per attempt"),
        (_attempt_twice, "one verdict per attempt"),
        (_undeclared_move, "declared moves"),
        (_foreign_place, "place"),
        (_message_twice, "messages between partitions arrive once"),
        (_message_from_nobody, "messages between partitions arrive once"),
    ],
)
def test_a_violation_in_the_log_is_found(
    plant: Callable[[LogBuilder, Calls], None], rule: str
) -> None:
    log, calls = healthy()
    before = honest(log, calls)
    plant(log, calls)
    starts = [StartAnswered(f"start-{run}", run) for run in gather(log.raw, LOG_ID).runs]
    # History's and the subscribers' word on the broken part is not what this is about.
    witnesses = replace(before, starts=starts, tasks=log.tasks, usage={})
    assert rule in {violation.check for violation in found_in(log, witnesses)}


def test_a_message_that_never_arrived_is_found() -> None:
    log, calls = healthy()
    del log.raw[1][1:]
    rules = {violation.check for violation in found_in(log, honest(log, calls))}
    assert "messages between partitions arrive once" in rules


def test_a_record_that_was_taken_out_of_the_log_is_found() -> None:
    log, calls = healthy()
    witnesses = honest(log, calls)
    del log.raw[0][1]
    assert "no event lost" in {violation.check for violation in found_in(log, witnesses)}


def test_a_record_whose_bytes_were_changed_is_found() -> None:
    log, calls = healthy()
    witnesses = honest(log, calls)
    changed = log.raw[0][1].record.replace(b"manual", b"Manual")
    log.raw[0][1] = Entry(1, changed)
    assert "chain" in {violation.check for violation in found_in(log, witnesses)}


def test_a_record_that_nobody_can_read_is_found() -> None:
    log, calls = healthy()
    witnesses = honest(log, calls)
    log.raw[0][1] = Entry(1, b"\xff\xff\xff")
    assert "log readable" in {violation.check for violation in found_in(log, witnesses)}


# Plants in what the witnesses saw: the log is healthy, and somebody was told otherwise.


def _lost_run(seen: Witnesses) -> Witnesses:
    return replace(seen, starts=[*seen.starts, StartAnswered("start-x", run_in(0, 9))])


def _one_key_two_runs(seen: Witnesses) -> Witnesses:
    return replace(seen, starts=[*seen.starts, StartAnswered(f"start-{PAID}", PINGED)])


def _unasked_run(seen: Witnesses) -> Witnesses:
    return replace(seen, starts=seen.starts[1:])


def _accepted_and_not_found(seen: Witnesses) -> Witnesses:
    return replace(seen, lookups=[LookedUp(PAID, 404)])


def _listed_short(seen: Witnesses) -> Witnesses:
    return replace(seen, told=[event for event in seen.told if event.sequence < 4])


def _listed_twice(seen: Witnesses) -> Witnesses:
    return replace(seen, told=[event for e in seen.told for event in _twice(e)])


def _task_of_another_epoch(seen: Witnesses) -> Witnesses:
    return _task_changed(seen, epoch=1)


def _task_of_another_executor(seen: Witnesses) -> Witnesses:
    return _task_changed(seen, executor="executor-2")


def _task_of_another_token(seen: Witnesses) -> Witnesses:
    return _task_changed(seen, token=1)


def _task_never_assigned(seen: Witnesses) -> Witnesses:
    return _task_changed(seen, attempt=3)


def _task_changed(seen: Witnesses, **fields: object) -> Witnesses:
    first: TaskAccepted = seen.tasks[0]
    changed: TaskAccepted = replace(first, **fields)
    return replace(seen, tasks=[changed, *seen.tasks[1:]])


def _task_taken_twice(seen: Witnesses) -> Witnesses:
    return replace(seen, tasks=[*seen.tasks, seen.tasks[0]])


def _second_key(seen: Witnesses) -> Witnesses:
    return replace(seen, requests=[*seen.requests, request(PAID, KEYED, 4, "key-2")])


def _key_of_two_steps(seen: Witnesses) -> Witnesses:
    again = request(PINGED, BARE, 4, "key-1", performed=False)
    return replace(seen, requests=[*seen.requests, again])


def _second_effect(seen: Witnesses) -> Witnesses:
    return replace(seen, requests=[*seen.requests, request(PAID, KEYED, 4, "key-1")])


def _second_bare_call(seen: Witnesses) -> Witnesses:
    return replace(seen, requests=[*seen.requests, request(PINGED, BARE, 4)])


def _call_of_nobody(seen: Witnesses) -> Witnesses:
    return replace(seen, requests=[*seen.requests, request(PAID, StepKey("other"), 4, "k")])


def _success_without_effect(seen: Witnesses) -> Witnesses:
    calls = [replace(call, performed=False) for call in seen.requests if call.run == PAID]
    return replace(seen, requests=[*calls, seen.requests[2]])


def _receipt_without_call(seen: Witnesses) -> Witnesses:
    return replace(seen, requests=seen.requests[:2])


def _wrong_receipt(seen: Witnesses) -> Witnesses:
    rows = [replace(row, receipts={KEYED: 1}) if row.run == PAID else row for row in seen.rows]
    return replace(seen, rows=rows)


def _gap(seen: Witnesses) -> Witnesses:
    return replace(seen, events=[event for event in seen.events if event.sequence != 3])


def _repeat(seen: Witnesses) -> Witnesses:
    return replace(seen, events=[event for e in seen.events for event in _twice(e)])


def _twice(event: EventSeen) -> list[EventSeen]:
    return [event, replace(event, connection=2)] if event.sequence == 2 else [event]


def _other_event(seen: Witnesses) -> Witnesses:
    return replace(
        seen, events=[replace(e, kind="RunFailed") if e.sequence == 2 else e for e in seen.events]
    )


def _event_not_in_the_log(seen: Witnesses) -> Witnesses:
    last = max(event.sequence for event in seen.events if event.run == PAID)
    head = [event for event in seen.events if event.run == PAID]
    rest = [event for event in seen.events if event.run != PAID]
    return replace(seen, events=[*head, EventSeen(PAID, 2, last + 1, "RunFailed"), *rest])


def _end_too_early(seen: Witnesses) -> Witnesses:
    return replace(seen, events=[event for event in seen.events if event.sequence < 4])


def _state_differs(seen: Witnesses) -> Witnesses:
    return replace(seen, states=[HistorySaid(PAID, 2, "0" * 64)])


def _state_beyond_the_end(seen: Witnesses) -> Witnesses:
    return replace(seen, states=[HistorySaid(PAID, 99, "0" * 64)])


def _row_counted_twice(seen: Witnesses) -> Witnesses:
    return replace(seen, rows=[replace(row, counts={"attempts": 4}) for row in seen.rows])


def _row_behind(seen: Witnesses) -> Witnesses:
    return replace(seen, rows=[replace(row, sequence=row.sequence - 1) for row in seen.rows])


def _row_of_another_status(seen: Witnesses) -> Witnesses:
    return replace(seen, rows=[replace(row, status="running") for row in seen.rows])


def _row_of_nobody(seen: Witnesses) -> Witnesses:
    return replace(seen, rows=[replace(seen.rows[0], run=run_in(0, 9), receipts={})])


def _usage_counted_twice(seen: Witnesses) -> Witnesses:
    return replace(seen, usage={"orders": (2, 4)})


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (_lost_run, "each 202 has its RunStarted"),
        (_one_key_two_runs, "each 202 has its RunStarted"),
        (_unasked_run, "each 202 has its RunStarted"),
        (_accepted_and_not_found, "an accepted run is found"),
        (_listed_short, "history lists every event once"),
        (_listed_twice, "history lists every event once"),
        (_task_of_another_epoch, "accepted tasks were assigned"),
        (_task_of_another_executor, "accepted tasks were assigned"),
        (_task_of_another_token, "accepted tasks were assigned"),
        (_task_never_assigned, "accepted tasks were assigned"),
        (_task_taken_twice, "accepted tasks were assigned"),
        (_second_key, "one effect per key"),
        (_key_of_two_steps, "one effect per key"),
        (_second_effect, "one effect per key"),
        (_second_bare_call, "at most one call without key"),
        (_call_of_nobody, "words on effects are true"),
        (_success_without_effect, "words on effects are true"),
        (_receipt_without_call, "words on effects are true"),
        (_wrong_receipt, "words on effects are true"),
        (_gap, "live stream without gap and repeat"),
        (_repeat, "live stream without gap and repeat"),
        (_other_event, "live stream without gap and repeat"),
        (_event_not_in_the_log, "live stream without gap and repeat"),
        (_end_too_early, "live stream without gap and repeat"),
        (_state_differs, "history equals the fold"),
        (_state_beyond_the_end, "history equals the fold"),
        (_row_counted_twice, "history equals the fold"),
        (_row_behind, "history equals the fold"),
        (_row_of_another_status, "history equals the fold"),
        (_row_of_nobody, "history equals the fold"),
        (_usage_counted_twice, "history equals the fold"),
    ],
)
def test_a_witness_that_contradicts_the_log_is_found(
    plant: Callable[[Witnesses], Witnesses], rule: str
) -> None:
    log, calls = healthy()
    violations = found_in(log, plant(honest(log, calls)))
    assert {violation.check for violation in violations} == {rule}
    assert all(violation.what for violation in violations)


def test_a_task_that_only_a_fenced_owner_assigned_is_found() -> None:
    log, calls = healthy()
    witnesses = honest(log, calls)
    offset = log.void(PAID, [assigned(KEYED, 5, 9)], epoch=0)
    void = replace(log.tasks[0], epoch=0, offset=offset, attempt=5, token=9)
    violations = found_in(log, replace(witnesses, tasks=[*witnesses.tasks, void]))
    assert [violation.check for violation in violations] == ["accepted tasks were assigned"]


@pytest.mark.parametrize(
    ("word", "is_true"),
    [
        (ev.StepFailed(step=BARE, error=ev.StepError(type="unknown_outcome"), attempt=1), True),
        (ev.StepFailed(step=BARE, error=ev.StepError(type="http.500"), attempt=1), False),
        (ev.StepCancelled(step=BARE, attempt=1), False),
    ],
)
def test_only_an_unknown_outcome_may_leave_an_effect_open(
    word: ev.RunEvent, *, is_true: bool
) -> None:
    log, calls = healthy()
    run = run_in(1, 9)
    log.turn(run, [started(), ev.StepReady(step=BARE), assigned(BARE)])
    letters = [_letter(run, BARE)] if isinstance(word, ev.StepFailed) else []
    log.turn(run, [word, *letters, ev.RunFailed(error=ev.StepError(type="step"))])
    seen = honest(log, [*calls, request(run, BARE, 4)])
    rows = [replace(row, receipts={}) for row in seen.rows]
    violations = found_in(log, replace(seen, rows=rows))
    assert (violations == []) is is_true
    assert {violation.check for violation in violations} <= {"words on effects are true"}


@pytest.mark.parametrize(("error", "is_true"), [("unknown_outcome", True), ("http.500", False)])
def test_what_an_operator_makes_of_a_failed_step_is_no_word_on_its_effect(
    error: str, *, is_true: bool
) -> None:
    log, calls = healthy()
    run, fault = run_in(1, 9), ev.StepError(type=error)
    log.turn(run, [started(), ev.StepReady(step=BARE), assigned(BARE)])
    log.turn(
        run,
        [
            ev.StepFailed(step=BARE, error=fault, attempt=1),
            _letter(run, BARE),
            ev.RunSuspended(incident=fault, step=BARE),
        ],
    )
    log.turn(
        run,
        [
            ev.StepRepaired(step=BARE, repair=Repair.SKIP, repaired_by="ann", failed=True),
            ev.StepSkipped(step=BARE, reason=SkipReason.BY_OPERATOR),
            ev.RunResumed(resumed_by="ann"),
            END,
        ],
    )
    seen = honest(log, [*calls, request(run, BARE, 4)])
    rows = [row for row in seen.rows if row.run != run]
    violations = found_in(log, replace(seen, rows=rows))
    assert (violations == []) is is_true
    assert {violation.check for violation in violations} <= {"words on effects are true"}


def test_a_violation_carries_the_events_of_its_run() -> None:
    log, calls = healthy()
    violations = found_in(log, _second_bare_call(honest(log, calls)))
    assert violations[0].run == PINGED
    told = str(violations[0])
    assert "RunStarted" in told
    assert f"StepSucceeded {BARE} 1" in told
    assert f"p{place_of(PINGED)}@" in told
