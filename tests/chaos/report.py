"""What a campaign came to: a table for a person, and what was too little to mean anything."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace_core.run import events as ev
from headrace_core.run.status import RUN_TERMINAL
from tests.invariants.checks import in_flight_at
from tests.invariants.facts import LogFacts, Violation
from tests.invariants.witnesses import Killed, Witnesses

LOST = "executor.lost"


@dataclass(frozen=True, slots=True)
class Outcome:
    runs: int
    facts: LogFacts
    witnesses: Witnesses
    kills: Sequence[Killed]
    restarts: Mapping[str, int]
    violations: Sequence[Violation]


def report(outcome: Outcome, took_s: float) -> str:
    return "\n".join([*_kill_lines(outcome), "", *_count_lines(outcome, took_s)])


def shortfalls(outcome: Outcome, kills: int) -> Iterator[str]:
    """What must have happened at least, or the checks have proved nothing; and deaths that no
    kill explains."""
    counts = Counter(kill.process for kill in outcome.kills)
    for process, died in died_by_themselves(outcome).items():
        yield f"unexplained: {process} died {died} times by itself"
    for process, count in counts.items():
        if count < kills:
            yield f"too little: {process} was killed {count} times of {kills}"
    for kill in outcome.kills:
        if not in_flight_at(outcome.facts, kill.at_ms):
            yield f"too little: no attempt was in flight when {kill.process} was killed"
    for what, count in _happened(outcome).items():
        if not count:
            yield f"too little: {what}: 0"
    answered = {answer.run for answer in outcome.witnesses.starts}
    if len(answered) < outcome.runs:
        yield f"too little: {len(answered)} runs were started of {outcome.runs}"


def died_by_themselves(outcome: Outcome) -> Mapping[str, int]:
    """How often the supervisor started a service that nobody had killed."""
    counts = Counter(kill.process for kill in outcome.kills)
    return {
        process: restarts - counts[process]
        for process, restarts in outcome.restarts.items()
        if restarts > counts[process]
    }


def _kill_lines(outcome: Outcome) -> Iterator[str]:
    yield f"{'process':<14}{'kills':>6}   attempts in flight at each (receiver's open calls)"
    for process in sorted({kill.process for kill in outcome.kills}):
        kills = [kill for kill in outcome.kills if kill.process == process]
        flights = (
            f"{in_flight_at(outcome.facts, kill.at_ms)} ({kill.open_calls})" for kill in kills
        )
        yield f"{process:<14}{len(kills):>6}   {'  '.join(flights)}"


def _count_lines(outcome: Outcome, took_s: float) -> Iterator[str]:
    facts, seen = outcome.facts, outcome.witnesses
    states = Counter(
        run.state.status.text if run.state is not None else "not foldable"
        for run in facts.runs.values()
    )
    ended = sum(
        1 for r in facts.runs.values() if r.state is not None and r.state.status in RUN_TERMINAL
    )
    words = ", ".join(f"{count} {status}" for status, count in sorted(states.items()))
    yield f"runs           {outcome.runs} started, {len(facts.runs)} with sub-flows; {words}"
    yield f"log            {facts.accepted} records accepted, {facts.void} void, "
    yield f"               {facts.claims} claims, {ended} runs ended, {took_s:.0f} s in all"
    yield f"witnesses      {len(seen.starts)} answers with 202, {len(seen.events)} live events, "
    yield f"               {len(seen.requests)} calls received, {len(seen.tasks)} tasks accepted, "
    yield f"               {len(seen.states)} states, {len(seen.told)} listed events of history"
    # No action of this release writes without a key, so this is 0 and its check has no work.
    bare = sum(1 for call in seen.requests if not call.key)
    yield f"{'calls without a key':<40}{bare:>6}"
    for what, count in _happened(outcome).items():
        yield f"{what:<40}{count:>6}"
    rules = Counter(violation.check for violation in outcome.violations)
    found = ", ".join(f"{count} of {rule!r}" for rule, count in rules.items())
    yield f"verdict        {found or 'no violation'}"


def _happened(outcome: Outcome) -> dict[str, int]:
    """What a campaign must have met at least once."""
    facts, seen = outcome.facts, outcome.witnesses
    lost = sum(
        1
        for run in facts.runs.values()
        for _, _, event in run.events()
        if isinstance(event, ev.StepRetryScheduled) and event.error.type == LOST
    )
    return {
        "takeovers of partitions": facts.claims - facts.partitions,
        "attempts lost with their executor": lost,
        "starts recognised as repeats": sum(1 for answer in seen.starts if answer.repeated),
        "calls recognised as repeats": sum(
            1 for call in seen.requests if not call.performed and call.receipt
        ),
        "live connections beyond the first": len(
            {(event.run, event.connection) for event in seen.events if event.connection > 1}
        ),
        "accepted tasks witnessed": len(seen.tasks),
        "connections that began after an event": sum(
            1 for heard in seen.heard if heard.after and heard.events
        ),
    }
