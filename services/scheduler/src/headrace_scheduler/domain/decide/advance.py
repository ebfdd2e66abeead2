"""Go on from the state: joins, conditions, inline steps, the end of the run.

`settle` is idempotent. It looks at the dependents of each step that ended in this turn and at
nothing else, so its cost follows the graph's edges and not the size of the run.
"""

from headrace_core.ids import StepKey, group_of, member_key, owner_of, partition_of, slot_of
from headrace_core.partition.events import ChildEnded
from headrace_core.payload import NOTHING, BlobMissingHere
from headrace_core.run.events import (
    EdgeTaken,
    RunCancelled,
    RunFailed,
    RunResumed,
    RunSucceeded,
    RunWaiting,
    StepSkipped,
)
from headrace_core.run.state import RunView, StepView
from headrace_core.run.status import (
    RUN_TERMINAL,
    STEP_TERMINAL,
    CancelCause,
    RunStatus,
    SkipReason,
    StepStatus,
)
from headrace_core.workflow.joins import EdgeState, JoinDecision, decide_join, edge_state
from headrace_core.workflow.plan import Plan, PlanStep
from headrace_scheduler.domain.decide.compensate import (
    begin_compensation,
    compensate_next,
    end_compensation,
    must_compensate,
)
from headrace_scheduler.domain.decide.fan_out import go_on_after_item
from headrace_scheduler.domain.decide.group import end_if_decided
from headrace_scheduler.domain.decide.open_step import open_part, open_step
from headrace_scheduler.domain.decide.repeat import go_on_if_ended
from headrace_scheduler.domain.decide.start_action import has_to_ask
from headrace_scheduler.domain.decide.stopping import (
    has_parts,
    may_start,
    stop_open_steps,
    stop_sources,
)
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import EvictRun, FetchPayload
from headrace_scheduler.domain.failure import engine_error
from headrace_scheduler.domain.values import evaluate_outputs

_HELD = (RunStatus.SUSPENDED, RunStatus.QUEUED)
_SKIP_REASONS = (
    (EdgeState.BROKEN, SkipReason.UPSTREAM_FAILED),
    (EdgeState.DEAD, SkipReason.BRANCH_NOT_TAKEN),
    (EdgeState.SKIPPED, SkipReason.UPSTREAM_SKIPPED),
)


def begin(turn: RunTurn) -> None:
    """Open what needs nothing, then settle."""
    for step_id in turn.plan.entry:
        if turn.is_full():
            break
        consider(turn, StepKey(step_id))
    settle(turn)


def settle(turn: RunTurn) -> None:
    run = turn.run
    if run.status in RUN_TERMINAL or _is_parked(run):
        return
    _settle_ended(turn)
    if _is_parked(run) or turn.postponed:
        return
    if not run.active and not run.idle:
        _end_run_if_decided(turn)
    elif run.active:
        if run.status is RunStatus.WAITING:
            turn.emit(RunResumed())
    elif run.status is RunStatus.RUNNING:
        turn.emit(RunWaiting())


def resume(turn: RunTurn) -> None:
    """After a recovery or a fetch: whatever is due but was not decided yet."""
    run = turn.run
    if run.status in RUN_TERMINAL or _is_parked(run):
        return
    # The last owner may have gone before it could ask.
    stop_open_steps(turn)
    for state in list(run.steps.values()):
        # Looking at one may end others.
        if turn.is_full():
            break
        if state.key in run.steps and state.status not in STEP_TERMINAL:
            _look_again(turn, state)
    _consider_pending(turn)
    settle(turn)


def _look_again(turn: RunTurn, state: StepView) -> None:
    if has_parts(state):
        _look_at_whole(turn, state.key)
    elif state.status is StepStatus.READY:
        step = turn.plan.step_at(state.key)
        if step.inline or has_to_ask(step, state):
            # A payload was not at hand when it began.
            turn.begun.append(state.key)


def _is_parked(run: RunView) -> bool:
    """A suspended run goes nowhere but to its end by a cancel, until it is resumed; so does a
    queued one until it is admitted."""
    return run.status in _HELD and run.cancel is None


def _settle_ended(turn: RunTurn) -> None:
    ended, begun = turn.ended, turn.begun
    while ended or begun:
        if turn.is_full():
            # All of it is found again in the state.
            ended.clear()
            begun.clear()
        elif ended:
            _step_ended(turn, ended.popleft())
        else:
            _go_on(turn, begun.popleft())


def _step_ended(turn: RunTurn, key: StepKey) -> None:
    run = turn.run
    whole = owner_of(key)
    if whole is not None:
        # An ended item or pass leaves only its outcome behind.
        _look_at_whole(turn, whole)
        return
    if key not in run.steps:
        # It went with the item or the pass that it was part of.
        return
    group = group_of(key)
    level = turn.plan if group is None else turn.plan.scope_of(group)
    for dependent in level.successors.get(turn.plan.step_at(key).id, ()):
        after = _beside(group, dependent)
        if after not in run.steps and not turn.is_full():
            consider(turn, after)
    if group is not None:
        _look_at_whole(turn, group)


def _look_at_whole(turn: RunTurn, key: StepKey) -> None:
    """Some part of this fan-out, group or repeated step has ended."""
    state = turn.run.steps.get(key)
    if state is None or state.status in STEP_TERMINAL:
        return
    step = turn.plan.step_at(key)
    if state.group is not None:
        end_if_decided(turn, step, state)
    elif state.passes is not None:
        go_on_if_ended(turn, step, state)
    elif state.fan_out is not None:
        go_on_after_item(turn, step, state)


