"""Accepted attempts between their task and their word: slots, cancellation, closing, stopping."""

import json
from pathlib import Path

import pytest

from headrace_core.workflow.plan_parts import Effect, Idempotency
from headrace_core.workflow.template import parse_template
from headrace_executor.app.ports import Completion
from headrace_executor.app.session import Session
from headrace_runtime.delivery.effect_rules import RowStatus
from headrace_runtime.telemetry import Level, Logger
from headrace_worker.messages import Outcome, Task
from tests.support.attempts import (
    ME,
    Bench,
    SaidWords,
    action,
    attempt,
    bench,
    succeeded,
    task,
)
from tests.support.run_harness import plan_of, step
from tests.support.tenant_keys import RUN

SLOTS, WINDOW = 2, 8
READ = action("test.read", Effect.READ)
KEYED = action("test.keyed", Effect.WRITE, Idempotency.HEADER)
PLAN = plan_of(
    step("copy", arguments=parse_template({"value": "${{ steps.prev.output }}"})),
    step("read", uses=READ, arguments=parse_template({})),
    step("keyed", uses=KEYED, arguments=parse_template({})),
)
DONE = Completion(Outcome.SUCCEEDED, "done")


class Room:
    """A session on a bench, and what it said."""

    def __init__(self, made: Bench) -> None:
        self.bench = made
        self.said = SaidWords()
        self.lines: list[bytes] = []
        log = Logger("executor", Level.DEBUG, write=self.lines.append)
        self.session = Session(made.worker, self.said, SLOTS, WINDOW, log)

    def slow(self, number: int, step_name: str = "read") -> Task:
        return task(attempt(step_name, number), PLAN)

    def quick(self, number: int) -> Task:
        values = [succeeded("prev", self.bench.seal("x"))]
        return task(attempt("copy", number), PLAN, values=values)

    def calling(self) -> list[int]:
        return [call.attempt.number for call in self.bench.operation.calls]


@pytest.fixture
async def room(tmp_path: Path) -> Room:
    return Room(await bench(PLAN, tmp_path))


async def test_transforms_are_answered_before_accept_returns(room: Room) -> None:
    room.session.accept([room.quick(1), room.quick(2)])
    assert room.said.outcomes() == [(1, Outcome.SUCCEEDED), (2, Outcome.SUCCEEDED)]


async def test_no_more_attempts_run_than_there_are_slots_and_they_come_in_order(
    room: Room,
) -> None:
    room.session.accept([room.slow(number) for number in (1, 2, 3, 4)])
    await room.bench.operation.called(SLOTS)
    assert room.calling() == [1, 2]
    room.bench.operation.end(2, DONE)
    await room.bench.operation.called(3)
    assert room.calling() == [1, 2, 3]
    assert room.said.outcomes() == [(2, Outcome.SUCCEEDED)]
    await room.session.stop()


async def test_while_attempts_wait_for_a_slot_no_further_ones_are_asked_for(room: Room) -> None:
    room.session.accept([room.slow(1), room.slow(2)])
    assert room.said.windows == []
    room.session.accept([room.slow(3)])
    assert room.said.windows == [SLOTS]
    room.session.accept([room.slow(4)])
    await room.bench.operation.called(2)
    for number in (1, 2):
        room.bench.operation.end(number, DONE)
    await room.bench.operation.called(4)
    assert room.said.windows == [SLOTS, WINDOW]
    await room.session.stop()


async def test_transforms_do_not_wait_for_a_slot(room: Room) -> None:
    room.session.accept([*(room.slow(number) for number in (1, 2, 3)), room.quick(4)])
    assert room.said.outcomes() == [(4, Outcome.SUCCEEDED)]
    await room.session.stop()


async def test_a_cancellation_reaches_a_running_call(room: Room) -> None:
    room.session.accept([room.slow(1), room.slow(2, "keyed")])
    await room.bench.operation.called(2)
    room.session.cancel(attempt("read", 1))
    room.session.cancel(attempt("keyed", 2))
    room.session.cancel(attempt("keyed", 2))
    await room.said.until(2)
    assert sorted(room.said.outcomes()) == [(1, Outcome.CANCELLED), (2, Outcome.AMBIGUOUS)]
    assert len(room.bench.operation.cut_off) == 2


async def test_a_cancelled_call_that_acts_may_still_say_how_it_ended(room: Room) -> None:
    room.session.accept([room.slow(1, "keyed")])
    await room.bench.operation.called(1)
    room.session.cancel(attempt("keyed", 1))
    room.bench.operation.end(1, DONE)
    await room.said.until(1)
    assert room.said.outcomes() == [(1, Outcome.SUCCEEDED)]


