"""Undo a run that failed: what each step that succeeded says, the last one to succeed first.

One at a time, each with its own retry and its own key outside. One that cannot be undone does not
keep the others from being undone; the run then says which ones are left.
"""

from headrace_core.ids import StepKey, compensated_by, compensation_key, owner_of
from headrace_core.run.events import RunCompensated, RunCompensating, RunFailed, StepCompensating
from headrace_core.run.status import StepStatus
from headrace_core.workflow.plan import OnFailure
from headrace_scheduler.domain.decide.start_action import start_action
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.failure import engine_error

ERROR_TYPE = "compensation.failed"
NAMED_MAX = 20
"""So many steps that could not be undone are named in the run's error; the others are counted."""


def is_compensable(turn: RunTurn, key: StepKey) -> bool:
    """Whether this step or item, which has succeeded, is to be undone if the run fails."""
    if turn.plan.on_failure is not OnFailure.COMPENSATE:
        return False
    state = turn.run.steps[key]
    owner = owner_of(key)
    is_pass = owner is not None and turn.run.steps[owner].passes is not None
    # A fan-out did nothing itself: its items are undone, each for itself. A repeated step is undone
    # once, with what came of its last pass.
    return turn.plan.step_at(key).undo is not None and state.fan_out is None and not is_pass


def must_compensate(turn: RunTurn) -> bool:
    """Whether the failure of the run leaves something to undo."""
    return turn.plan.on_failure is OnFailure.COMPENSATE and bool(turn.run.compensable)


def begin_compensation(turn: RunTurn, failed: RunFailed) -> None:
    turn.emit(RunCompensating(error=failed.error, step=failed.step))


def compensate_next(turn: RunTurn) -> bool:
    """Begin to undo the next step. False once none is left, or the undoing was cancelled."""
    run = turn.run
    if not run.compensable or run.cancel is not None:
        return False
    key = run.compensable[-1]
    turn.emit(StepCompensating(step=key))
    undo = compensation_key(key)
    start_action(turn, turn.plan.step_at(undo), undo)
    return True


def end_compensation(turn: RunTurn) -> None:
    """Compensated if all of it is undone, else failed with what is not."""
    left = _not_undone(turn)
    if not left:
        turn.emit(RunCompensated())
        return
    failure = turn.run.failure
    assert failure is not None, "a run is undone because it failed"
    named = ", ".join(left[:NAMED_MAX])
    more = f" and {len(left) - NAMED_MAX} more" if len(left) > NAMED_MAX else ""
    message = f"the run failed with {failure.type}, and this could not be undone: {named}{more}"
    error = engine_error(turn, ERROR_TYPE, message)
    turn.emit(RunFailed(error=error, step=turn.run.failed_step))


def _not_undone(turn: RunTurn) -> list[str]:
    left: list[str] = []
    for key, state in turn.run.steps.items():
        undone = compensated_by(key)
        if undone is None or state.status is StepStatus.SUCCEEDED:
            continue
        why = state.error.type if state.error is not None else state.status.text
        left.append(f"{undone} ({why})")
    left += [f"{key} (not begun)" for key in reversed(turn.run.compensable)]
    return left
