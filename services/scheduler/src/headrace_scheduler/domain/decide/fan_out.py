"""Fan-out: the list is evaluated once and logged, items open in order under `max_parallel`."""

from headrace_core.ids import StepKey, item_key
from headrace_core.payload import BlobMissingHere
from headrace_core.run.events import (
    EdgeTaken,
    ItemsExpanded,
    ItemsRefilled,
    StepReady,
)
from headrace_core.run.state import FanOutView, StepView
from headrace_core.run.status import STEP_TERMINAL, StepStatus
from headrace_core.workflow.plan import OnFailure, PlanStep, StepKind
from headrace_scheduler.domain.decide.end_step import end_failed, open_failed, step_succeeded
from headrace_scheduler.domain.decide.start_action import start_action
from headrace_scheduler.domain.decide.stopping import end_cancelled, is_stopping, stop_parts
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import FetchPayload
from headrace_scheduler.domain.failure import engine_error
from headrace_scheduler.domain.values import evaluate_items


def expand(turn: RunTurn, step: PlanStep, key: StepKey, edges: tuple[EdgeTaken, ...]) -> None:
    count, items, error = evaluate_items(turn, step, key)
    if error is not None:
        open_failed(turn, step, key, edges, error)
        return
    turn.emit(StepReady(step=key, edges=edges))
    turn.emit(ItemsExpanded(step=key, count=count, items=items))
    if count == 0:
        step_succeeded(turn, key)
    else:
        refill(turn, step, key)


def refill(turn: RunTurn, step: PlanStep, key: StepKey) -> None:
    """Open as many items as there are free places."""
    assert step.foreach is not None
    fan_out = _fan_out(turn, key)
    places = step.foreach.max_parallel - _open_items(fan_out)
    count = min(places, fan_out.count - fan_out.cursor)
    if count <= 0:
        return
    first = fan_out.cursor
    turn.emit(ItemsRefilled(step=key, first=first, count=count))
    calls = step.kind is StepKind.USES and step.repeat is None and step.rate_limit is None
    for index in range(first, first + count):
        if calls:
            start_action(turn, step, item_key(key, index))
        else:
            turn.begun.append(item_key(key, index))


def go_on_after_item(turn: RunTurn, step: PlanStep, state: StepView) -> None:
    """One item less is open: the next one opens, or the fan-out has its outcome."""
    if state.status in STEP_TERMINAL:
        return
    fan_out = _fan_out(turn, state.key)
    if _gives_up(turn, step, state.key, fan_out):
        if _open_items(fan_out) and turn.plan.on_failure is OnFailure.CANCEL:
            stop_parts(turn, state)
    else:
        refill(turn, step, state.key)
    end_if_over(turn, step, state)


def end_if_over(turn: RunTurn, step: PlanStep, state: StepView) -> None:
    """The fan-out's outcome, once its last item has ended."""
    fan_out = _fan_out(turn, state.key)
    if not _open_items(fan_out):
        try:
            _end(turn, step, state, fan_out)
        except BlobMissingHere as missing:
            turn.perform(FetchPayload(turn.run_id, missing.run, missing.stored))


def _gives_up(turn: RunTurn, step: PlanStep, key: StepKey, fan_out: FanOutView) -> bool:
    """Too many items have failed, or the run stops: no new item starts."""
    return _too_many_failed(step, fan_out) or is_stopping(turn, key)


def _too_many_failed(step: PlanStep, fan_out: FanOutView) -> bool:
    assert step.foreach is not None
    return bool(fan_out.failed) and fan_out.failed > step.foreach.tolerated(fan_out.count)


def _end(turn: RunTurn, step: PlanStep, state: StepView, fan_out: FanOutView) -> None:
    assert step.foreach is not None
    if _too_many_failed(step, fan_out):
        first = next(
            outcome
            for outcome in fan_out.outcomes
            if outcome is not None and outcome.status is StepStatus.FAILED
        )
        assert first.error is not None
        message = f"{fan_out.failed} of {fan_out.count} items failed, tolerated are "
        message += f"{step.foreach.tolerated(fan_out.count)}; the first one with {first.error.type}"
        end_failed(turn, state.key, engine_error(turn, first.error.type, message))
    elif is_stopping(turn, state.key):
        end_cancelled(turn, state)
    else:
        step_succeeded(turn, state.key)


def _open_items(fan_out: FanOutView) -> int:
    return fan_out.cursor - fan_out.succeeded - fan_out.failed - fan_out.cancelled


def _fan_out(turn: RunTurn, key: StepKey) -> FanOutView:
    fan_out = turn.run.steps[key].fan_out
    assert fan_out is not None
    return fan_out
