"""Open a step whose join is decided: its condition first, then what its kind asks for.

Everything is evaluated before anything is emitted, so that a payload which is not at hand leaves
the step exactly as it was.
"""

from typing import assert_never

from headrace_core.ids import StepKey, item_of
from headrace_core.payload import BlobMissingHere
from headrace_core.run.events import (
    ApprovalRequested,
    EdgeTaken,
    StepReady,
    StepSkipped,
    StepWaiting,
)
from headrace_core.run.status import SkipReason, StepStatus, WaitingKind
from headrace_core.workflow.plan import PlanStep, StepKind
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decide.end_step import open_failed, step_succeeded
from headrace_scheduler.domain.decide.escalation import set_escalation_timer
from headrace_scheduler.domain.decide.fan_out import expand
from headrace_scheduler.domain.decide.group import open_group
from headrace_scheduler.domain.decide.repeat import begin_pass
from headrace_scheduler.domain.decide.start_action import start_action
from headrace_scheduler.domain.decide.stopping import end_cancelled, is_stopping
from headrace_scheduler.domain.decide.wait_event import open_event_wait
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import FetchPayload, SetTimer
from headrace_scheduler.domain.failure import engine_error
from headrace_scheduler.domain.values import (
    approval_request,
    choose_port,
    condition_holds,
    failure_message,
    rate_limit_key,
    seal_template,
    wake_time,
)

Edges = tuple[EdgeTaken, ...]


def open_step(turn: RunTurn, step: PlanStep, key: StepKey, edges: Edges) -> None:
    try:
        _open(turn, step, key, edges)
    except BlobMissingHere as missing:
        turn.perform(FetchPayload(turn.run_id, missing.run, missing.stored))


def open_part(turn: RunTurn, key: StepKey) -> None:
    """An item or a pass that is ready goes on to what the kind of its step asks for."""
    state = turn.run.steps.get(key)
    if state is None or state.status is not StepStatus.READY:
        return
    step = turn.plan.step_at(key)
    if is_stopping(turn, key):
        end_cancelled(turn, state)
        return
    try:
        if step.repeat is not None and item_of(key) is not None:
            begin_pass(turn, key, 1)
        else:
            _open_kind(turn, step, key, None)
    except BlobMissingHere as missing:
        turn.perform(FetchPayload(turn.run_id, missing.run, missing.stored))


def _open(turn: RunTurn, step: PlanStep, key: StepKey, edges: Edges) -> None:
    if step.when is not None:
        holds, error = condition_holds(turn, step, key)
        if error is not None:
            open_failed(turn, step, key, edges, error)
            return
        if not holds:
            turn.emit(StepSkipped(step=key, reason=SkipReason.CONDITION, edges=edges))
            turn.ended.append(key)
            return
    if step.foreach is not None:
        expand(turn, step, key, edges)
    elif step.repeat is not None:
        turn.emit(StepReady(step=key, edges=edges))
        begin_pass(turn, key, 1)
    else:
        _open_kind(turn, step, key, edges)


def _open_kind(turn: RunTurn, step: PlanStep, key: StepKey, edges: Edges | None) -> None:
    """Without `edges` it is an item or a pass, which is ready already."""
    match step.kind:
        case StepKind.USES:
            _open_call(turn, step, key, edges)
        case StepKind.SET:
            _open_set(turn, step, key, edges)
        case StepKind.SWITCH:
            _open_switch(turn, step, key, edges)
        case StepKind.FAIL:
            _open_fail(turn, step, key, edges)
        case StepKind.WAIT:
            _open_wait(turn, step, key, edges)
        case StepKind.APPROVAL:
            _open_approval(turn, step, key, edges)
        case StepKind.GROUP:
            _ready(turn, key, edges)
            open_group(turn, step, key)
        case _:
            assert_never(step.kind)


def _ready(turn: RunTurn, key: StepKey, edges: Edges | None) -> None:
    if edges is not None:
        turn.emit(StepReady(step=key, edges=edges))


def _open_call(turn: RunTurn, step: PlanStep, key: StepKey, edges: Edges | None) -> None:
    rate_key = None
    if step.rate_limit is not None:
        rate_key, error = rate_limit_key(turn, step.rate_limit, key)
        if error is not None:
            open_failed(turn, step, key, edges, error)
            return
    _ready(turn, key, edges)
    start_action(turn, step, key, rate_key)


def _open_set(turn: RunTurn, step: PlanStep, key: StepKey, edges: Edges | None) -> None:
    output, error = seal_template(turn, step.set, key)
    if error is not None:
        open_failed(turn, step, key, edges, error)
        return
    _ready(turn, key, edges)
    step_succeeded(turn, key, output)


def _open_switch(turn: RunTurn, step: PlanStep, key: StepKey, edges: Edges | None) -> None:
    port, error = choose_port(turn, step, key)
    if error is not None:
        open_failed(turn, step, key, edges, error)
        return
    _ready(turn, key, edges)
    # No case holds: the step has succeeded and every port is dead.
    step_succeeded(turn, key, port=port or "")


def _open_fail(turn: RunTurn, step: PlanStep, key: StepKey, edges: Edges | None) -> None:
    assert step.fail is not None
    message, error = failure_message(turn, step, key)
    if error is None:
        error = engine_error(turn, step.fail.type, message)
    open_failed(turn, step, key, edges, error)


def _open_wait(turn: RunTurn, step: PlanStep, key: StepKey, edges: Edges | None) -> None:
    assert step.wait is not None
    if step.wait.event is not None:
        open_event_wait(turn, step, key, edges)
        return
    due_ms, error = wake_time(turn, step, key)
    if error is not None:
        open_failed(turn, step, key, edges, error)
        return
    _ready(turn, key, edges)
    if due_ms <= turn.now_ms:
        step_succeeded(turn, key)
    else:
        turn.emit(StepWaiting(step=key, kind=WaitingKind.TIMER, due_ms=due_ms))
        turn.perform(SetTimer(due_ms, turn.run_id, key, TimerKind.STEP_DUE))


def _open_approval(turn: RunTurn, step: PlanStep, key: StepKey, edges: Edges | None) -> None:
    assert step.approval is not None
    request, error = approval_request(turn, step, key)
    if error is not None:
        open_failed(turn, step, key, edges, error)
        return
    _ready(turn, key, edges)
    expires_ms = step.approval.expires_ms
    due_ms = turn.now_ms + expires_ms if expires_ms is not None else None
    turn.emit(ApprovalRequested(step=key, request=request, expires_at_ms=due_ms))
    set_escalation_timer(turn, step, turn.run.steps[key])
    if due_ms is not None:
        turn.perform(SetTimer(due_ms, turn.run_id, key, TimerKind.STEP_DUE))
