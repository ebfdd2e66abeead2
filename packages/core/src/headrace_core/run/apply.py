"""The fold of a run: the only module that writes RunState.

Changes state in place: a copy of a large run per event would cost a hundred times the event.
An event that the table does not know stops the partition; an assertion here parks the run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace_core.errors import UnknownEvent
from headrace_core.ids import (
    EventId,
    StepKey,
    compensation_key,
    group_of,
    item_key,
    item_of,
    owner_of,
    pass_key,
)
from headrace_core.payload import Stored
from headrace_core.run import events as ev
from headrace_core.run.appliers.fork import inherited_steps
from headrace_core.run.state import (
    FanOut,
    ForkedFrom,
    Group,
    ItemOutcome,
    Passes,
    RunState,
    StepMemory,
    StepState,
    Stop,
)
from headrace_core.run.status import (
    REPAIRABLE,
    RUN_MOVES,
    STEP_MOVES,
    RunStatus,
    StepStatus,
    WaitingKind,
)

_ACTIVE = (StepStatus.READY, StepStatus.RUNNING)


def apply_turn(run: RunState, events: Sequence[ev.RunEvent], time_ms: int, chain: bytes) -> None:
    """Fold one accepted record: its time, its events in order, the chain's new end."""
    run.time_ms = time_ms
    for event in events:
        apply(run, event)
    run.chain = chain


def set_time(run: RunState, time_ms: int) -> None:
    """A turn is being decided at this time; its events are applied as they are decided."""
    run.time_ms = time_ms


def set_chain(run: RunState, chain: bytes) -> None:
    run.chain = chain


def apply(run: RunState, event: ev.RunEvent) -> None:
    """Fold one event at the run's current time.

    Raises UnknownEvent for a kind outside the table, AssertionError for a move that is not
    declared.
    """
    applier = APPLIERS.get(type(event))
    if applier is None:
        raise UnknownEvent(f"this reader does not know the event {type(event).__name__}")
    applier(run, event)
    run.sequence += 1


def _move_run(run: RunState, status: RunStatus) -> None:
    assert status in RUN_MOVES[run.status], f"run may not go {run.status.text} -> {status.text}"
    run.status = status


def _move_step(run: RunState, step: StepState, status: StepStatus) -> None:
    before = step.status
    assert status in STEP_MOVES[before], (
        f"step {step.key!r} may not go {before.text} -> {status.text}"
    )
    if before in _ACTIVE:
        run.active -= 1
    elif before is StepStatus.WAITING:
        run.idle -= 1
    if status in _ACTIVE:
        run.active += 1
    elif status is StepStatus.WAITING:
        run.idle += 1
    step.status = status


def _step(run: RunState, key: StepKey) -> StepState:
    step = run.steps.get(key)
    if step is None:
        step = run.steps[key] = StepState(key)
        if "/" in key:
            group = _group_around(run, key)
            if group is not None:
                group.members.append(key)
        memory = run.repaired.pop(key, None) if run.repaired else None
        if memory is not None:
            step.attempt, step.input, step.repaired = memory.attempt, memory.input, memory.repaired
    return step


def _part(run: RunState, key: StepKey) -> None:
    """An item or a pass is ready as soon as it exists."""
    part = run.steps[key] = StepState(key)
    _move_step(run, part, StepStatus.READY)
    part.ready_ms = part.first_ready_ms = run.time_ms


def _group_around(run: RunState, key: StepKey) -> Group | None:
    """The group whose step this is; None for items, passes and what undoes a step."""
    if "/" not in key or ":" in key or owner_of(key) is not None:
        return None
    outer = group_of(key)
    assert outer is not None
    group = run.steps[outer].group
    assert group is not None, "a step of a group begins when the group is open"
    return group


