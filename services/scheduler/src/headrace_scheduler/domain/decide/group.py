"""A group: its steps are a graph of their own, and its end is theirs."""

from headrace_core.ids import StepKey, member_key
from headrace_core.payload import BlobMissingHere
from headrace_core.run.events import GroupOpened, StepError
from headrace_core.run.state import GroupView, StepView
from headrace_core.run.status import STEP_TERMINAL
from headrace_core.workflow.plan import PlanStep
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decide.end_step import end_failed, step_succeeded
from headrace_scheduler.domain.decide.stopping import end_cancelled, is_stopping
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import FetchPayload, SetTimer
from headrace_scheduler.domain.failure import engine_error
from headrace_scheduler.domain.values import seal_template


def open_group(turn: RunTurn, step: PlanStep, key: StepKey) -> None:
    """`key` is the group, or an item or a pass of it."""
    due_ms = turn.now_ms + step.timeout_ms if step.timeout_ms is not None else None
    turn.emit(GroupOpened(step=key, due_ms=due_ms))
    if due_ms is not None:
        turn.perform(SetTimer(due_ms, turn.run_id, key, TimerKind.STEP_DUE))
    if step.deadline_ms is not None:
        deadline = turn.run.steps[key].first_ready_ms + step.deadline_ms
        turn.perform(SetTimer(deadline, turn.run_id, key, TimerKind.STEP_DEADLINE))
    turn.begun.append(key)


def end_if_decided(turn: RunTurn, step: PlanStep, state: StepView) -> None:
    """The group's outcome, once all of its steps have ended."""
    group = state.group
    assert group is not None and step.group is not None
    if state.status in STEP_TERMINAL or group.ended < len(step.group.steps):
        return
    try:
        _end(turn, step, state, group)
    except BlobMissingHere as missing:
        turn.perform(FetchPayload(turn.run_id, missing.run, missing.stored))


def _end(turn: RunTurn, step: PlanStep, state: StepView, group: GroupView) -> None:
    key, stop = state.key, state.stop
    if stop is not None:
        if stop.error is not None:
            end_failed(turn, key, stop.error)
        else:
            end_cancelled(turn, state)
    elif group.failed is not None:
        end_failed(turn, key, _error_of(turn, group.failed))
    elif is_stopping(turn, key):
        end_cancelled(turn, state)
    else:
        # Evaluated from inside, where all of its steps have ended.
        output, error = seal_template(turn, step.outputs, member_key(key, ""))
        if error is not None:
            end_failed(turn, key, error)
        else:
            step_succeeded(turn, key, output)


def _error_of(turn: RunTurn, failed: StepKey) -> StepError:
    """The failed step's own error, but for a message that is not to be shown with the group."""
    error, step = turn.run.steps[failed].error, turn.plan.step_at(failed)
    assert error is not None
    if not step.sensitive:
        return error
    return engine_error(turn, error.type, f"step {step.id!r} of the group has failed")
