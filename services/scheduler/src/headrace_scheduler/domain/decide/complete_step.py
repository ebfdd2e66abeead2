"""An executor's word on an attempt. The fold accepts one per attempt; later ones are late."""

from typing import assert_never

from headrace_core.run.events import StepCancelled, StepError, StepNoted
from headrace_core.run.state import StepView
from headrace_core.run.status import StepStatus
from headrace_scheduler.domain.commands import CompleteStep, NoteStep, Outcome
from headrace_scheduler.domain.decide.advance import settle
from headrace_scheduler.domain.decide.end_step import (
    attempt_failed,
    is_too_late,
    retry_due_ms,
    step_failed,
    step_succeeded,
    too_late,
)
from headrace_scheduler.domain.decide.lose_attempt import try_elsewhere
from headrace_scheduler.domain.decide.stopping import is_stopping
from headrace_scheduler.domain.decision import Reason, Rejection, RunTurn
from headrace_scheduler.domain.failure import engine_error


def complete_step(turn: RunTurn, command: CompleteStep) -> Rejection | None:
    state = open_attempt(turn, command)
    if state is None:
        return Rejection(
            Reason.LATE, f"attempt {command.attempt} of step {command.step!r} is closed"
        )
    if command.outcome is Outcome.SUCCEEDED:
        step_succeeded(
            turn,
            command.step,
            command.output,
            attempt=command.attempt,
            usage=command.usage,
        )
    else:
        _ended_otherwise(turn, command, state)
    settle(turn)
    return None


def note_step(turn: RunTurn, command: NoteStep) -> Rejection | None:
    state = open_attempt(turn, command)
    if state is None:
        return Rejection(
            Reason.LATE, f"attempt {command.attempt} of step {command.step!r} is closed"
        )
    if command.number <= len(state.notes):
        return Rejection(Reason.REPEATED, f"note {command.number} is already in the log")
    if command.number > len(state.notes) + 1:
        return Rejection(Reason.OUT_OF_ORDER, f"note {len(state.notes) + 1} comes next")
    turn.emit(
        StepNoted(
            step=command.step,
            attempt=command.attempt,
            number=command.number,
            note=command.note,
        )
    )
    return None


def open_attempt(turn: RunTurn, command: CompleteStep | NoteStep) -> StepView | None:
    state = turn.run.steps.get(command.step)
    if (
        state is None
        or state.status is not StepStatus.RUNNING
        or state.attempt != command.attempt
        or state.token != command.token
    ):
        return None
    return state


def _ended_otherwise(turn: RunTurn, command: CompleteStep, state: StepView) -> None:
    key, usage = command.step, command.usage
    stopping = is_stopping(turn, key)
    error = command.error or StepError(type="executor.no_error_given")
    match command.outcome:
        case Outcome.FAILED:
            if stopping:
                _cancelled(turn, command)
            else:
                attempt_failed(turn, key, error, usage=usage, retry_after_ms=command.retry_after_ms)
        case Outcome.AMBIGUOUS:
            if stopping:
                step_failed(turn, key, _unknown(turn), usage=usage)
            else:
                _retry_or_unknown(turn, command, error)
        case Outcome.UNKNOWN:
            step_failed(turn, key, _unknown(turn), usage=usage)
        case Outcome.CANCELLED:
            if stopping:
                _cancelled(turn, command)
            else:
                _given_back(turn, command, state)
        case Outcome.SUCCEEDED:
            raise AssertionError("decided by the caller")
        case _:
            assert_never(command.outcome)


def _retry_or_unknown(turn: RunTurn, command: CompleteStep, error: StepError) -> None:
    """A key or a probe makes a further attempt safe; where none follows, nobody knows."""
    if retry_due_ms(turn, command.step, error, command.retry_after_ms) is None:
        step_failed(turn, command.step, _unknown(turn), usage=command.usage)
        return
    attempt_failed(
        turn,
        command.step,
        error,
        usage=command.usage,
        retry_after_ms=command.retry_after_ms,
    )


def _given_back(turn: RunTurn, command: CompleteStep, state: StepView) -> None:
    """Nothing happened and nobody asked for it: another executor takes it, while there is time."""
    if is_too_late(turn, turn.plan.step_at(state.key), state):
        step_failed(turn, state.key, too_late(turn, state), usage=command.usage)
    else:
        try_elsewhere(turn, state)


def _cancelled(turn: RunTurn, command: CompleteStep) -> None:
    turn.emit(StepCancelled(step=command.step, attempt=command.attempt, usage=command.usage))
    turn.ended.append(command.step)


def _unknown(turn: RunTurn) -> StepError:
    return engine_error(
        turn,
        "unknown_outcome",
        "the effect may have happened and the outside cannot be asked: look there, then decide",
    )