def _run_started(run: RunState, event: ev.RunStarted) -> None:
    assert run.sequence == 0, "a run starts once"
    if not event.limit_key:
        _move_run(run, RunStatus.RUNNING)
    run.limit_key = event.limit_key
    run.flow, run.version, run.plan = event.flow, event.version, event.plan
    run.input, run.trigger, run.started_by = event.input, event.trigger, event.started_by
    run.priority, run.parent = event.priority, event.parent
    run.timeout_at_ms, run.scheduled_at_ms = event.timeout_at_ms, event.scheduled_at_ms
    run.started_ms = run.time_ms


def _run_forked(run: RunState, event: ev.RunForked) -> None:
    assert run.sequence == 0, "a run begins once"
    if not event.limit_key:
        _move_run(run, RunStatus.RUNNING)
    run.limit_key = event.limit_key
    run.flow, run.version, run.plan = event.flow, event.version, event.plan
    run.input, run.trigger, run.started_by = event.input, "fork", event.started_by
    run.priority, run.timeout_at_ms = event.priority, event.timeout_at_ms
    run.started_ms = run.time_ms
    run.forked_from = ForkedFrom(event.source, event.source_sequence)
    run.steps.update(inherited_steps(event))


def _run_admitted(run: RunState, event: ev.RunAdmitted) -> None:
    assert run.limit_key and not run.admitted_ms, "a run is admitted once"
    _move_run(run, RunStatus.RUNNING)
    run.admitted_ms, run.timeout_at_ms = run.time_ms, event.timeout_at_ms


def _run_waiting(run: RunState, event: ev.RunWaiting) -> None:
    _move_run(run, RunStatus.WAITING)


def _run_resumed(run: RunState, event: ev.RunResumed) -> None:
    if run.status is RunStatus.SUSPENDED:
        run.error = run.failure
        run.failed_step = run.failed_step if run.failure is not None else None
        run.resumed_by, run.resumed_ms = event.resumed_by, run.time_ms
    _move_run(run, RunStatus.RUNNING if run.failure is None else RunStatus.COMPENSATING)


def _run_suspended(run: RunState, event: ev.RunSuspended) -> None:
    _move_run(run, RunStatus.SUSPENDED)
    run.error, run.failed_step = event.incident, event.step


def _run_parked(run: RunState, event: ev.RunParked) -> None:
    _move_run(run, RunStatus.SUSPENDED)
    run.error = event.incident


def _run_cancel_requested(run: RunState, event: ev.RunCancelRequested) -> None:
    assert run.cancel is None, "a run is cancelled once"
    run.cancel = event.cause
    run.cancel_requested_ms = run.time_ms


def _run_succeeded(run: RunState, event: ev.RunSucceeded) -> None:
    assert not run.active and not run.idle, "a run ends when its last step has ended"
    _move_run(run, RunStatus.SUCCEEDED)
    run.output, run.ended_ms = event.output, run.time_ms


def _run_failed(run: RunState, event: ev.RunFailed) -> None:
    assert not run.active and not run.idle, "a run ends when its last step has ended"
    _move_run(run, RunStatus.FAILED)
    run.error, run.failed_step, run.ended_ms = event.error, event.step, run.time_ms


def _run_cancelled(run: RunState, event: ev.RunCancelled) -> None:
    assert not run.active and not run.idle, "a run ends when its last step has ended"
    _move_run(run, RunStatus.CANCELLED)
    run.ended_ms = run.time_ms


def _run_compensating(run: RunState, event: ev.RunCompensating) -> None:
    assert not run.active and not run.idle, "a run is undone when its last step has ended"
    _move_run(run, RunStatus.COMPENSATING)
    run.error = run.failure = event.error
    run.failed_step = event.step
    # A timeout has done its work: what it stopped has ended, and what undoes must run.
    run.cancel, run.cancel_requested_ms = None, 0


def _run_compensated(run: RunState, event: ev.RunCompensated) -> None:
    assert not run.active and not run.idle, "a run ends when its last step has ended"
    assert not run.compensable, "a run is compensated when all of it is"
    _move_run(run, RunStatus.COMPENSATED)
    run.error, run.ended_ms = run.failure, run.time_ms


