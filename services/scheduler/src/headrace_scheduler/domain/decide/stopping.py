"""A run that stops early: by a cancel, its timeout, its parent, or `on_failure: cancel`."""

from headrace_core.ids import partition_of, slot_of, step_of
from headrace_core.partition.events import ChildCancel
from headrace_core.run.events import StepCancelled
from headrace_core.run.state import StepView
from headrace_core.run.status import STEP_TERMINAL, StepStatus, WaitingKind
from headrace_core.workflow.joins import JoinKind
from headrace_core.workflow.plan import Effect, OnFailure, Plan, PlanStep, UsesKind
from headrace_scheduler.domain.decide.start_action import action_of
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import CancelAttempt, CloseRow

CANCEL_GRACE_MS = 10_000
"""So long a cancelled run waits for the word of its open attempts; then their rows decide."""


def protected_steps(plan: Plan) -> frozenset[str]:
    """What `on_failure: cancel` lets go on: steps behind `.error` edges or `always` joins."""
    reached = {
        step.id
        for step in plan.steps.values()
        if step.join.kind is JoinKind.ALWAYS or any(edge.port == "error" for edge in step.needs)
    }
    for step_id in plan.order:
        if any(edge.source in reached for edge in plan.steps[step_id].needs):
            reached.add(step_id)
    return frozenset(reached)


def is_stopping(turn: RunTurn, step_id: str) -> bool:
    """Whether this step may not go on."""
    run = turn.run
    if run.cancel is not None:
        return True
    if run.first_failed is None or turn.plan.on_failure is not OnFailure.CANCEL:
        return False
    return step_id not in protected_steps(turn.plan)


def may_start(turn: RunTurn, step: PlanStep) -> bool:
    return not is_stopping(turn, step.id)


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
        if state.status in STEP_TERMINAL or state.fan_out is not None:
            continue
        step_id, _ = step_of(state.key)
        if is_stopping(turn, step_id):
            stop_step(turn, state, turn.plan.step_at(state.key))


def stop_step(turn: RunTurn, state: StepView, step: PlanStep) -> None:
    """Ask one open step to end; it ends now where nobody else has to say so."""
    if state.status is StepStatus.RUNNING:
        turn.perform(CancelAttempt(turn.run_id, state.key, state.attempt, state.executor))
        if not has_effect(step, state):
            end_cancelled(turn, state)
    elif state.waiting is WaitingKind.CHILD:
        cancel_child(turn, state)
    elif state.attempt and has_effect(step, state):
        turn.perform(CloseRow(turn.run_id, state.key, state.attempt, state.fallback))
    else:
        end_cancelled(turn, state)


def cancel_child(turn: RunTurn, state: StepView) -> None:
    assert state.child is not None, "asked only of a step that waits for its child"
    target = partition_of(slot_of(state.child), turn.partitions)
    turn.send(target, ChildCancel(run=state.child, tenant=turn.tenant))


def end_cancelled(turn: RunTurn, state: StepView) -> None:
    key = state.key
    turn.emit(StepCancelled(step=key, attempt=state.attempt))
    turn.ended.append(key)


def end_after_grace(turn: RunTurn) -> None:
    """The grace is over: rows decide for open attempts, children are left to themselves."""
    for state in list(turn.run.steps.values()):
        if state.status in STEP_TERMINAL or state.fan_out is not None:
            continue
        step = turn.plan.step_at(state.key)
        if state.attempt and has_effect(step, state):
            turn.perform(CloseRow(turn.run_id, state.key, state.attempt, state.fallback))
        else:
            end_cancelled(turn, state)