async def test_an_attempt_that_waits_for_a_slot_is_cancelled_without_a_call(room: Room) -> None:
    room.session.accept([room.slow(1), room.slow(2), room.slow(3, "keyed")])
    room.session.cancel(attempt("keyed", 3))
    await room.said.until(1)
    assert room.said.outcomes() == [(3, Outcome.CANCELLED)]
    assert room.bench.rows.only.status is RowStatus.FAILED_BEFORE_EFFECT
    await room.bench.operation.called(2)
    assert room.calling() == [1, 2]
    await room.session.stop()


async def test_a_cancellation_that_comes_too_late_changes_nothing(room: Room) -> None:
    room.session.accept([room.quick(1)])
    room.session.cancel(attempt("copy", 1))
    room.session.cancel(attempt("copy", 2))
    assert room.said.outcomes() == [(1, Outcome.SUCCEEDED)]


async def test_a_closed_attempt_is_cut_off_and_gives_its_slot_to_the_next(room: Room) -> None:
    room.session.accept([room.slow(number) for number in (1, 2, 3, 4)])
    await room.bench.operation.called(2)
    room.session.closed(attempt("read", 3))
    room.session.closed(attempt("read", 1))
    await room.bench.operation.called(3)
    assert room.calling() == [1, 2, 4]
    assert room.said.results == [], "nobody waits for its word"
    await room.session.stop()


async def test_an_attempt_that_is_closed_before_it_begins_gives_its_slot_back(room: Room) -> None:
    room.session.accept([room.slow(1), room.slow(2), room.slow(3)])
    room.session.closed(attempt("read", 1))
    await room.bench.operation.called(2)
    assert room.calling() == [2, 3]
    await room.session.stop()


async def test_a_closed_attempt_that_acts_outside_is_told_to_its_end_in_its_row(
    room: Room,
) -> None:
    room.session.accept([room.slow(1, "keyed")])
    await room.bench.operation.called(1)
    room.session.closed(attempt("keyed", 1))
    room.bench.operation.end(1, DONE)
    await room.bench.rows.until("done")
    assert room.bench.rows.only.status is RowStatus.DONE
    assert room.bench.opened(room.bench.rows.only.result) == "done"
    assert room.bench.operation.cut_off == []


async def test_an_attempt_accepted_again_while_it_still_acts_waits_for_its_own_row(
    room: Room,
) -> None:
    room.session.accept([room.slow(1, "keyed")])
    await room.bench.operation.called(1)
    room.session.closed(attempt("keyed", 1))
    room.session.accept([room.slow(1, "keyed")])
    await room.bench.rows.until("claim", 3)
    room.bench.operation.end(1, DONE)
    await room.said.until(2)
    assert room.said.outcomes() == [(1, Outcome.SUCCEEDED)] * 2
    assert room.calling() == [1], "one call"
    assert room.bench.opened(room.said.results[1].output) == "done"


async def test_every_accepted_task_is_witnessed_at_debug_level(room: Room) -> None:
    room.session.accept([room.quick(1), room.slow(2)])
    lines = [json.loads(line) for line in room.lines]
    assert [(line["event"], line["attempt"]) for line in lines] == [
        ("task accepted", 1),
        ("task accepted", 2),
    ]
    assert {name: lines[1][name] for name in ("partition", "epoch", "offset", "token")} == {
        "partition": 0,
        "epoch": 5,
        "offset": 1,
        "token": 77,
    }
    assert (lines[1]["run"], lines[1]["step"], lines[1]["executor"]) == (RUN, "read", ME)
    await room.session.stop()


async def test_a_stop_cuts_off_what_runs_forgets_what_waits_and_says_nothing(room: Room) -> None:
    room.session.accept([room.slow(number) for number in (1, 2, 3)])
    await room.bench.operation.called(2)
    await room.session.stop()
    assert room.said.results == []
    assert room.calling() == [1, 2]
    assert len(room.bench.operation.cut_off) == 2


async def test_a_slot_is_free_again_after_an_attempt_that_failed(room: Room) -> None:
    room.session.accept([room.slow(number) for number in (1, 2, 3)])
    await room.bench.operation.called(2)
    for number in (1, 2):
        room.bench.operation.ends[number].set_exception(RuntimeError("a bug"))
    await room.bench.operation.called(3)
    room.bench.operation.end(3, DONE)
    await room.said.until(3)
    assert [outcome for _, outcome in room.said.outcomes()] == [
        Outcome.FAILED,
        Outcome.FAILED,
        Outcome.SUCCEEDED,
    ]


async def test_an_attempt_with_a_heartbeat_is_alive_as_long_as_it_is_open(room: Room) -> None:
    watched = task(attempt("read", 1), PLAN, heartbeat_ms=3)
    room.session.accept([watched, room.slow(2)])
    while len(room.said.beats) < 3:
        room.said.news.clear()
        await room.said.news.wait()
    assert set(room.said.beats) == {watched.attempt.key}
    await room.session.stop()