def _step_ready(run: RunState, event: ev.StepReady) -> None:
    step = _step(run, event.step)
    _move_step(run, step, StepStatus.READY)
    step.waiting, step.due_ms = WaitingKind.NONE, None
    step.ready_ms = run.time_ms
    if not step.first_ready_ms:
        step.first_ready_ms = run.time_ms
        step.edges = event.edges


def _step_assigned(run: RunState, event: ev.StepAssigned) -> None:
    step = run.steps[event.step]
    _move_step(run, step, StepStatus.RUNNING)
    assert event.attempt == step.attempt + 1, "attempts are numbered without a gap"
    assert run.cancel is None, "nothing is assigned after a cancel"
    step.attempt, step.executor, step.token = event.attempt, event.executor, event.token
    step.assigned_ms = run.time_ms
    if step.notes:
        step.notes = []


def _step_waiting(run: RunState, event: ev.StepWaiting) -> None:
    step = _step(run, event.step)
    _move_step(run, step, StepStatus.WAITING)
    step.waiting, step.due_ms, step.child = event.kind, event.due_ms, event.child
    if event.correlation:
        step.correlation = event.correlation
    if event.limit_key:
        step.rate_key = event.limit_key


def _step_retry_scheduled(run: RunState, event: ev.StepRetryScheduled) -> None:
    step = run.steps[event.step]
    _move_step(run, step, StepStatus.WAITING)
    step.waiting, step.due_ms = WaitingKind.BACKOFF, event.due_ms
    step.error, step.child = event.error, None
    if event.fallback != step.fallback:
        step.fallback, step.tries, step.lost = event.fallback, 0, 0
    elif event.counted:
        step.tries += 1
    else:
        step.lost += 1


def _end_step(run: RunState, step: StepState, status: StepStatus) -> None:
    _move_step(run, step, status)
    step.ended_ms = run.time_ms
    step.waiting, step.due_ms = WaitingKind.NONE, None
    if "/" in step.key:
        group = _group_around(run, step.key)
        if group is not None:
            group.ended += 1


def _step_succeeded(run: RunState, event: ev.StepSucceeded) -> None:
    step = _step(run, event.step)
    _end_step(run, step, StepStatus.SUCCEEDED)
    step.output, step.port, step.recovered = event.output, event.port, event.recovered
    step.error = event.error
    if event.compensable:
        run.compensable.append(step.key)
        _keep_around(run, step.key)
    _close_part(run, step)


def _keep_around(run: RunState, key: StepKey) -> None:
    place = owner_of(key) or group_of(key)
    while place is not None:
        group = run.steps[place].group
        if group is not None:
            group.kept = True
        place = owner_of(place) or group_of(place)


def _step_failed(run: RunState, event: ev.StepFailed) -> None:
    step = _step(run, event.step)
    _end_step(run, step, StepStatus.FAILED)
    step.error = event.error
    if owner_of(step.key) is not None:
        _close_part(run, step)
    elif not event.handled:
        _count_failure(run, step.key)


def _count_failure(run: RunState, key: StepKey) -> None:
    group = _group_around(run, key)
    if group is not None:
        group.failed = group.failed or key
    elif run.failure is None:
        run.first_failed = run.first_failed or key


def _step_skipped(run: RunState, event: ev.StepSkipped) -> None:
    step = _step(run, event.step)
    _end_step(run, step, StepStatus.SKIPPED)
    step.skip_reason, step.edges = event.reason, event.edges


def _step_cancelled(run: RunState, event: ev.StepCancelled) -> None:
    step = _step(run, event.step)
    _end_step(run, step, StepStatus.CANCELLED)
    _close_part(run, step)


