"""Cancel a run: by request, by its timeout, or because its parent gave it up."""

from headrace_core.ids import StepKey, member_key
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import RunCancelRequested, StepSkipped
from headrace_core.run.status import (
    RUN_TERMINAL,
    STEP_TERMINAL,
    CancelCause,
    RunStatus,
    SkipReason,
)
from headrace_scheduler.domain.commands import CancelRun, TimerKind
from headrace_scheduler.domain.decide.advance import settle
from headrace_scheduler.domain.decide.stopping import CANCEL_GRACE_MS, has_parts, stop_open_steps
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.effects import SetTimer


def cancel_run(turn: RunTurn, command: CancelRun) -> Rejection | None:
    run = turn.run
    if run.status in RUN_TERMINAL:
        return Rejection(Reason.INVALID_STATE, f"the run has already {run.status.text}")
    if run.cancel is not None:
        return Rejection(Reason.INVALID_STATE, "the run is already being cancelled")
    if run.failure is not None and command.cause is not CancelCause.REQUEST:
        # Its parent gives it up, which is no reason to leave half of it undone.
        return Rejection(Reason.INVALID_STATE, "the run is being compensated")
    request_cancel(turn, command.cause, command.requested_by, command.reason)
    settle(turn)
    return None


def request_cancel(
    turn: RunTurn, cause: CancelCause, requested_by: str, reason: Stored = NOTHING
) -> None:
    run = turn.run
    turn.emit(RunCancelRequested(cause=cause, requested_by=requested_by, reason=reason))
    stop_open_steps(turn)
    for step_id in turn.plan.order:
        _skip_if_pending(turn, StepKey(step_id))
    for state in list(run.steps.values()):
        if state.status in STEP_TERMINAL or not has_parts(state):
            continue
        if state.group is not None:
            for step_id in turn.plan.scope_of(state.key).order:
                _skip_if_pending(turn, member_key(state.key, step_id))
        if run.status is RunStatus.SUSPENDED:
            # Its last open part may have ended meanwhile: nothing else would look at it again.
            turn.begun.append(state.key)
    if run.active or run.idle:
        due_ms = turn.now_ms + CANCEL_GRACE_MS
        turn.perform(SetTimer(due_ms, run.run_id, StepKey(""), TimerKind.CANCEL_GRACE))


def _skip_if_pending(turn: RunTurn, key: StepKey) -> None:
    if key not in turn.run.steps and not turn.is_full():
        turn.emit(StepSkipped(step=key, reason=SkipReason.RUN_CANCELLED))
        turn.ended.append(key)
