"""Resume a suspended run, repaired step by step: the same run goes on.

All edits are checked before the first one is made: a refused command changes nothing.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from headrace_core.ids import StepKey
from headrace_core.payload import NOTHING
from headrace_core.run.events import (
    RunResumed,
    StepReady,
    StepRepaired,
    StepSkipped,
)
from headrace_core.run.status import (
    REPAIRABLE,
    Repair,
    RunStatus,
    SkipReason,
    StepStatus,
)
from headrace_core.workflow.builtin_actions import BUILTIN_ACTIONS
from headrace_core.workflow.inputs import value_faults
from headrace_core.workflow.joins import EdgeState
from headrace_core.workflow.plan import OnFailure, PlanStep, StepKind
from headrace_core.workflow.template import parse_template
from headrace_scheduler.domain.commands import ResumeRun, StepEdit
from headrace_scheduler.domain.decide.advance import resume
from headrace_scheduler.domain.decide.end_step import step_succeeded
from headrace_scheduler.domain.decide.letters import decision_by_repair
from headrace_scheduler.domain.decide.stopping import has_parts
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.recovery import effects_of_run

_DECISIONS = ("approved", "rejected", "expired")
_OUTPUT_KINDS = (StepKind.USES, StepKind.SET, StepKind.SWITCH, StepKind.APPROVAL)
EXTRACT = "ai.extract"
"""Its output is what its argument `schema` says."""
_ACTIONS = {action.name: action for action in BUILTIN_ACTIONS}


def resume_run(turn: RunTurn, command: ResumeRun) -> Rejection | None:
    run = turn.run
    if run.status is not RunStatus.SUSPENDED:
        return Rejection(Reason.INVALID_STATE, f"the run is not suspended: it is {run.status.text}")
    if run.cancel is not None:
        return Rejection(Reason.INVALID_STATE, "the run is being cancelled")
    if run.failure is not None and command.edits:
        return Rejection(Reason.INVALID_STATE, "the run is being undone: it is past all repair")
    edits = (*command.edits, *_retries(turn, command))
    refused = _repeated(edits) or next(filter(None, (_refused(turn, one) for one in edits)), None)
    if refused is not None:
        return refused
    for edit in edits:
        _repair(turn, edit, command.resumed_by)
    turn.emit(RunResumed(resumed_by=command.resumed_by, failure=run.failure))
    # Timers and queue entries of what is open may have been dropped while it was suspended.
    for effect in effects_of_run(run, turn.plan):
        turn.perform(effect)
    resume(turn)
    return None


def _retries(turn: RunTurn, command: ResumeRun) -> Iterator[StepEdit]:
    """What has failed and no edit names. Of other policies a failure is not what suspended."""
    if turn.plan.on_failure is not OnFailure.SUSPEND:
        return
    named = {edit.step for edit in command.edits}
    for step_id in turn.plan.order:
        key = StepKey(step_id)
        state = turn.run.steps.get(key)
        if state is None or state.status is not StepStatus.FAILED or key in named:
            continue
        if not turn.plan.steps[step_id].catches:
            yield StepEdit(step=key, repair=Repair.RETRY)


def _repeated(edits: tuple[StepEdit, ...]) -> Rejection | None:
    seen: set[StepKey] = set()
    for edit in edits:
        if edit.step in seen:
            return _invalid(f"step {edit.step!r} is edited twice")
        seen.add(edit.step)
    return None


def _refused(turn: RunTurn, edit: StepEdit) -> Rejection | None:
    key = edit.step
    step = turn.plan.steps.get(key)
    if step is None:
        return _invalid(f"the run has no step {key!r}; it has {', '.join(turn.plan.order)}")
    state = turn.run.steps.get(key)
    if state is not None and (
        state.status not in REPAIRABLE or (state.status is StepStatus.READY and state.attempt)
    ):
        return _state(
            f"step {key!r} is {state.status.text}: only what has failed or not begun is repaired"
        )
    decided = _decided_by(turn, key)
    if decided:
        return _state(f"step {decided!r} was decided by the end of step {key!r}: start a new run")
    match edit.repair:
        case Repair.RETRY:
            return _retry_refused(turn, step)
        case Repair.SKIP:
            return None
        case Repair.OUTPUT:
            return _output_refused(turn, step, edit)
        case Repair.INPUT:
            return _input_refused(turn, step, edit)


def _decided_by(turn: RunTurn, key: StepKey) -> str:
    """A dependent whose join has counted how this step ended; empty for none."""
    for name in turn.plan.successors.get(key, ()):
        dependent = turn.run.steps.get(StepKey(name))
        if dependent is not None and any(
            edge.source == key and edge.state is not EdgeState.UNDECIDED for edge in dependent.edges
        ):
            return name
    return ""


def _retry_refused(turn: RunTurn, step: PlanStep) -> Rejection | None:
    state = turn.run.steps.get(StepKey(step.id))
    if state is None or state.status is not StepStatus.FAILED:
        return _state(f"step {step.id!r} has not failed: there is nothing to retry")
    if has_parts(state):
        return _invalid(f"step {step.id!r} has parts of its own and cannot be retried: skip it")
    return None


def _output_refused(turn: RunTurn, step: PlanStep, edit: StepEdit) -> Rejection | None:
    if step.foreach is not None or step.kind not in _OUTPUT_KINDS:
        return _invalid(f"step {step.id!r} has no output that could be given")
    ports = _ports(step)
    if edit.port not in ports:
        known = ", ".join(port or "default" for port in ports)
        return _invalid(f"step {step.id!r} has no port {edit.port or 'default'!r}; it has {known}")
    schema = _output_schema(step)
    if schema is None:
        return None
    return _faults(f"the output of step {step.id!r}", schema, _opened(turn, edit))


def _output_schema(step: PlanStep) -> Mapping[str, Any] | None:
    """None where the action promises nothing, or what it promises is only known when it runs."""
    action = _ACTIONS.get(step.uses.name) if step.uses is not None else None
    if action is None or action.name != EXTRACT:
        return action.output_schema if action is not None else None
    given = step.arguments.data if step.arguments is not None else None
    schema = given.get("schema") if isinstance(given, Mapping) else None
    return schema if isinstance(schema, Mapping) and parse_template(schema).is_constant else None


def _ports(step: PlanStep) -> tuple[str, ...]:
    match step.kind:
        case StepKind.SWITCH:
            return tuple(case.port for case in step.switch)
        case StepKind.APPROVAL:
            return _DECISIONS
        case _:
            return ("",)


def _input_refused(turn: RunTurn, step: PlanStep, edit: StepEdit) -> Rejection | None:
    if step.uses is None or step.foreach is not None:
        return _invalid(f"step {step.id!r} has no input that could be edited")
    given = _opened(turn, edit)
    if not isinstance(given, dict):
        return _invalid(f"the input of step {step.id!r} must be an object")
    members = cast("dict[str, Any]", given)
    action = _ACTIONS.get(step.uses.name)
    if action is None:
        return None
    # What is not given stays as `with` says: only what is given can be checked here.
    schema = {name: rule for name, rule in action.input_schema.items() if name != "required"}
    return _faults(f"the input of step {step.id!r}", schema, members)


def _faults(what: str, schema: Mapping[str, Any], value: Any) -> Rejection | None:
    faults = value_faults(schema, value)
    return _invalid(f"{what} breaks its schema: {'; '.join(map(str, faults))}") if faults else None


def _opened(turn: RunTurn, edit: StepEdit) -> Any:
    return json.loads(turn.vault.open(turn.run_id, edit.value)) if edit.value else None


def _repair(turn: RunTurn, edit: StepEdit, author: str) -> None:
    key = edit.step
    given = edit.value if edit.repair is Repair.INPUT else NOTHING
    decision = decision_by_repair(turn, edit, author)
    if decision is not None:
        turn.emit_partition(decision)
    state = turn.run.steps.get(key)
    turn.emit(
        StepRepaired(
            step=key,
            repair=edit.repair,
            repaired_by=author,
            input=given,
            failed=state is not None and state.status is StepStatus.FAILED,
        )
    )
    if edit.repair is Repair.SKIP:
        turn.emit(StepSkipped(step=key, reason=SkipReason.BY_OPERATOR))
    elif edit.repair is Repair.OUTPUT:
        turn.emit(StepReady(step=key))
        step_succeeded(turn, key, edit.value, port=edit.port)


def _invalid(message: str) -> Rejection:
    return Rejection(Reason.INVALID_INPUT, message)


def _state(message: str) -> Rejection:
    return Rejection(Reason.INVALID_STATE, message)
