"""The log checker: what the witnesses saw against what the log says. Pure; each check answers
every violation with its evidence, and `check_campaign` is all of them.

An empty answer about an empty log means nothing: whoever calls this also asserts that enough
happened.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from headrace_core.ids import RunId, compensation_key
from headrace_core.run import events as ev
from headrace_core.run.freeze import state_hash
from headrace_core.run.replay import replay
from headrace_core.run.status import RUN_TERMINAL, Repair, WaitingKind
from tests.invariants.facts import LogFacts, Raw, RunFacts, Violation, gather
from tests.invariants.fairness import steps_start_fairly
from tests.invariants.letters import failed_calls_are_dead_letters, letters_are_decided_once
from tests.invariants.projections import (
    a_rebuild_gives_the_same_rows,
    projections_equal_the_fold,
)
from tests.invariants.sharing import credits_are_conserved, slots_are_held_by_open_attempts
from tests.invariants.witnesses import EventSeen, Request, RowSaid, Witnesses

STEP_ENDS = (ev.StepSucceeded, ev.StepFailed, ev.StepCancelled)
CLOSING = (ev.StepSucceeded, ev.StepFailed, ev.StepRetryScheduled, ev.StepCancelled)
UNKNOWN, TOO_LATE = "unknown_outcome", "timeout.deadline"
_COUNTED: Mapping[str, type[ev.RunEvent]] = {
    "attempts": ev.StepAssigned,
    "succeeded": ev.StepSucceeded,
    "failed": ev.StepFailed,
    "skipped": ev.StepSkipped,
    "cancelled": ev.StepCancelled,
}


def check_campaign(raw: Raw, log_id: bytes, witnesses: Witnesses) -> list[Violation]:
    """Every check; the log's own faults come first."""
    return check_facts(gather(raw, log_id), witnesses)


def check_facts(facts: LogFacts, witnesses: Witnesses) -> list[Violation]:
    """The same, of a log that was read already."""
    found = list(facts.violations)
    for check in CHECKS:
        found.extend(check(facts, witnesses))
    return found


