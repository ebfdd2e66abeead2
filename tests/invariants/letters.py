"""I13: every call to the outside ends in exactly one of done, retried, dead letter; and a dead
letter is decided at most once."""

from collections.abc import Iterator

from headrace_core.ids import letter_id
from headrace_core.partition.events import DeadLetterReplayed
from headrace_core.run import events as ev
from tests.invariants.facts import LogFacts, RunFacts, Violation
from tests.invariants.witnesses import Witnesses

RULE = "what failed for good outside is one dead letter"
DECIDED = "a dead letter is decided once"


def failed_calls_are_dead_letters(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """Right behind the failure, under its own name; no failure that the far side has seen the call
    of goes without."""
    called = {(request.run, request.step) for request in witnesses.requests}
    for run in facts.runs.values():
        for what in _faults_of(run, called):
            yield Violation(RULE, what, run.run, run.told())


def letters_are_decided_once(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """What is decided was added, and what is replayed runs."""
    added = {
        event.letter
        for run in facts.runs.values()
        for _, _, event in run.events()
        if isinstance(event, ev.DeadLetterAdded)
    }
    seen: set[str] = set()
    for decision in facts.decisions:
        letter = decision.letter
        if letter not in added:
            yield Violation(DECIDED, f"letter {letter} was decided and never added", decision.run)
        if letter in seen:
            yield Violation(DECIDED, f"letter {letter} was decided twice", decision.run)
        seen.add(letter)
        if isinstance(decision, DeadLetterReplayed) and decision.as_run not in facts.runs:
            what = f"letter {letter} is replayed as {decision.as_run}, which never began"
            yield Violation(DECIDED, what, decision.run)


def _faults_of(run: RunFacts, called: set[tuple[str, str]]) -> Iterator[str]:
    fallen_back: set[str] = set()
    for turn in run.turns:
        before: ev.RunEvent | None = None
        for event in turn.events:
            if isinstance(before, ev.StepFailed) and _is_lost(run, before, called, fallen_back):
                yield from _missing(before, event)
            if isinstance(event, ev.DeadLetterAdded):
                yield from _wrong(run, before, event)
            if isinstance(event, ev.StepRetryScheduled) and event.fallback:
                fallen_back.add(event.step)
            before = event
        if isinstance(before, ev.StepFailed) and _is_lost(run, before, called, fallen_back):
            yield from _missing(before, None)


def _is_lost(
    run: RunFacts, failed: ev.StepFailed, called: set[tuple[str, str]], fallen_back: set[str]
) -> bool:
    """Whether the call itself has failed: a fallback may have failed at something harmless."""
    if failed.handled or not failed.attempt or failed.step in fallen_back:
        return False
    return (run.run, failed.step) in called


def _missing(failed: ev.StepFailed, follows: ev.RunEvent | None) -> Iterator[str]:
    if not isinstance(follows, ev.DeadLetterAdded):
        yield f"step {failed.step} was called, has failed, and no dead letter says so"


def _wrong(run: RunFacts, before: ev.RunEvent | None, added: ev.DeadLetterAdded) -> Iterator[str]:
    if added.letter != letter_id(run.run, added.step, added.attempt):
        yield f"dead letter {added.letter} of {added.step} is not under its own name"
    if (
        not isinstance(before, ev.StepFailed)
        or (before.step, before.attempt) != (added.step, added.attempt)
        or before.handled
    ):
        yield f"dead letter {added.letter} is behind no failure of {added.step}"
