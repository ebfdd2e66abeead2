"""What stops early: a run by a cancel, its timeout, its parent, or `on_failure: cancel`; a step by
`cancel_others` of one that goes on without it."""

from collections.abc import Iterator

from headrace_core.ids import (
    StepKey,
    compensated_by,
    group_of,
    is_plain,
    member_key,
    owner_of,
    partition_of,
    slot_of,
)
from headrace_core.partition.events import ChildCancel
from headrace_core.run.events import StepCancelled, StepError, StepStopRequested
from headrace_core.run.state import RunView, StepView
from headrace_core.run.status import STEP_TERMINAL, StepStatus, WaitingKind
from headrace_core.workflow.joins import JoinKind
from headrace_core.workflow.plan import Effect, OnFailure, Plan, PlanStep, Scope, UsesKind
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decide.leave_home import leave_if_waiting
from headrace_scheduler.domain.decide.start_action import action_of
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import CancelAttempt, CloseRow, SetTimer

CANCEL_GRACE_MS = 10_000
"""So long a cancelled run waits for the word of its open attempts; then their rows decide."""


def protected_steps(level: Plan | Scope) -> frozenset[str]:
    """What `on_failure: cancel` lets go on: steps behind `.error` edges or `always` joins."""
    reached = {
        step.id
        for step in level.steps.values()
        if step.join.kind is JoinKind.ALWAYS or any(edge.port == "error" for edge in step.needs)
    }
    for step_id in level.order:
        if any(edge.source in reached for edge in level.steps[step_id].needs):
            reached.add(step_id)
    return frozenset(reached)


def is_stopping(turn: RunTurn, key: StepKey) -> bool:
    """Whether this step, or something that it is a part of, may not go on."""
    if turn.run.cancel is not None or is_stopped(turn.run, key):
        return True
    if turn.plan.on_failure is not OnFailure.CANCEL:
        return False
    return any(
        _stopped_by_failure(turn, place) for place in _around(key) if owner_of(place) is None
    )


def is_stopped(run: RunView, key: StepKey) -> bool:
    """Whether this step, or something that it is a part of, was asked to end. What undoes a step
    goes on whatever has stopped the step."""
    for place in (key,) if is_plain(key) else _around(key):
        state = run.steps.get(place)
        if state is not None and state.stop is not None:
            return compensated_by(key) is None
    return False


def _around(key: StepKey) -> Iterator[StepKey]:
    place: StepKey | None = key
    while place is not None:
        yield place
        place = owner_of(place) or group_of(place)


def _stopped_by_failure(turn: RunTurn, key: StepKey) -> bool:
    """Whether a failure beside this step stops it, by `on_failure: cancel`."""
    if first_failed_beside(turn, key) is None:
        return False
    level = turn.plan.level_at(key)
    return turn.plan.step_at(key).id not in protected_steps(level)


def first_failed_beside(turn: RunTurn, key: StepKey) -> StepKey | None:
    """The first step on this step's level that failed without a handler."""
    group = group_of(key)
    if group is None:
        return turn.run.first_failed
    state = turn.run.steps.get(group)
    return state.group.failed if state is not None and state.group is not None else None


def may_start(turn: RunTurn, key: StepKey) -> bool:
    return not is_stopping(turn, key)


def has_effect(step: PlanStep, state: StepView) -> bool:
    """Whether an effect row is kept of what is being called: reading and transforming change
    nothing outside, and a sub-flow keeps the rows of its own steps."""
    if step.uses is None:
        return False
    action = action_of(step, state)
    return action.kind is not UsesKind.FLOW and action.effect in (
        Effect.WRITE,
        Effect.DESTRUCTIVE,
    )


def stop_open_steps(turn: RunTurn) -> None:
    for state in list(turn.run.steps.values()):
        if turn.is_full():
            break
        if _is_open(state) and is_stopping(turn, state.key):
            stop_step(turn, state, turn.plan.step_at(state.key))


