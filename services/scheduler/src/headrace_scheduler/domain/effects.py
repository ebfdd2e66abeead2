"""Effects of a turn, as data. They are performed after the record is durable, never on replay.

All of them can be derived again from folded state, which is what a new owner does.
"""

from dataclasses import dataclass

from headrace_core.ids import ExecutorId, RunId, StepKey
from headrace_core.payload import Stored
from headrace_scheduler.domain.commands import TimerKind


@dataclass(frozen=True, slots=True)
class EnqueueStep:
    """The step waits for credit in its lane's fair queue."""

    run: RunId
    step: StepKey
    lane: str
    priority: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    due_ms: int
    run: RunId
    step: StepKey
    kind: TimerKind


@dataclass(frozen=True, slots=True)
class CancelAttempt:
    run: RunId
    step: StepKey
    attempt: int
    executor: ExecutorId


@dataclass(frozen=True, slots=True)
class CloseRow:
    """Close the effect row of the step's last attempt, then send CloseByRow.

    Each fallback entry is an effect, and so a row, of its own. `cause` is the error type with
    which a step without an effect fails, empty where its state says it.
    """

    run: RunId
    step: StepKey
    attempt: int
    fallback: int
    cause: str = ""


@dataclass(frozen=True, slots=True)
class PrepareChild:
    """Evaluate the sub-flow's input and seal it under the child's key, then send StartChild."""

    run: RunId
    step: StepKey
    child: RunId


@dataclass(frozen=True, slots=True)
class FetchPayload:
    """Bring a reference's content to hand, then send ContinueRun."""

    run: RunId
    owner: RunId
    stored: Stored


@dataclass(frozen=True, slots=True)
class ContinueLater:
    """The turn is full: send ContinueRun, so that a further record takes what is left."""

    run: RunId


@dataclass(frozen=True, slots=True)
class DeliverMessages:
    """The outbox towards this partition has something to send."""

    target: int


@dataclass(frozen=True, slots=True)
class EvictRun:
    """The run has ended: nothing of it is kept but its records."""

    run: RunId


@dataclass(frozen=True, slots=True)
class ArmSchedule:
    schedule: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class ReleaseFiring:
    """Nothing stands in the way of the firing that waited longest: send FireSchedule."""

    schedule: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class CancelOpenRun:
    """A later firing takes this run's place: send CancelRun."""

    run: RunId
    requested_by: str


Effect = (
    EnqueueStep
    | SetTimer
    | CancelAttempt
    | CloseRow
    | PrepareChild
    | FetchPayload
    | ContinueLater
    | DeliverMessages
    | EvictRun
    | ArmSchedule
    | ReleaseFiring
    | CancelOpenRun
)
