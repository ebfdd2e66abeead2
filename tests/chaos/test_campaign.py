"""What a campaign proves: the order of kills, what counts as too little, and what is read."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.evidence import last_words
from tests.chaos.killer import drawn_order
from tests.chaos.report import Outcome, report, shortfalls
from tests.invariants.checks import check_campaign
from tests.invariants.facts import gather
from tests.invariants.log_builder import LOG_ID, PAID, healthy, honest
from tests.invariants.witnesses import EventSeen, Heard, Killed, StartAnswered, tasks_accepted

PROCESSES = ("executor", "postgres", "scheduler")


def whole_outcome() -> Outcome:
    """Small, but nothing is missing: a start and a call were repeated, a stream was cut."""
    log, calls = healthy()
    facts = gather(log.raw, LOG_ID)
    seen = honest(log, calls)
    seen = replace(seen, starts=[*seen.starts, StartAnswered(f"start-{PAID}", PAID, repeated=True)])
    first_ms = next(turn.time_ms for _, turn, _ in facts.runs[PAID].events())
    seen = replace(seen, heard=[Heard(PAID, "grpc", 1, [(2, "StepReady")], ended=False)])
    kills = [Killed(process, 1, first_ms, 1) for process in PROCESSES]
    restarts = {"executor": 1, "scheduler": 1}
    return Outcome(2, facts, seen, kills, restarts, check_campaign(log.raw, LOG_ID, seen))


@pytest.mark.parametrize("seed", range(20))
def test_each_process_is_killed_equally_often_and_never_twice_in_a_row(seed: int) -> None:
    order = list(drawn_order(PROCESSES, 5, random.Random(seed)))
    assert Counter(order) == dict.fromkeys(PROCESSES, 5)
    assert all(before != after for before, after in pairwise(order))


def test_a_seed_gives_the_same_order_again() -> None:
    assert list(drawn_order(PROCESSES, 5, random.Random(3))) == list(
        drawn_order(PROCESSES, 5, random.Random(3))
    )


def test_a_campaign_in_which_enough_happened_has_no_shortfall() -> None:
    outcome = whole_outcome()
    assert list(shortfalls(outcome, kills=1)) == []
    assert "no violation" in report(outcome, took_s=1)


@pytest.mark.parametrize("word", ["executor", "postgres", "scheduler"])
def test_too_few_kills_of_a_process_are_a_shortfall(word: str) -> None:
    assert f"too little: {word} was killed 1 times of 5" in shortfalls(whole_outcome(), kills=5)


def test_a_kill_with_no_attempt_in_flight_is_a_shortfall() -> None:
    outcome = whole_outcome()
    idle = replace(outcome, kills=[replace(outcome.kills[0], at_ms=0), *outcome.kills[1:]])
    assert len(list(shortfalls(idle, kills=1))) == 1


def test_a_service_that_died_by_itself_is_told() -> None:
    outcome = replace(whole_outcome(), restarts={"executor": 3, "scheduler": 1})
    assert list(shortfalls(outcome, kills=1)) == ["unexplained: executor died 2 times by itself"]


def test_witnesses_that_saw_nothing_are_shortfalls() -> None:
    outcome = whole_outcome()
    unseen = replace(outcome.witnesses, starts=[], events=[EventSeen(PAID, 1, 1, "RunStarted")])
    found = list(
        shortfalls(replace(outcome, witnesses=replace(unseen, tasks=[], heard=[])), kills=1)
    )
    assert found == [
        "too little: starts recognised as repeats: 0",
        "too little: live connections beyond the first: 0",
        "too little: accepted tasks witnessed: 0",
        "too little: connections that began after an event: 0",
        "too little: 0 runs were started of 2",
    ]


def test_accepted_tasks_are_read_past_what_a_killed_executor_left_behind() -> None:
    line = (
        b'{"level":"debug","event":"task accepted","partition":1,"epoch":2,"offset":3,"run":"r",'
        b'"step":"s","attempt":1,"token":7,"executor":"e","service":"executor"}'
    )
    lines = [b"Traceback (most recent call last):", b'{"event":"service ready"}', line, line[:40]]
    found = list(tasks_accepted(lines))
    assert [(task.run, task.step, task.attempt, task.token) for task in found] == [("r", "s", 1, 7)]


def test_the_errors_of_a_service_are_found_among_its_other_lines(tmp_path: Path) -> None:
    log = tmp_path / "scheduler.log"
    crash = '{"level":"error","event":"task crashed","task":"ownership"}'
    log.write_text(f'{{"level":"info","event":"service ready"}}\n{crash}\nFatal Python error\n')
    assert last_words(log) == [crash, "Fatal Python error"]