def _go_on(turn: RunTurn, key: StepKey) -> None:
    """What has begun goes on: an item or a pass to its kind, a group to its first steps."""
    state = turn.run.steps.get(key)
    if state is None or state.status in STEP_TERMINAL:
        return
    if state.group is not None:
        _consider_members(turn, key)
    if has_parts(state):
        _look_at_whole(turn, key)
    else:
        open_part(turn, key)


def _consider_members(turn: RunTurn, group: StepKey) -> None:
    """Steps of an open group that are due but were not decided yet."""
    scope = turn.plan.scope_of(group)
    for name in scope.order:
        key = member_key(group, name)
        if key not in turn.run.steps and not turn.is_full():
            consider(turn, key)


def _consider_pending(turn: RunTurn) -> None:
    for step_id in turn.plan.order:
        if step_id not in turn.run.steps and not turn.is_full():
            consider(turn, StepKey(step_id))
    for state in list(turn.run.steps.values()):
        if state.group is not None and state.status not in STEP_TERMINAL:
            _consider_members(turn, state.key)
    _settle_ended(turn)


def consider(turn: RunTurn, key: StepKey) -> None:
    """Decide a pending step's join as soon as it cannot change, never before."""
    if _is_parked(turn.run):
        return
    step = turn.plan.step_at(key)
    edges = _edges(turn, step, group_of(key))
    decision = decide_join(step.join, [edge.state for edge in edges])
    if decision is JoinDecision.WAIT:
        return
    if decision is JoinDecision.SKIP:
        reason = _skip_reason(turn, edges, group_of(key))
        turn.emit(StepSkipped(step=key, reason=reason, edges=edges))
        turn.ended.append(key)
    elif not may_start(turn, key):
        turn.emit(StepSkipped(step=key, reason=SkipReason.RUN_CANCELLED, edges=edges))
        turn.ended.append(key)
    else:
        if step.cancel_others:
            stop_sources(turn, step, group_of(key))
        open_step(turn, step, key, edges)


def _beside(group: StepKey | None, step: str) -> StepKey:
    return StepKey(step) if group is None else member_key(group, step)


def _edges(turn: RunTurn, step: PlanStep, group: StepKey | None) -> tuple[EdgeTaken, ...]:
    steps = turn.run.steps
    taken: list[EdgeTaken] = []
    for edge in step.needs:
        key = _beside(group, edge.source)
        taken.append(
            EdgeTaken(
                source=edge.source,
                port=edge.port,
                state=_edge(turn.plan, steps.get(key), key, edge.port),
            )
        )
    return tuple(taken)


def _edge(plan: Plan, source: StepView | None, key: StepKey, port: str) -> EdgeState:
    if source is None or source.status not in STEP_TERMINAL:
        return EdgeState.UNDECIDED
    return edge_state(source.status, source.port, port, catches=plan.step_at(key).catches)


def _skip_reason(turn: RunTurn, edges: tuple[EdgeTaken, ...], group: StepKey | None) -> SkipReason:
    states = {edge.state for edge in edges}
    for state, reason in _SKIP_REASONS:
        if state in states:
            if state is EdgeState.BROKEN and not _any_failed(turn, edges, group):
                return SkipReason.UPSTREAM_CANCELLED
            return reason
    return SkipReason.BRANCH_NOT_TAKEN


def _any_failed(turn: RunTurn, edges: tuple[EdgeTaken, ...], group: StepKey | None) -> bool:
    steps = turn.run.steps
    return any(
        steps[_beside(group, edge.source)].status is StepStatus.FAILED
        for edge in edges
        if edge.state is EdgeState.BROKEN
    )


def _end_run_if_decided(turn: RunTurn) -> None:
    """Nothing is open: every step has reached its end, so has the run, unless a decision still
    waits for a payload to be fetched."""
    run = turn.run
    if _any_pending(turn):
        _consider_pending(turn)
        if run.active or run.idle or _is_parked(run) or turn.postponed:
            return
        if _any_pending(turn):
            assert any(isinstance(effect, FetchPayload) for effect in turn.effects), (
                "a step was left without a decision"
            )
            return
    try:
        _end_run(turn)
    except BlobMissingHere as missing:
        turn.perform(FetchPayload(run.run_id, missing.run, missing.stored))


def _any_pending(turn: RunTurn) -> bool:
    return any(step_id not in turn.run.steps for step_id in turn.plan.order)


def _end_run(turn: RunTurn) -> None:
    run = turn.run
    if run.failure is None:
        outcome = _outcome(turn)
        if isinstance(outcome, RunFailed) and must_compensate(turn):
            begin_compensation(turn, outcome)
        else:
            turn.emit(outcome)
    if run.failure is not None:
        if compensate_next(turn):
            return
        end_compensation(turn)
    answer_parent(turn)
    turn.perform(EvictRun(run.run_id))


def _outcome(turn: RunTurn) -> RunFailed | RunCancelled | RunSucceeded:
    run = turn.run
    if run.cancel is CancelCause.RUN_TIMEOUT:
        return RunFailed(error=engine_error(turn, "timeout.run", "the run's timeout has passed"))
    if run.cancel is not None:
        return RunCancelled()
    if run.first_failed is not None:
        failed = run.steps[run.first_failed]
        assert failed.error is not None
        return RunFailed(error=failed.error, step=run.first_failed)
    output, error = evaluate_outputs(turn)
    return RunFailed(error=error) if error is not None else RunSucceeded(output=output)


def answer_parent(turn: RunTurn) -> None:
    """The run has ended: whoever called it hears how."""
    run = turn.run
    if run.parent is None or run.parent.detached:
        return
    target = partition_of(slot_of(run.parent.run), turn.partitions)
    turn.send(
        target,
        ChildEnded(
            parent=run.parent,
            tenant=run.tenant,
            child=run.run_id,
            status=run.status,
            output=run.output if run.status is RunStatus.SUCCEEDED else NOTHING,
            error=run.error,
        ),
    )
