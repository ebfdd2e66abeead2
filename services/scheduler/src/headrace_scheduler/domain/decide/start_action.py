"""A ready step's action: queued for an executor, or a sub-flow to be prepared."""

from headrace_core.ids import DAY_MS, LimitKey, RunId, StepKey, child_run_id
from headrace_core.lanes import SHARED_LANE, worker_lane
from headrace_core.run.state import StepView
from headrace_core.workflow.plan import Action, PlanStep, UsesKind
from headrace_core.workflow.resolution import WORKER_PREFIX
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decide.rate_limit import ask_rate
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import EnqueueStep, PrepareChild, SetTimer

_ENTRY_ORDINALS = 1_000
_REPAIR_ORDINALS = 100_000


def start_action(
    turn: RunTurn, step: PlanStep, key: StepKey, rate_key: LimitKey | None = None
) -> None:
    """`rate_key` is that of a step with a rate limit that has not asked before."""
    if step.rate_limit is None:
        call(turn, step, key)
    else:
        ask_rate(turn, step.rate_limit, key, rate_key or turn.run.steps[key].rate_key)
    if step.deadline_ms is not None and not (state := turn.run.steps[key]).attempt:
        due_ms = state.first_ready_ms + step.deadline_ms
        turn.perform(SetTimer(due_ms, turn.run_id, key, TimerKind.STEP_DEADLINE))


def call(turn: RunTurn, step: PlanStep, key: StepKey) -> None:
    """Nothing is waited for but an executor."""
    state = turn.run.steps[key]
    action = action_of(step, state)
    if action.kind is UsesKind.FLOW:
        turn.perform(PrepareChild(turn.run_id, key, child_of(turn.run_id, state)))
    else:
        priority = step.priority + turn.run.priority
        turn.perform(EnqueueStep(turn.run_id, key, lane_of(turn.tenant, action), priority))


def has_to_ask(step: PlanStep, state: StepView) -> bool:
    """Whether a ready step has not asked yet when it may call: its key was not at hand."""
    return step.rate_limit is not None and not state.rate_key


def action_of(step: PlanStep, state: StepView) -> Action:
    """The step's own action, or that of the fallback entry which is its turn."""
    action = step.fallback[state.fallback - 1].uses if state.fallback else step.uses
    assert action is not None, "only an action is started"
    return action


def lane_of(tenant: str, action: Action) -> str:
    """Workers serve the tasks of their own tenant alone."""
    if action.kind is UsesKind.WORKER:
        return worker_lane(tenant, action.reference.removeprefix(WORKER_PREFIX))
    return SHARED_LANE


def child_of(run: RunId, state: StepView) -> RunId:
    """The day is that of the step's readiness, so that whoever prepares it draws the same id."""
    return child_run_id(run, state.key, child_ordinal(state), state.ready_ms // DAY_MS)


def child_ordinal(state: StepView) -> int:
    """Numbers the children that one step starts: each attempt of each entry, and each
    after a repair, is a run of its own."""
    return state.repaired * _REPAIR_ORDINALS + state.fallback * _ENTRY_ORDINALS + state.tries
