"""Plays one case to its end, and says what became of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace_cli.testing.case_file import Case, Given
from headrace_cli.testing.engine import TENANT, Engine, Plans
from headrace_cli.testing.script import Script
from headrace_core.errors import InvalidInput
from headrace_core.ids import (
    PlanHash,
    StepKey,
    compensated_by,
    compensation_key,
    enclosing_items,
    name_of,
    origin_of,
)
from headrace_core.run.events import (
    RunEvent,
    StepCancelled,
    StepCompensating,
    StepError,
    StepReady,
    StepSkipped,
)
from headrace_core.run.state import RunState
from headrace_core.run.status import RUN_TERMINAL, CancelCause, StepStatus
from headrace_core.workflow.duration import duration_ms
from headrace_core.workflow.inputs import checked_inputs
from headrace_core.workflow.plan import Plan
from headrace_history.api.json_text import json_text
from headrace_history.domain.event_documents import event_documents
from headrace_history.domain.rendering import Payloads
from headrace_scheduler.domain import commands as cmd

_NOT_RUN = (StepSkipped, StepCancelled)


@dataclass(frozen=True, slots=True)
class ErrorSeen:
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class StepSeen:
    status: str
    needs: tuple[str, ...]
    output: Any = None
    error: ErrorSeen | None = None
    port: str = ""
    skip_reason: str = ""
    attempts: int = 0
    arguments: Any = None


@dataclass(frozen=True, slots=True)
class Played:
    """`path` are the steps that ran, in the order in which they became ready. A run that has not
    ended is one that nothing brings on any more."""

    status: str
    outputs: Any
    error: ErrorSeen | None
    path: tuple[str, ...]
    steps: Mapping[str, StepSeen]
    took_ms: int
    events: tuple[Mapping[str, Any], ...]


def play(case: Case, plan: Plan, plans: Mapping[PlanHash, Plan]) -> Played:
    """Raises InvalidInput where the case does not fit the flow."""
    engine, run = played_out(case, plan, plans)
    return _seen(engine, run, plan, run.started_ms)


def played_out(case: Case, plan: Plan, plans: Mapping[PlanHash, Plan]) -> tuple[Engine, RunState]:
    """The engine when nothing brings the case's run on any more. Raises what `play` raises."""
    given = case.given
    _check_names(given, plan, plans)
    inputs, faults = checked_inputs(plan.inputs, given.inputs)
    if faults:
        raise InvalidInput("`given.inputs` is refused", [str(fault) for fault in faults])
    started_ms = round(datetime.fromisoformat(given.at).timestamp() * 1_000)
    engine = Engine(Plans(plans), Script(plan.flow, given), started_ms)
    run = engine.start(plan, inputs)
    if given.cancel is not None:
        _cancel_later(engine, run, given)
    while run.status not in RUN_TERMINAL and engine.jump():
        pass
    return engine, run


def _cancel_later(engine: Engine, run: RunState, given: Given) -> None:
    assert given.cancel is not None
    command = cmd.CancelRun(
        run=run.run_id, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="test"
    )
    engine.later(duration_ms(given.cancel.after), lambda: engine.tell(command))


def _check_names(given: Given, plan: Plan, plans: Mapping[PlanHash, Plan]) -> None:
    """An answer that nobody can ask for is a slip of the pen."""
    by_flow = {one.flow: one for one in plans.values()}
    answered = {plan.flow: given.steps, **given.flows}
    for flow, steps in answered.items():
        if flow not in by_flow:
            raise InvalidInput(f"`given.flows` names {flow!r}, which {plan.flow!r} does not call.")
        for step in steps:
            origin = origin_of(StepKey(step))
            if name_of(origin) != origin or by_flow[flow].find(origin) is None:
                raise InvalidInput(f"`given` answers for step {step!r}, which {flow!r} lacks.")


def _seen(engine: Engine, run: RunState, plan: Plan, started_ms: int) -> Played:
    records = engine.records(run.run_id)
    events = [event for record in records for event in record.events]
    payloads = Payloads(run.run_id, engine.payloads())
    return Played(
        status=run.status.text,
        outputs=engine.opened(run.output),
        error=_error(engine, run.error),
        path=_path(events),
        steps={name: _step(engine, run, plan, name) for name in _names(plan, run)},
        took_ms=(run.ended_ms or engine.now_ms) - started_ms,
        events=tuple(
            json.loads(json_text(document))
            for record in records
            for document in event_documents(record, payloads)
        ),
    )


def _names(plan: Plan, run: RunState) -> Iterator[str]:
    yield from plan.order
    yield from (key for key in run.steps if compensated_by(key) is not None)


def _path(events: list[RunEvent]) -> tuple[str, ...]:
    ran = [
        event.step if isinstance(event, StepReady) else compensation_key(event.step)
        for event in events
        if isinstance(event, StepReady | StepCompensating)
    ]
    return tuple(
        dict.fromkeys(
            step for step in ran if compensated_by(step) or not any(enclosing_items(step))
        )
    )


def _step(engine: Engine, run: RunState, plan: Plan, name: str) -> StepSeen:
    state = run.steps.get(StepKey(name))
    calls = [call for call in engine.calls if (call.run, call.place) == (run.run_id, name)]
    edges = plan.steps[name].needs if name in plan.steps else ()
    needs = tuple(f"{one.source}.{one.port}" if one.port else one.source for one in edges)
    if state is None:
        return StepSeen(status=StepStatus.PENDING.text, needs=needs)
    return StepSeen(
        status=state.status.text,
        output=engine.opened(state.output),
        error=_error(engine, state.error),
        port=state.port,
        skip_reason=state.skip_reason.text if state.skip_reason is not None else "",
        attempts=len(calls),
        arguments=calls[-1].arguments if calls else None,
        needs=needs,
    )


def _error(engine: Engine, error: StepError | None) -> ErrorSeen | None:
    if error is None:
        return None
    return ErrorSeen(error.type, str(engine.opened(error.message) or ""))