def _step_compensating(run: RunState, event: ev.StepCompensating) -> None:
    assert run.status is RunStatus.COMPENSATING, "only a run that failed is undone"
    assert not run.active and not run.idle, "one step is undone at a time"
    assert run.compensable.pop() == event.step, "undone in reverse order of completion"
    step = _step(run, compensation_key(event.step))
    _move_step(run, step, StepStatus.READY)
    step.ready_ms = step.first_ready_ms = run.time_ms


def _step_noted(run: RunState, event: ev.StepNoted) -> None:
    step = run.steps[event.step]
    assert step.status is StepStatus.RUNNING and step.attempt == event.attempt
    assert event.number == len(step.notes) + 1, "notes are numbered without a gap"
    step.notes.append(event.note)


def _step_repaired(run: RunState, event: ev.StepRepaired) -> None:
    assert run.status is RunStatus.SUSPENDED, "only a suspended run is repaired"
    key = event.step
    before, kept = run.steps.get(key), run.repaired.get(key)
    has_failed = before is not None and before.status is StepStatus.FAILED
    assert event.failed == has_failed, "the event says what was repaired"
    if before is not None:
        assert before.status in REPAIRABLE, f"a step that is {before.status.text} is not repaired"
        if before.status in _ACTIVE:
            run.active -= 1
        if run.first_failed == key:
            run.first_failed = None
        _forget(run, before)
    last = before or kept
    attempt, repaired, edited = (last.attempt, last.repaired, last.input) if last else (0, 0, b"")
    run.repaired[key] = StepMemory(attempt, repaired + 1, event.input or Stored(edited))


def _close_part(run: RunState, step: StepState) -> None:
    """An ended item or pass leaves only its outcome behind, so that the cost of many does not
    grow."""
    owner = owner_of(step.key)
    if owner is None:
        return
    whole, item = run.steps[owner], item_of(step.key)
    if item is not None:
        assert whole.fan_out is not None
        _close_item(whole.fan_out, item[1], step)
    else:
        assert whole.passes is not None
        whole.passes.status = step.status
        whole.output, whole.port, whole.error = step.output, step.port, step.error
    _forget(run, step)


def _close_item(fan_out: FanOut, index: int, item: StepState) -> None:
    assert fan_out.outcomes[index] is None, "an item ends once"
    fan_out.outcomes[index] = ItemOutcome(item.status, item.output, item.error)
    if item.status is StepStatus.SUCCEEDED:
        fan_out.succeeded += 1
    elif item.status is StepStatus.FAILED:
        fan_out.failed += 1
    else:
        fan_out.cancelled += 1


def _forget(run: RunState, step: StepState) -> None:
    if step.group is not None:
        if step.group.kept:
            return
        for member in step.group.members:
            _forget(run, run.steps[member])
    del run.steps[step.key]


def _items_expanded(run: RunState, event: ev.ItemsExpanded) -> None:
    step = run.steps[event.step]
    _move_step(run, step, StepStatus.WAITING)
    step.waiting = WaitingKind.ITEMS
    step.fan_out = FanOut(event.count, event.items, outcomes=[None] * event.count)


def _items_refilled(run: RunState, event: ev.ItemsRefilled) -> None:
    fan_out = run.steps[event.step].fan_out
    assert fan_out is not None and event.first == fan_out.cursor, "items open in order"
    for index in range(event.first, event.first + event.count):
        _part(run, item_key(event.step, index))
    fan_out.cursor += event.count


def _approval_requested(run: RunState, event: ev.ApprovalRequested) -> None:
    step = run.steps[event.step]
    _move_step(run, step, StepStatus.WAITING)
    step.waiting, step.due_ms = WaitingKind.APPROVAL, event.expires_at_ms
    step.approval = event.request


def _approval_escalated(run: RunState, event: ev.ApprovalEscalated) -> None:
    step = run.steps[event.step]
    assert step.waiting is WaitingKind.APPROVAL, "only a waiting approval is escalated"
    assert event.number == step.escalated + 1, "escalations are numbered without a gap"
    step.approval, step.escalated = event.request, event.number


