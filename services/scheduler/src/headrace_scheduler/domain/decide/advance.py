"""Go on from the state: joins, conditions, inline steps, the end of the run.

`settle` is idempotent. It looks at the dependents of each step that ended in this turn and at
nothing else, so its cost follows the graph's edges and not the size of the run.
"""

from headrace_core.ids import StepKey, partition_of, slot_of
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
from headrace_scheduler.domain.decide.fan_out import go_on, item_ended
from headrace_scheduler.domain.decide.open_step import open_step
from headrace_scheduler.domain.decide.stopping import may_start, stop_open_steps
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import EvictRun, FetchPayload
from headrace_scheduler.domain.failure import engine_error
from headrace_scheduler.domain.values import evaluate_outputs

_SKIP_REASONS = (
    (EdgeState.BROKEN, SkipReason.UPSTREAM_FAILED),
    (EdgeState.DEAD, SkipReason.BRANCH_NOT_TAKEN),
    (EdgeState.SKIPPED, SkipReason.UPSTREAM_SKIPPED),
)


def begin(turn: RunTurn) -> None:
    """Open what needs nothing, then settle."""
    for step_id in turn.plan.entry:
        consider(turn, turn.plan.steps[step_id])
    settle(turn)


def settle(turn: RunTurn) -> None:
    run = turn.run
    if run.status in RUN_TERMINAL or _is_parked(run):
        return
    _settle_ended(turn)
    if _is_parked(run):
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
        if state.fan_out is not None and state.status not in STEP_TERMINAL:
            go_on(turn, turn.plan.steps[state.key], state)
    _consider_pending(turn)
    settle(turn)


def _is_parked(run: RunView) -> bool:
    """A suspended run goes nowhere but to its end by a cancel, until it is resumed."""
    return run.status is RunStatus.SUSPENDED and run.cancel is None


def _settle_ended(turn: RunTurn) -> None:
    run, plan, ended = turn.run, turn.plan, turn.ended
    while ended:
        key = ended.popleft()
        if key not in run.steps:
            # An ended item leaves only its outcome behind.
            item_ended(turn, key)
            continue
        for dependent in plan.successors.get(key, ()):
            if dependent not in run.steps:
                consider(turn, plan.steps[dependent])


def _consider_pending(turn: RunTurn) -> None:
    for step_id in turn.plan.order:
        if StepKey(step_id) not in turn.run.steps:
            consider(turn, turn.plan.steps[step_id])
    _settle_ended(turn)


def consider(turn: RunTurn, step: PlanStep) -> None:
    """Decide a pending step's join as soon as it cannot change, never before."""
    if _is_parked(turn.run):
        return
    edges = _edges(turn, step)
    decision = decide_join(step.join, [edge.state for edge in edges])
    if decision is JoinDecision.WAIT:
        return
    key = StepKey(step.id)
    if decision is JoinDecision.SKIP:
        turn.emit(StepSkipped(step=key, reason=_skip_reason(turn, edges), edges=edges))
        turn.ended.append(key)
    elif not may_start(turn, step):
        turn.emit(StepSkipped(step=key, reason=SkipReason.RUN_CANCELLED, edges=edges))
        turn.ended.append(key)
    else:
        open_step(turn, step, edges)


def _edges(turn: RunTurn, step: PlanStep) -> tuple[EdgeTaken, ...]:
    steps = turn.run.steps
    taken: list[EdgeTaken] = []
    for edge in step.needs:
        source = steps.get(StepKey(edge.source))
        taken.append(
            EdgeTaken(
                source=edge.source,
                port=edge.port,
                state=_edge(turn.plan, source, edge.source, edge.port),
            )
        )
    return tuple(taken)


def _edge(plan: Plan, source: StepView | None, source_id: str, port: str) -> EdgeState:
    if source is None or source.status not in STEP_TERMINAL:
        return EdgeState.UNDECIDED
    return edge_state(source.status, source.port, port, catches=plan.steps[source_id].catches)


def _skip_reason(turn: RunTurn, edges: tuple[EdgeTaken, ...]) -> SkipReason:
    states = {edge.state for edge in edges}
    for state, reason in _SKIP_REASONS:
        if state in states:
            if state is EdgeState.BROKEN and not _any_failed(turn, edges):
                return SkipReason.UPSTREAM_CANCELLED
            return reason
    return SkipReason.BRANCH_NOT_TAKEN


def _any_failed(turn: RunTurn, edges: tuple[EdgeTaken, ...]) -> bool:
    steps = turn.run.steps
    return any(
        edge.state is EdgeState.BROKEN and steps[StepKey(edge.source)].status is StepStatus.FAILED
        for edge in edges
    )


def _end_run_if_decided(turn: RunTurn) -> None:
    """Nothing is open: every step has reached its end, so has the run, unless a decision still
    waits for a payload to be fetched."""
    run = turn.run
    if len(run.steps) < len(turn.plan.steps):
        _consider_pending(turn)
        if run.active or run.idle or _is_parked(run):
            return
        if len(run.steps) < len(turn.plan.steps):
            assert any(isinstance(effect, FetchPayload) for effect in turn.effects), (
                "a step was left without a decision"
            )
            return
    try:
        _end_run(turn)
    except BlobMissingHere as missing:
        turn.perform(FetchPayload(run.run_id, missing.run, missing.stored))


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
    _answer_parent(turn)
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


def _answer_parent(turn: RunTurn) -> None:
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