def one_terminal_event(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """Every run in the log, sub-flows too, has one, and it is the last."""
    for run in facts.runs.values():
        kinds = [type(event) for _, _, event in run.events()]
        ends = [kind for kind in kinds if kind in ev.RUN_TERMINAL_EVENTS]
        if len(ends) != 1 or kinds[-1] is not ends[0]:
            names = ", ".join(kind.__name__ for kind in ends) or "none"
            what = f"run {run.run} has {len(ends)} terminal events ({names})"
            if len(ends) == 1:
                what = f"run {run.run} goes on after its terminal event"
            yield Violation("one terminal event", what, run.run, run.told())


def one_verdict_per_attempt(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """An attempt is assigned once, and closed at most once. A step that is stopped, or too late,
    between two attempts ends under the number of the last one, which was closed before."""
    for (run, step, attempt), assigned in facts.assignments.items():
        if len(assigned) > 1:
            what = f"attempt {attempt} of {step} in {run} was assigned {len(assigned)} times"
            yield Violation("one verdict per attempt", what, run, facts.told(run))
    for run in facts.runs.values():
        for (step, attempt), count in _verdicts(run).items():
            if count > 1:
                what = f"attempt {attempt} of {step} in {run.run} has {count} verdicts"
                yield Violation("one verdict per attempt", what, run.run, run.told())


def _verdicts(run: RunFacts) -> Counter[tuple[str, int]]:
    counts: Counter[tuple[str, int]] = Counter()
    stopping = False
    for _, _, event in run.events():
        stopping = stopping or isinstance(event, ev.RunCancelRequested)
        if not isinstance(event, CLOSING) or not event.attempt:
            continue
        ends = not isinstance(event, ev.StepRetryScheduled)
        late = isinstance(event, ev.StepFailed) and event.error.type in (UNKNOWN, TOO_LATE)
        if ends and (stopping or late):
            counts[event.step, event.attempt] = max(1, counts[event.step, event.attempt])
        else:
            counts[event.step, event.attempt] += 1
    return counts


def every_202_started(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """A key's answers name one run, which is in the log; and no start made a second one."""
    rule = "each 202 has its RunStarted"
    runs_of: dict[str, set[str]] = defaultdict(set)
    for answer in witnesses.starts:
        runs_of[answer.key].add(answer.run)
    for key, runs in runs_of.items():
        if len(runs) > 1:
            yield Violation(rule, f"key {key} was answered with {sorted(runs)}")
    answered = {answer.run for answer in witnesses.starts}
    for run in sorted(answered):
        found = facts.runs.get(RunId(run))
        if found is None or found.started is None:
            what = f"run {run} was answered with 202 and has no RunStarted"
            yield Violation(rule, what, run, facts.told(run))
    for found in facts.runs.values():
        started = found.started
        if started is not None and started.parent is None and found.run not in answered:
            what = f"run {found.run} was started although no answer names it"
            yield Violation(rule, what, found.run, found.told())


def accepted_runs_are_found(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """From the answer of the start on."""
    for lookup in witnesses.lookups:
        if lookup.status != 200:
            what = f"run {lookup.run} was accepted, and asking for it was answered {lookup.status}"
            yield Violation("an accepted run is found", what, lookup.run, facts.told(lookup.run))


def accepted_tasks_were_assigned(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """By the accepted record that the task names, to the executor that took it, once."""
    rule = "accepted tasks were assigned"
    for task in witnesses.tasks:
        found = facts.assignments.get(task.key, [])
        said = (task.partition, task.epoch, task.offset, task.executor, task.token)
        logged = [(a.partition, a.epoch, a.offset, a.executor, a.token) for a in found]
        if said not in logged:
            what = f"executor {task.executor} accepted attempt {task.attempt} of {task.step} in "
            what += f"{task.run}, which no accepted record assigned so"
            evidence = [f"accepted: {said}", f"the log:  {logged}", *facts.told(task.run)]
            yield Violation(rule, what, task.run, evidence)
    for key, count in Counter(task.key for task in witnesses.tasks).items():
        if count > 1:
            what = f"attempt {key[2]} of {key[1]} in {key[0]} was accepted {count} times"
            yield Violation(rule, what, key[0], facts.told(key[0]))


def one_effect_per_key(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """All calls of one step carry one key, no two steps share one, and it acts once."""
    rule = "one effect per key"
    steps_of: dict[str, set[tuple[str, str]]] = defaultdict(set)
    acted: Counter[str] = Counter()
    for (run, step), requests in _by_step(witnesses.requests).items():
        keys = {request.key for request in requests if request.key}
        if len(keys) > 1:
            what = f"step {step} of {run} was called with {len(keys)} keys: {sorted(keys)}"
            yield Violation(rule, what, run, [*map(str, requests), *facts.told(run)])
        for request in requests:
            if request.key:
                steps_of[request.key].add((run, step))
                acted[request.key] += request.performed
    for key, steps in steps_of.items():
        if len(steps) > 1:
            yield Violation(rule, f"key {key} was used by {sorted(steps)}")
        if acted[key] > 1:
            run = min(steps)[0]
            yield Violation(rule, f"key {key} acted {acted[key]} times", run, facts.told(run))


def one_call_without_key(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    for (run, step), requests in _by_step(witnesses.requests).items():
        bare = [request for request in requests if not request.key]
        if len(bare) > 1:
            what = f"step {step} of {run} was called {len(bare)} times without a key"
            evidence = [*map(str, bare), *facts.told(run)]
            yield Violation("at most one call without key", what, run, evidence)


def words_on_effects_are_true(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """A call was made by a step that was assigned; "failed" and "cancelled" mean that nothing
    happened; only `unknown_outcome` leaves it open; "succeeded" means that it did."""
    rule = "words on effects are true"
    calls = _by_step(witnesses.requests)
    receipts = {row.run: row.receipts for row in witnesses.rows}
    for (run, step), requests in calls.items():
        found = facts.runs.get(RunId(run))
        if found is None or not any(key[:2] == (run, step) for key in _assigned(found)):
            what = f"step {step} of {run} was called and never assigned"
            yield Violation(rule, what, run, [*map(str, requests), *facts.told(run)])
            continue
        effects = {request.receipt for request in requests if request.performed}
        word = _last_word(found, step)
        if isinstance(word, ev.StepSucceeded):
            shown = receipts.get(run, {}).get(step)
            if not effects or (shown is not None and shown not in effects):
                what = f"step {step} of {run} succeeded with receipt {shown}, effects: {effects}"
                yield Violation(rule, what, run, [*map(str, requests), *found.told()])
        elif effects and not (isinstance(word, ev.StepFailed) and word.error.type == UNKNOWN):
            what = f"step {step} of {run} had its effect; the log says {word}"
            yield Violation(rule, what, run, [*map(str, requests), *found.told()])
    for run, by_step in receipts.items():
        for step, receipt in by_step.items():
            if (run, step) not in calls:
                what = f"step {step} of {run} shows receipt {receipt} and never called"
                yield Violation(rule, what, run, facts.told(run))


def live_streams_are_whole(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """Over all connections of a subscriber: events 1, 2, 3, ... once each, as the log has them."""
    rule = "live stream without gap and repeat"
    yield from _whole(rule, facts, witnesses.events)
    lasts: dict[str, int] = {}
    for event in witnesses.events:
        lasts[event.run] = max(event.sequence, lasts.get(event.run, 0))
    for end in witnesses.ends:
        found = facts.runs.get(RunId(end.run))
        last = lasts.get(end.run, 0)
        if found is None or found.sequence != last:
            what = f"the subscriber of {end.run} was told of the end after event {last}"
            yield Violation(rule, what, end.run, facts.told(end.run))


def connections_go_on_where_asked(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """Each one by itself, from whatever event on: the next event first, then one after the other,
    as the log has them, and the end only after the last."""
    rule = "a stream goes on where it was asked to"
    for heard in witnesses.heard:
        found = facts.runs.get(RunId(heard.run))
        logged = _kinds(found) if found is not None else {}
        expected = [(n, logged.get(n, "none")) for n in range(heard.after + 1, len(logged) + 1)]
        told = expected if heard.ended else expected[: len(heard.events)]
        if list(heard.events) != told:
            what = f"{heard.via} after event {heard.after} of {heard.run}: {heard.events}"
            yield Violation(rule, what, heard.run, facts.told(heard.run))


def history_lists_every_event(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    rule = "history lists every event once"
    yield from _whole(rule, facts, witnesses.told)
    counts = Counter(event.run for event in witnesses.told)
    for run, count in counts.items():
        found = facts.runs.get(RunId(run))
        if found is not None and found.sequence > count:
            what = f"{count} events of {run} are listed, the log has {found.sequence}"
            yield Violation(rule, what, run, found.told())


def _whole(rule: str, facts: LogFacts, listed: Sequence[EventSeen]) -> Iterator[Violation]:
    seen: dict[str, list[EventSeen]] = defaultdict(list)
    for event in listed:
        seen[event.run].append(event)
    for run, events in seen.items():
        numbers = [0, *(event.sequence for event in events)]
        for before, event in zip(numbers, events, strict=False):
            if event.sequence != before + 1:
                word = "a gap" if event.sequence > before else "a repeat"
                what = f"{word} in the events of {run}: {event.sequence} after {before}"
                evidence = [f"connection {event.connection}", *facts.told(run)]
                yield Violation(rule, what, run, evidence)
        found = facts.runs.get(RunId(run))
        logged = _kinds(found) if found is not None else {}
        wrong = [event for event in events if logged.get(event.sequence) != event.kind]
        if wrong:
            what = f"{wrong[0].kind} was shown as event {wrong[0].sequence} of {run}"
            yield Violation(rule, what, run, facts.told(run))


def history_equals_the_fold(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """Its states at any event, its rows, and what it adds up."""
    rule = "history equals the fold"
    for said in witnesses.states:
        found = facts.runs.get(RunId(said.run))
        folded = _hash_at(found, said.sequence) if found is not None else None
        if folded != said.state_hash:
            what = f"state of {said.run} at event {said.sequence} is {said.state_hash}, "
            what += f"the log folds to {folded}"
            yield Violation(rule, what, said.run, facts.told(said.run))
    for row in witnesses.rows:
        found = facts.runs.get(RunId(row.run))
        for fault in _row_faults(found, row):
            yield Violation(rule, f"row of {row.run}: {fault}", row.run, facts.told(row.run))
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for found in facts.runs.values():
        started = found.started
        if started is not None:
            counted[started.flow][0] += 1
            counted[started.flow][1] += sum(1 for _ in _assigned(found))
    for flow, (runs, attempts) in witnesses.usage.items():
        logged = tuple(counted[flow])
        if logged != (runs, attempts):
            what = f"usage of {flow} is {runs} runs, {attempts} attempts; the log has {logged}"
            yield Violation(rule, what)


def undone_in_reverse(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """What has succeeded and can be undone is, the last one first, and one at a time."""
    rule = "undone one at a time, the last one first"
    for run in facts.runs.values():
        left: list[str] = []
        under_way: str | None = None
        for sequence, _, event in run.events():
            if isinstance(event, ev.StepSucceeded) and event.compensable:
                left.append(event.step)
            elif isinstance(event, ev.StepCompensating):
                expected = left.pop() if left else None
                if event.step != expected or under_way is not None:
                    what = f"event {sequence} of {run.run} undoes {event.step}, next is {expected}"
                    what += f", under way is {under_way}" if under_way else ""
                    yield Violation(rule, what, run.run, run.told())
                under_way = compensation_key(event.step)
            elif isinstance(event, STEP_ENDS) and event.step == under_way:
                under_way = None
            elif isinstance(event, ev.RunCompensated) and left:
                what = f"run {run.run} is compensated, and {left} never was"
                yield Violation(rule, what, run.run, run.told())


def timers_are_never_early(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """A backoff and a wait end at their time or later, by the log's own times."""
    for run in facts.runs.values():
        due: dict[str, int] = {}
        for sequence, turn, event in run.events():
            if isinstance(event, ev.StepRetryScheduled):
                due[event.step] = event.due_ms
            elif isinstance(event, ev.StepReady | ev.TimerFired):
                due_ms = due.pop(event.step, 0)
                if turn.time_ms < due_ms:
                    what = f"event {sequence} of {run.run} comes at {turn.time_ms}, due at {due_ms}"
                    yield Violation("timers are never early", what, run.run, run.told())
            elif isinstance(event, ev.StepWaiting) and event.kind is WaitingKind.TIMER:
                due[event.step] = event.due_ms or 0


def nothing_is_assigned_after_a_cancel(
    facts: LogFacts, witnesses: Witnesses
) -> Iterator[Violation]:
    for run in facts.runs.values():
        cancelled = False
        for sequence, _, event in run.events():
            cancelled = cancelled or isinstance(event, ev.RunCancelRequested)
            if isinstance(event, ev.RunCompensating):
                # Undoing is what a run that was cut off by its timeout still does.
                cancelled = False
            if cancelled and isinstance(event, ev.StepAssigned):
                what = f"event {sequence} of {run.run} assigns {event.step} after the cancel"
                yield Violation("nothing is assigned after a cancel", what, run.run, run.told())


def messages_arrive_once(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """Between any two partitions: numbered without a gap, recorded in order, each once."""
    rule = "messages between partitions arrive once"
    for (source, target), numbers in facts.sent.items():
        if numbers != list(range(1, len(numbers) + 1)):
            yield Violation(rule, f"partition {source} sent {numbers} to {target}")
        arrived = facts.received.get((source, target), [])
        if len(set(arrived)) < len(numbers):
            lost = sorted(set(numbers) - set(arrived))[:5]
            yield Violation(rule, f"messages {lost} of {source} never arrived at {target}")
    for (source, target), numbers in facts.received.items():
        sent = facts.sent.get((source, target), [])
        if any(after != before + 1 for before, after in pairwise([0, *numbers])):
            yield Violation(rule, f"partition {target} recorded {numbers[:20]} of {source}")
        elif numbers and numbers[-1] > len(sent):
            yield Violation(rule, f"partition {target} recorded more than {source} sent")


def in_flight_at(facts: LogFacts, at_ms: int) -> int:
    """Attempts that were assigned and not closed at a time, by the log's own times."""
    count = 0
    for run in facts.runs.values():
        opened: dict[tuple[str, int], int] = {}
        for _, turn, event in run.events():
            if isinstance(event, ev.StepAssigned):
                opened[event.step, event.attempt] = turn.time_ms
            elif isinstance(event, CLOSING) and event.attempt:
                assigned_ms = opened.pop((event.step, event.attempt), None)
                count += assigned_ms is not None and assigned_ms <= at_ms < turn.time_ms
        count += sum(1 for assigned_ms in opened.values() if assigned_ms <= at_ms)
    return count


Check = Callable[[LogFacts, Witnesses], Iterator[Violation]]
CHECKS: Sequence[Check] = (
    one_terminal_event,
    one_verdict_per_attempt,
    every_202_started,
    accepted_runs_are_found,
    accepted_tasks_were_assigned,
    one_effect_per_key,
    one_call_without_key,
    words_on_effects_are_true,
    live_streams_are_whole,
    history_lists_every_event,
    history_equals_the_fold,
    messages_arrive_once,
    undone_in_reverse,
    timers_are_never_early,
    nothing_is_assigned_after_a_cancel,
    credits_are_conserved,
    slots_are_held_by_open_attempts,
    steps_start_fairly,
    projections_equal_the_fold,
    a_rebuild_gives_the_same_rows,
    connections_go_on_where_asked,
    failed_calls_are_dead_letters,
    letters_are_decided_once,
)


def _by_step(requests: Sequence[Request]) -> dict[tuple[str, str], list[Request]]:
    found: dict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in requests:
        found[request.run, request.step].append(request)
    return found


def _assigned(run: RunFacts) -> Iterator[tuple[str, str, int]]:
    for _, _, event in run.events():
        if isinstance(event, ev.StepAssigned):
            yield (run.run, event.step, event.attempt)


def _last_word(run: RunFacts, step: str) -> ev.RunEvent | None:
    """The engine's own: an operator's skip or output says nothing of what was called before."""
    words = (ev.StepSucceeded, ev.StepFailed, ev.StepCancelled, ev.StepSkipped)
    said: ev.RunEvent | None = None
    by_operator = False
    for _, _, event in run.events():
        if getattr(event, "step", None) != step:
            continue
        if isinstance(event, ev.StepRepaired):
            by_operator = event.repair in (Repair.SKIP, Repair.OUTPUT)
        elif isinstance(event, ev.StepAssigned):
            by_operator = False
        elif isinstance(event, words) and not by_operator:
            said = event
    return said


def _kinds(run: RunFacts) -> dict[int, str]:
    return {sequence: type(event).__name__ for sequence, _, event in run.events()}


def _hash_at(run: RunFacts, sequence: int) -> str | None:
    try:
        return state_hash(replay(run.run, run.tenant, run.turns, sequence))
    except (AssertionError, LookupError, ValueError):
        return None


def _row_faults(run: RunFacts | None, row: RowSaid) -> Iterator[str]:
    if run is None:
        yield "the log does not know it"
        return
    if run.state is not None and run.state.status.text != row.status:
        yield f"its status is {row.status}, the log folds to {run.state.status.text}"
    if run.state is not None and run.state.status not in RUN_TERMINAL:
        yield "it is shown at the end and has not ended"
    if run.sequence != row.sequence:
        yield f"it ends at event {row.sequence}, the log at {run.sequence}"
    kinds = Counter(type(event) for _, _, event in run.events())
    for name, said in row.counts.items():
        if kinds[_COUNTED[name]] != said:
            yield f"it counts {said} {name}, the log {kinds[_COUNTED[name]]}"
