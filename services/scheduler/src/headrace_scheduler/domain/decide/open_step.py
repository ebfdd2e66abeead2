"""Open a step whose join is decided: its condition first, then what its kind asks for.

Everything is evaluated before anything is emitted, so that a payload which is not at hand leaves
the step exactly as it was.
"""

from typing import assert_never

from headrace_core.ids import StepKey
from headrace_core.payload import BlobMissingHere
from headrace_core.run.events import (
    ApprovalRequested,
    EdgeTaken,
    StepReady,
    StepSkipped,
    StepWaiting,
)
from headrace_core.run.status import SkipReason, WaitingKind
from headrace_core.workflow.plan import PlanStep, StepKind
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decide.end_step import open_failed, step_succeeded
from headrace_scheduler.domain.decide.escalation import set_escalation_timer
from headrace_scheduler.domain.decide.fan_out import expand
from headrace_scheduler.domain.decide.start_action import start_action
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import FetchPayload, SetTimer
from headrace_scheduler.domain.failure import engine_error
from headrace_scheduler.domain.values import (
    approval_request,
    choose_port,
    condition_holds,
    failure_message,
    seal_template,
    wake_time,
)

Edges = tuple[EdgeTaken, ...]


def open_step(turn: RunTurn, step: PlanStep, edges: Edges) -> None:
    try:
        _open(turn, step, edges)
    except BlobMissingHere as missing:
        turn.perform(FetchPayload(turn.run_id, missing.run, missing.stored))


def _open(turn: RunTurn, step: PlanStep, edges: Edges) -> None:
    key = StepKey(step.id)
    if step.when is not None:
        holds, error = condition_holds(turn, step)
        if error is not None:
            open_failed(turn, step, edges, error)
            return
        if not holds:
            turn.emit(StepSkipped(step=key, reason=SkipReason.CONDITION, edges=edges))
            turn.ended.append(key)
            return
    if step.foreach is not None:
        expand(turn, step, edges)
        return
    match step.kind:
        case StepKind.USES:
            turn.emit(StepReady(step=key, edges=edges))
            start_action(turn, step, key)
        case StepKind.SET:
            _open_set(turn, step, edges)
        case StepKind.SWITCH:
            _open_switch(turn, step, edges)
        case StepKind.FAIL:
            _open_fail(turn, step, edges)
        case StepKind.WAIT:
            _open_wait(turn, step, edges)
        case StepKind.APPROVAL:
            _open_approval(turn, step, edges)
        case StepKind.GROUP:
            raise AssertionError("a group is refused at publish by this release")
        case _:
            assert_never(step.kind)


def _open_set(turn: RunTurn, step: PlanStep, edges: Edges) -> None:
    key = StepKey(step.id)
    output, error = seal_template(turn, step.set)
    if error is not None:
        open_failed(turn, step, edges, error)
        return
    turn.emit(StepReady(step=key, edges=edges))
    step_succeeded(turn, key, output)


def _open_switch(turn: RunTurn, step: PlanStep, edges: Edges) -> None:
    key = StepKey(step.id)
    port, error = choose_port(turn, step)
    if error is not None:
        open_failed(turn, step, edges, error)
        return
    turn.emit(StepReady(step=key, edges=edges))
    # No case holds: the step has succeeded and every port is dead.
    step_succeeded(turn, key, port=port or "")


def _open_fail(turn: RunTurn, step: PlanStep, edges: Edges) -> None:
    assert step.fail is not None
    message, error = failure_message(turn, step)
    if error is None:
        error = engine_error(turn, step.fail.type, message)
    open_failed(turn, step, edges, error)


def _open_wait(turn: RunTurn, step: PlanStep, edges: Edges) -> None:
    key = StepKey(step.id)
    due_ms, error = wake_time(turn, step)
    if error is not None:
        open_failed(turn, step, edges, error)
        return
    turn.emit(StepReady(step=key, edges=edges))
    if due_ms <= turn.now_ms:
        step_succeeded(turn, key)
    else:
        turn.emit(StepWaiting(step=key, kind=WaitingKind.TIMER, due_ms=due_ms))
        turn.perform(SetTimer(due_ms, turn.run_id, key, TimerKind.STEP_DUE))


def _open_approval(turn: RunTurn, step: PlanStep, edges: Edges) -> None:
    assert step.approval is not None
    key = StepKey(step.id)
    request, error = approval_request(turn, step)
    if error is not None:
        open_failed(turn, step, edges, error)
        return
    turn.emit(StepReady(step=key, edges=edges))
    expires_ms = step.approval.expires_ms
    due_ms = turn.now_ms + expires_ms if expires_ms is not None else None
    turn.emit(ApprovalRequested(step=key, request=request, expires_at_ms=due_ms))
    set_escalation_timer(turn, step, turn.run.steps[key])
    if due_ms is not None:
        turn.perform(SetTimer(due_ms, turn.run_id, key, TimerKind.STEP_DUE))
