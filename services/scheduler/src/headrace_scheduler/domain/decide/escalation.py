"""When an approval that nobody decides asks more people: derived from its state and the plan."""

from headrace_core.run.state import StepView
from headrace_core.run.status import WaitingKind
from headrace_core.workflow.plan import Escalation, PlanStep
from headrace_scheduler.domain.commands import TimerKind
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import SetTimer


def escalations(step: PlanStep) -> tuple[Escalation, ...]:
    """In the order of their times, however they are written."""
    if step.approval is None:
        return ()
    return tuple(sorted(step.approval.escalate, key=lambda entry: entry.after_ms))


def next_escalation_ms(step: PlanStep, state: StepView) -> int | None:
    """Epoch milliseconds; None where nobody waits or all have been asked."""
    entries = escalations(step)
    if state.waiting is not WaitingKind.APPROVAL or state.escalated >= len(entries):
        return None
    # The request is made in the turn in which the step becomes ready.
    return state.ready_ms + entries[state.escalated].after_ms


def set_escalation_timer(turn: RunTurn, step: PlanStep, state: StepView) -> None:
    due_ms = next_escalation_ms(step, state)
    if due_ms is not None:
        turn.perform(SetTimer(due_ms, turn.run_id, state.key, TimerKind.APPROVAL_ESCALATION))
