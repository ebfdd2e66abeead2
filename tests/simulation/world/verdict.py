"""The verdict on a campaign: what its witnesses saw against what the log says."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace_core.ids import RunId, name_of, owner_of
from headrace_core.run import events as ev
from headrace_core.run.state import RunState
from headrace_core.run.status import RUN_TERMINAL, RunStatus, StepStatus
from headrace_runtime.eventlog.port import Entry
from headrace_worker.messages import Task
from tests.invariants.checks import check_facts
from tests.invariants.facts import LogFacts, RunFacts, gather
from tests.invariants.witnesses import (
    CreditsSeen,
    HistorySaid,
    Request,
    SlotsSeen,
    StartAnswered,
    TaskAccepted,
    Witnesses,
)
from tests.simulation.world.clients import ClientSays
from tests.simulation.world.flows import SimFlow

UNKNOWN = "unknown_outcome"
KINDS = (
    *("EventReceived", "GroupOpened", "RunResumed", "RunSuspended", "SignalReceived"),
    "StepRepaired",
)
"""Counted by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """`said` is what the owners' own logs say."""

    raw: Mapping[int, Sequence[Entry]]
    log_id: bytes
    flows: Mapping[str, SimFlow]
    clients: Sequence[ClientSays]
    tasks: Sequence[tuple[str, Task]]
    requests: Sequence[Request]
    states: Sequence[HistorySaid]
    credits: Sequence[CreditsSeen]
    slots: Sequence[SlotsSeen]
    said: Sequence[str]


def judge(observed: Observed) -> Counter[str]:
    """Raises AssertionError with everything that is broken; answers what was seen."""
    facts = gather(observed.raw, observed.log_id)
    witnesses = Witnesses(
        starts=[StartAnswered(one.run, one.run) for one in observed.clients if one.started],
        requests=observed.requests,
        tasks=[_accepted(executor, task) for executor, task in observed.tasks],
        states=observed.states,
        credits=observed.credits,
        slots=observed.slots,
    )
    violations = [str(violation) for violation in check_facts(facts, witnesses)]
    violations += _told(observed, facts)
    assert not violations, "\n".join(violations[:5])
    return _seen(observed, facts)


def _accepted(executor: str, task: Task) -> TaskAccepted:
    attempt = task.attempt
    return TaskAccepted(
        partition=attempt.partition,
        epoch=attempt.epoch,
        offset=task.offset,
        run=attempt.run,
        step=attempt.step,
        attempt=attempt.number,
        token=attempt.token,
        executor=executor,
    )


def _told(observed: Observed, facts: LogFacts) -> list[str]:
    """Each client got its answers, and each run came to what its plan computes."""
    found: list[str] = []
    for client in observed.clients:
        if not client.started:
            found.append(f"the client of {client.run} never got its answer")
            continue
        run = facts.runs.get(client.run)
        if run is not None and client.cancelled and not _undoes(run):
            found += _ended_as(run, run.state, RunStatus.CANCELLED)
    asked = {client.run for client in observed.clients if client.asked_to_cancel}
    found += [
        fault
        for run in facts.runs.values()
        if not (root_of(facts, run.run) in asked and _is_cancelled(run))
        for fault in _outcome_faults(observed, run)
    ]
    return found


def _undoes(run: RunFacts) -> bool:
    """Then a cancel ends the undoing, and the run fails with what is left of it."""
    return any(isinstance(event, ev.RunCompensating) for _, _, event in run.events())


def _taken_over(facts: LogFacts, run: RunFacts) -> bool:
    begun = next(t.offset for _, t, one in run.events() if isinstance(one, ev.RunCompensating))
    ended = run.turns[-1].offset
    return any(begun < claim < ended for claim in facts.claimed_at[run.partition])


def _is_cancelled(run: RunFacts) -> bool:
    return any(isinstance(event, ev.RunCancelRequested) for _, _, event in run.events())


def root_of(facts: LogFacts, run: RunId) -> RunId:
    started = facts.runs[run].started
    while started is not None and started.parent is not None:
        run = started.parent.run
        started = facts.runs[run].started if run in facts.runs else None
    return run


def _outcome_faults(observed: Observed, run: RunFacts) -> list[str]:
    started = run.started
    if started is None:
        return [f"run {run.run} has no start"]
    flow, unknown = observed.flows[started.flow], _unknown_steps(run)
    wrongly = [step for step in unknown if not flow.may_be_unknown(step)]
    if wrongly:
        return [f"steps {wrongly} of {run.run} can be repeated, and end as unknown"]
    return _ended_as(run, run.state, flow.expected(_as_logged(run, flow, unknown)))


def _as_logged(run: RunFacts, flow: SimFlow, unknown: frozenset[str]) -> Mapping[str, StepStatus]:
    steps = run.state.steps if run.state is not None else {}
    return {
        key: step.status
        for key, step in steps.items()
        if step.status in (StepStatus.SUCCEEDED, StepStatus.FAILED)
        and owner_of(key) is None
        and (key in unknown or flow.depends_on_faults(key))
    }


def _unknown_steps(run: RunFacts) -> frozenset[str]:
    return frozenset(
        name_of(event.step)
        for _, _, event in run.events()
        if isinstance(event, ev.StepFailed) and event.error.type == UNKNOWN
    )


def _ended_as(run: RunFacts, state: RunState | None, expected: RunStatus) -> list[str]:
    if state is None or state.status is expected:
        return []
    steps = [(step.key, step.status.text, step.waiting.text) for step in state.steps.values()]
    told = "\n    ".join(run.told())
    return [
        f"run {run.run} ended {state.status.text}, expected {expected.text}: {steps}\n    {told}"
    ]


def _seen(observed: Observed, facts: LogFacts) -> Counter[str]:
    said = "\n".join(observed.said)
    states = [run.state for run in facts.runs.values() if run.state is not None]
    undone = [run for run in facts.runs.values() if _undoes(run)]
    steps = [step for state in states for step in state.steps.values()]
    events = [event for run in facts.runs.values() for _, _, event in run.events()]
    kinds = Counter(type(event).__name__ for event in events)
    return Counter(
        {
            **{kind: kinds[kind] for kind in KINDS},
            "void record": facts.void,
            "takeover": facts.claims,
            "fenced owner": said.count("another owner has claimed") + said.count("is stale"),
            "start repeated": sum(client.attempts > 1 for client in observed.clients),
            "run cancelled": sum(client.cancelled for client in observed.clients),
            "lost attempt": sum(step.lost for step in steps),
            "unknown outcome": sum(len(_unknown_steps(run)) for run in facts.runs.values()),
            "step cancelled": sum(step.status is StepStatus.CANCELLED for step in steps),
            "child run": sum(state.parent is not None for state in states),
            "detached run": sum(
                state.parent is not None and state.parent.detached for state in states
            ),
            "fallback": sum(
                isinstance(event, ev.StepRetryScheduled) and event.fallback > 0 for event in events
            ),
            "further pass": sum(
                isinstance(event, ev.PassStarted) and event.number > 1 for event in events
            ),
            "output in place of a failure": sum(
                isinstance(event, ev.StepSucceeded) and event.recovered for event in events
            ),
            "parked": said.count("run parked"),
            "terminal": sum(state.status in RUN_TERMINAL for state in states),
            "takeover in mid-compensation": sum(_taken_over(facts, run) for run in undone),
            "state compared": len(observed.states),
            "credits compared": len(observed.credits),
            "slots compared": sum(bool(seen.assigned) for seen in observed.slots),
            "effect": sum(request.performed for request in observed.requests),
            "repeated call": sum(not request.performed for request in observed.requests),
        }
    )
