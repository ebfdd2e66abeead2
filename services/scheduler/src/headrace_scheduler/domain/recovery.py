"""The effects that a new owner performs again, derived from folded state alone."""

from collections.abc import Iterator

from headrace_core.ids import StepKey
from headrace_core.partition.state import PartitionView
from headrace_core.run.state import RunView, StepView
from headrace_core.run.status import RUN_TERMINAL, STEP_TERMINAL, RunStatus, StepStatus
from headrace_core.workflow.firing import Overlap
from headrace_core.workflow.plan import Plan, PlanStep, UsesKind
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decide.end_step import step_deadline
from headrace_scheduler.domain.decide.escalation import next_escalation_ms
from headrace_scheduler.domain.decide.start_action import action_of, child_of, has_to_ask, lane_of
from headrace_scheduler.domain.decide.stopping import CANCEL_GRACE_MS
from headrace_scheduler.domain.effects import (
    ArmSchedule,
    CancelOpenRun,
    CloseRow,
    DeliverMessages,
    Effect,
    EnqueueStep,
    PrepareChild,
    ReleaseFiring,
    SetTimer,
)

_NO_STEP = StepKey("")


def effects_of_run(run: RunView, plan: Plan) -> Iterator[Effect]:
    """Timers, queue entries and half-done starts of one open run.

    Cancellations of running attempts are not among them: the owner's announcement makes every
    executor report, and a stopping run is looked at again by ContinueRun.
    """
    if run.status in RUN_TERMINAL:
        return
    if run.timeout_at_ms is not None and run.cancel is None and run.failure is None:
        yield SetTimer(run.timeout_at_ms, run.run_id, _NO_STEP, TimerKind.RUN_TIMEOUT)
    if run.cancel is not None:
        due_ms = run.cancel_requested_ms + CANCEL_GRACE_MS
        yield SetTimer(due_ms, run.run_id, _NO_STEP, TimerKind.CANCEL_GRACE)
    if run.status is RunStatus.SUSPENDED:
        return
    for state in run.steps.values():
        step = plan.step_at(state.key)
        yield from _effects_of_step(run, step, state)


def effects_of_partition(partition: PartitionView) -> Iterator[Effect]:
    for name, schedule in partition.schedules.items():
        yield ArmSchedule(name, schedule.next_due_ms)
        if schedule.queued and not schedule.open:
            yield ReleaseFiring(name, schedule.queued[0])
        elif schedule.queued and schedule.overlap is Overlap.CANCEL_RUNNING:
            yield from (CancelOpenRun(run, f"schedule {name}") for run in schedule.open)
    for target, outbox in partition.outboxes.items():
        if outbox.messages:
            yield DeliverMessages(target)


def _effects_of_step(run: RunView, step: PlanStep, state: StepView) -> Iterator[Effect]:
    if state.stop is not None and state.status not in STEP_TERMINAL:
        grace_ms = state.stop.at_ms + CANCEL_GRACE_MS
        yield SetTimer(grace_ms, run.run_id, state.key, TimerKind.CANCEL_GRACE)
    if state.status is StepStatus.READY and state.fan_out is None and not step.inline:
        if run.cancel is not None:
            yield CloseRow(run.run_id, state.key, state.attempt, state.fallback)
            return
        if has_to_ask(step, state):
            return
        action = action_of(step, state)
        if action.kind is UsesKind.FLOW:
            child = child_of(run.run_id, state)
            yield PrepareChild(run.run_id, state.key, child)
        else:
            lane = lane_of(run.tenant, action)
            yield EnqueueStep(run.run_id, state.key, lane, step.priority + run.priority)
    if state.status is StepStatus.WAITING and state.due_ms is not None:
        yield SetTimer(state.due_ms, run.run_id, state.key, TimerKind.STEP_DUE)
    escalation_ms = next_escalation_ms(step, state) if step.approval is not None else None
    if escalation_ms is not None:
        yield SetTimer(escalation_ms, run.run_id, state.key, TimerKind.APPROVAL_ESCALATION)
    if state.status is StepStatus.RUNNING and step.heartbeat_ms is not None:
        due_ms = state.assigned_ms + step.heartbeat_ms
        yield SetTimer(due_ms, run.run_id, state.key, TimerKind.STEP_HEARTBEAT)
    open_call = state.status in (StepStatus.READY, StepStatus.RUNNING, StepStatus.WAITING)
    if open_call and state.fan_out is None and state.passes is None:
        deadline = step_deadline(step, state)
        if deadline is not None:
            yield SetTimer(deadline, run.run_id, state.key, TimerKind.STEP_DEADLINE)
