"""The steps with which a forked run begins."""

from headrace_core.ids import StepKey
from headrace_core.run import events as ev
from headrace_core.run.state import FanOut, ItemOutcome, StepState
from headrace_core.run.status import STEP_TERMINAL, StepStatus


def inherited_steps(event: ev.RunForked) -> dict[StepKey, StepState]:
    return {step.step: _state_of(step) for step in event.steps}


def _state_of(step: ev.InheritedStep) -> StepState:
    assert step.status in STEP_TERMINAL, "only what has ended is inherited"
    return StepState(
        key=step.step,
        status=step.status,
        attempt=step.attempt,
        first_ready_ms=step.ready_ms,
        ended_ms=step.ended_ms,
        output=step.output,
        port=step.port,
        error=step.error,
        recovered=step.recovered,
        skip_reason=step.skip_reason,
        edges=step.edges,
        fan_out=_fan_out_of(step.items) if step.items is not None else None,
        inherited=True,
    )


def _fan_out_of(items: ev.InheritedItems) -> FanOut:
    outcomes: list[ItemOutcome | None] = [None] * items.count
    for one in items.outcomes:
        outcomes[one.index] = ItemOutcome(one.status, one.output, one.error)
    ended = [one.status for one in items.outcomes]
    return FanOut(
        items.count,
        items.items,
        cursor=len(ended),
        succeeded=ended.count(StepStatus.SUCCEEDED),
        failed=ended.count(StepStatus.FAILED),
        cancelled=ended.count(StepStatus.CANCELLED),
        outcomes=outcomes,
    )