def stop_step(turn: RunTurn, state: StepView, step: PlanStep) -> None:
    """Ask one open step to end; it ends now where nobody else has to say so."""
    if _consists_of_parts(state):
        stop_parts(turn, state)
    elif state.status is StepStatus.RUNNING:
        turn.perform(CancelAttempt(turn.run_id, state.key, state.attempt, state.executor))
        if not has_effect(step, state):
            end_cancelled(turn, state)
    elif state.waiting is WaitingKind.CHILD:
        cancel_child(turn, state)
    elif state.attempt and has_effect(step, state):
        turn.perform(CloseRow(turn.run_id, state.key, state.attempt, state.fallback))
    else:
        end_cancelled(turn, state)


def stop_sources(turn: RunTurn, step: PlanStep, group: StepKey | None) -> None:
    """`step` goes on by the sources that have ended: the others are not needed any more."""
    for source in dict.fromkeys(edge.source for edge in step.needs):
        key = StepKey(source) if group is None else member_key(group, source)
        state = turn.run.steps.get(key)
        if state is None:
            turn.emit(StepCancelled(step=key))
            turn.ended.append(key)
        elif state.status not in STEP_TERMINAL and state.stop is None:
            _stop_source(turn, state, step.id)


def _stop_source(turn: RunTurn, state: StepView, by: str) -> None:
    if _consists_of_parts(state):
        stop_parts(turn, state, by=by)
    else:
        turn.emit(StepStopRequested(step=state.key, by=by))
        stop_step(turn, state, turn.plan.step_at(state.key))
    if state.status not in STEP_TERMINAL:
        due_ms = turn.now_ms + CANCEL_GRACE_MS
        turn.perform(SetTimer(due_ms, turn.run_id, state.key, TimerKind.CANCEL_GRACE))


def stop_parts(
    turn: RunTurn, state: StepView, error: StepError | None = None, *, by: str = ""
) -> None:
    """Ask all that is open of a fan-out, a group or a repeated step to end. The step itself ends
    with the last of them, failed if there is an `error`."""
    if state.stop is not None:
        return
    turn.emit(StepStopRequested(step=state.key, error=error, by=by))
    for part in list(turn.run.steps.values()):
        if turn.is_full():
            break
        if _is_open(part) and _is_part_of(part.key, state.key):
            stop_step(turn, part, turn.plan.step_at(part.key))
    # Where nothing of it is open, nothing else would look at it again.
    turn.begun.append(state.key)


def has_parts(state: StepView) -> bool:
    """Whether the step consists of items, passes or steps, whose ends decide its own."""
    return state.fan_out is not None or state.group is not None or state.passes is not None


def _consists_of_parts(state: StepView) -> bool:
    """Between two passes there is no part that could end."""
    return has_parts(state) and state.waiting is not WaitingKind.TIMER


def _is_open(state: StepView) -> bool:
    """A repeated step between two passes is open; else the parts of a step are, not itself."""
    if state.status in STEP_TERMINAL:
        return False
    return not has_parts(state) or state.waiting is WaitingKind.TIMER


def _is_part_of(key: StepKey, whole: StepKey) -> bool:
    return key.startswith(whole) and key[len(whole) : len(whole) + 1] in ("[", "#", "/")


def cancel_child(turn: RunTurn, state: StepView) -> None:
    assert state.child is not None, "asked only of a step that waits for its child"
    target = partition_of(slot_of(state.child), turn.partitions)
    turn.send(target, ChildCancel(run=state.child, tenant=turn.tenant))


def end_cancelled(turn: RunTurn, state: StepView) -> None:
    key = state.key
    leave_if_waiting(turn, key)
    turn.emit(StepCancelled(step=key, attempt=state.attempt))
    turn.ended.append(key)


def end_after_grace(turn: RunTurn, whole: StepKey | None = None) -> None:
    """The grace of the run, or of one step, is over: rows decide for open attempts, children are
    left to themselves."""
    for state in list(turn.run.steps.values()):
        if not _is_open(state):
            continue
        if whole is not None and state.key != whole and not _is_part_of(state.key, whole):
            continue
        step = turn.plan.step_at(state.key)
        if state.attempt and has_effect(step, state):
            turn.perform(CloseRow(turn.run_id, state.key, state.attempt, state.fallback))
        else:
            end_cancelled(turn, state)
