"""How executors' room is shared out: credits are conserved, and no slot leaks."""

from collections.abc import Iterator

from tests.invariants.facts import LogFacts, Violation
from tests.invariants.witnesses import AttemptKey, Witnesses

QUIET_FRACTION = 4
"""An executor does not send a message for less than this part of its share alone."""


def credits_are_conserved(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """Per executor and stream: what was granted and not used is free at the owner or under way;
    and once nothing is open, everything has been granted again."""
    rule = "credits are conserved"
    for seen in witnesses.credits:
        whose = f"{seen.executor} at {seen.owner}"
        if seen.granted != seen.free + seen.under_way:
            what = f"{whose}: {seen.granted} credits granted, {seen.free} free, "
            yield Violation(rule, what + f"{seen.under_way} under way")
        missing = seen.share - seen.granted
        if seen.at_rest and missing * QUIET_FRACTION >= seen.share > 0:
            what = f"{whose}: {seen.granted} of {seen.share} credits came back"
            yield Violation(rule, what)


def slots_are_held_by_open_attempts(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """A slot is held if and only if an attempt is assigned and open. An executor that was taken
    for lost goes on with what it was given, until that has ended; at rest it holds nothing."""
    for seen in witnesses.slots:
        for key in sorted(seen.held - seen.assigned):
            given = {one.executor for one in facts.assignments.get(key, ())}
            if seen.at_rest or seen.executor not in given:
                yield _wrong_slot(facts, key, f"{seen.executor} holds {{}}, which is not open")
        for key in sorted(seen.assigned - seen.held):
            yield _wrong_slot(facts, key, f"{{}} is open, and {seen.executor} has no slot")


def _wrong_slot(facts: LogFacts, key: AttemptKey, what: str) -> Violation:
    run, step, attempt = key
    told = what.format(f"attempt {attempt} of {step} in {run}")
    return Violation("slots are held by open attempts", told, run, facts.told(run))
