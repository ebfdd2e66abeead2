"""Dead letters: calls that failed for good, nobody in the definition takes over and somebody has
to look at. Each is decided once: replayed or discarded.
"""

from headrace_core.ids import StepKey, letter_id, owner_of
from headrace_core.partition.events import (
    DeadLetterDiscarded,
    DeadLetterReplayed,
    LetterDecision,
)
from headrace_core.run.events import DeadLetterAdded, StepError
from headrace_core.run.state import StepView
from headrace_core.run.status import Repair, StepStatus
from headrace_scheduler.domain.commands import StepEdit
from headrace_scheduler.domain.decide.start_action import action_of
from headrace_scheduler.domain.decide.stopping import has_effect
from headrace_scheduler.domain.decision import RunTurn


def is_handled(turn: RunTurn, state: StepView) -> bool:
    """Whether the definition takes a failure of this step over, so that it fails nothing else."""
    if owner_of(state.key) is not None:
        return False
    # Another step goes on without it: how it ends is no failure of the run.
    is_unneeded = state.stop is not None and bool(state.stop.by)
    return turn.plan.step_at(state.key).catches or is_unneeded


def undone_operation(turn: RunTurn, state: StepView) -> str:
    """What the step has called outside, if its failure makes that a dead letter; else empty."""
    if not state.attempt or is_handled(turn, state):
        return ""
    step = turn.plan.step_at(state.key)
    return action_of(step, state).reference if has_effect(step, state) else ""


def letter_about(
    turn: RunTurn, key: StepKey, attempt: int, operation: str, error: StepError
) -> DeadLetterAdded:
    letter = letter_id(turn.run_id, key, attempt)
    return DeadLetterAdded(
        step=key, attempt=attempt, letter=letter, operation=operation, error=error
    )


def decision_by_repair(turn: RunTurn, edit: StepEdit, author: str) -> LetterDecision | None:
    """What an operator's edit of a failed step says of its letter, if it has one. Asked before
    the edit is made."""
    state = turn.run.steps.get(edit.step)
    if state is None or state.status is not StepStatus.FAILED or not undone_operation(turn, state):
        return None
    letter = letter_id(turn.run_id, edit.step, state.attempt)
    if edit.repair in (Repair.RETRY, Repair.INPUT):
        return DeadLetterReplayed(
            letter=letter,
            tenant=turn.tenant,
            run=turn.run_id,
            step=edit.step,
            as_run=turn.run_id,
            replayed_by=author,
        )
    return DeadLetterDiscarded(
        letter=letter, tenant=turn.tenant, run=turn.run_id, step=edit.step, discarded_by=author
    )