def _approval_decided(run: RunState, event: ev.ApprovalDecided) -> None:
    step = run.steps[event.step]
    assert step.waiting is WaitingKind.APPROVAL, "only a waiting approval is decided"
    step.approval = event.answer


def _timer_fired(run: RunState, event: ev.TimerFired) -> None:
    step = run.steps[event.step]
    assert step.due_ms is not None and step.due_ms <= run.time_ms, "a timer is never early"
    step.due_ms = None


def _group_opened(run: RunState, event: ev.GroupOpened) -> None:
    step = run.steps[event.step]
    _move_step(run, step, StepStatus.WAITING)
    step.waiting, step.due_ms = WaitingKind.STEPS, event.due_ms
    step.group = Group()


def _pass_started(run: RunState, event: ev.PassStarted) -> None:
    step = run.steps[event.step]
    _move_step(run, step, StepStatus.WAITING)
    step.waiting, step.due_ms = WaitingKind.PASS, None
    before = step.passes.number if step.passes is not None else 0
    assert event.number == before + 1, "passes are numbered without a gap"
    step.passes = Passes(event.number)
    _part(run, pass_key(event.step, event.number))


def _step_stop_requested(run: RunState, event: ev.StepStopRequested) -> None:
    step = run.steps[event.step]
    assert step.stop is None, "a step is stopped once"
    step.stop = Stop(event.error, event.by, run.time_ms)


def _signal_received(run: RunState, event: ev.SignalReceived) -> None:
    _received(run, event.step, event.signal)


def _event_received(run: RunState, event: ev.EventReceived) -> None:
    _received(run, event.step, event.event)


def _received(run: RunState, key: StepKey, event: EventId) -> None:
    step = run.steps[key]
    assert step.waiting is WaitingKind.EVENT, "only a step that waits receives an event"
    step.event = event
    run.received = (*run.received, event)


def _dead_letter_added(run: RunState, event: ev.DeadLetterAdded) -> None:
    """Nothing to remember: the step has failed, and history keeps the letter."""


APPLIERS: Mapping[type[ev.RunEvent], Callable[[RunState, Any], None]] = {
    ev.RunStarted: _run_started,
    ev.RunForked: _run_forked,
    ev.RunAdmitted: _run_admitted,
    ev.RunWaiting: _run_waiting,
    ev.RunResumed: _run_resumed,
    ev.RunSuspended: _run_suspended,
    ev.RunParked: _run_parked,
    ev.RunCancelRequested: _run_cancel_requested,
    ev.RunSucceeded: _run_succeeded,
    ev.RunFailed: _run_failed,
    ev.RunCancelled: _run_cancelled,
    ev.RunCompensating: _run_compensating,
    ev.RunCompensated: _run_compensated,
    ev.StepReady: _step_ready,
    ev.StepAssigned: _step_assigned,
    ev.StepWaiting: _step_waiting,
    ev.StepRetryScheduled: _step_retry_scheduled,
    ev.StepSucceeded: _step_succeeded,
    ev.StepFailed: _step_failed,
    ev.StepSkipped: _step_skipped,
    ev.StepCancelled: _step_cancelled,
    ev.StepCompensating: _step_compensating,
    ev.StepNoted: _step_noted,
    ev.StepRepaired: _step_repaired,
    ev.ItemsExpanded: _items_expanded,
    ev.ItemsRefilled: _items_refilled,
    ev.ApprovalRequested: _approval_requested,
    ev.ApprovalEscalated: _approval_escalated,
    ev.ApprovalDecided: _approval_decided,
    ev.TimerFired: _timer_fired,
    ev.GroupOpened: _group_opened,
    ev.PassStarted: _pass_started,
    ev.StepStopRequested: _step_stop_requested,
    ev.SignalReceived: _signal_received,
    ev.EventReceived: _event_received,
    ev.DeadLetterAdded: _dead_letter_added,
}
