"""An approval is decided once: the first decision wins, and its author is logged. Until then
more people are asked as its escalations say."""

from headrace_core.run.events import ApprovalDecided, ApprovalEscalated
from headrace_core.run.status import WaitingKind
from headrace_scheduler.domain.commands import DecideApproval, FireTimer
from headrace_scheduler.domain.decide.advance import settle
from headrace_scheduler.domain.decide.end_step import step_failed, step_succeeded
from headrace_scheduler.domain.decide.escalation import (
    escalations,
    next_escalation_ms,
    set_escalation_timer,
)
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.values import escalated_request

DECISIONS = ("approved", "rejected")


def decide_approval(turn: RunTurn, command: DecideApproval) -> Rejection | None:
    plan_step = turn.plan.find(command.step)
    if plan_step is None or plan_step.approval is None:
        return Rejection(Reason.NOT_FOUND, f"the run has no approval {command.step!r}")
    if command.decision not in DECISIONS:
        return Rejection(Reason.INVALID_STATE, f"a decision is one of {', '.join(DECISIONS)}")
    state = turn.run.steps.get(command.step)
    if state is None:
        return Rejection(Reason.INVALID_STATE, f"approval {command.step!r} is not asked yet")
    if state.waiting is not WaitingKind.APPROVAL:
        return Rejection(
            Reason.INVALID_STATE,
            f"approval {command.step!r} has ended: {state.port or state.status.text}",
        )
    turn.emit(ApprovalDecided(step=command.step, decision=command.decision, answer=command.answer))
    step_succeeded(turn, command.step, command.answer, port=command.decision)
    settle(turn)
    return None


def escalate(turn: RunTurn, command: FireTimer) -> Rejection | None:
    """The next escalation's time has come."""
    state = turn.run.steps.get(command.step)
    step = turn.plan.find(command.step)
    if state is None or step is None or next_escalation_ms(step, state) != command.due_ms:
        return Rejection(Reason.LATE, "the escalation has lost its meaning")
    entry = escalations(step)[state.escalated]
    request, error = escalated_request(turn, step, state, entry)
    if error is not None:
        step_failed(turn, command.step, error)
        return None
    turn.emit(ApprovalEscalated(step=command.step, number=state.escalated + 1, request=request))
    set_escalation_timer(turn, step, state)
    return None
