"""An approval is decided once: the first decision wins, and its author is logged."""

from headrace_core.run.events import ApprovalDecided
from headrace_core.run.status import WaitingKind
from headrace_scheduler.domain.commands import DecideApproval
from headrace_scheduler.domain.decide.advance import settle
from headrace_scheduler.domain.decide.end_step import step_succeeded
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn

DECISIONS = ("approved", "rejected")


def decide_approval(turn: RunTurn, command: DecideApproval) -> Rejection | None:
    plan_step = turn.plan.steps.get(command.step)
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
