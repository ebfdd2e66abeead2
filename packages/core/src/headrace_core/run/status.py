"""Statuses of runs and steps, and the moves between them, declared once."""

from collections.abc import Mapping
from enum import IntEnum


class RunStatus(IntEnum):
    QUEUED = 1
    RUNNING = 2
    WAITING = 3
    SUSPENDED = 4
    COMPENSATING = 5
    SUCCEEDED = 6
    FAILED = 7
    CANCELLED = 8
    COMPENSATED = 9

    @property
    def text(self) -> str:
        return self.name.lower()


class StepStatus(IntEnum):
    PENDING = 1
    READY = 2
    RUNNING = 3
    WAITING = 4
    SUCCEEDED = 5
    FAILED = 6
    SKIPPED = 7
    CANCELLED = 8

    @property
    def text(self) -> str:
        return self.name.lower()


class WaitingKind(IntEnum):
    NONE = 0
    TIMER = 1
    EVENT = 2
    APPROVAL = 3
    CHILD = 4
    BACKOFF = 5
    RATE = 6
    BUDGET = 7
    CIRCUIT = 8
    ITEMS = 9
    STEPS = 20
    PASS = 21

    @property
    def text(self) -> str:
        return self.name.lower()


class SkipReason(IntEnum):
    CONDITION = 1
    BRANCH_NOT_TAKEN = 2
    UPSTREAM_SKIPPED = 3
    UPSTREAM_FAILED = 4
    UPSTREAM_CANCELLED = 5
    RUN_CANCELLED = 6
    BY_OPERATOR = 7

    @property
    def text(self) -> str:
        return self.name.lower()


class Repair(IntEnum):
    """What an operator does to one step of a suspended run."""

    RETRY = 1
    SKIP = 2
    OUTPUT = 3
    INPUT = 4

    @property
    def text(self) -> str:
        return self.name.lower()


class CancelCause(IntEnum):
    """Why a run stops early; it decides with which terminal event it ends."""

    REQUEST = 1
    RUN_TIMEOUT = 2
    PARENT = 3
    CONCURRENCY = 4


class Admission(IntEnum):
    """What becomes of a run that asked for a place among those of its `concurrency` key."""

    GRANTED = 1
    SKIPPED = 2
    QUEUE_FULL = 3
    REPLACED = 4


RUN_TERMINAL = frozenset(
    {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.COMPENSATED}
)
STEP_TERMINAL = frozenset(
    {StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED}
)

REPAIRABLE = frozenset({StepStatus.READY, StepStatus.FAILED})
"""Beside steps that are not decided yet; of what is ready only what was never given out."""

RUN_MOVES: Mapping[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.SUSPENDED, RunStatus.CANCELLED}),
    RunStatus.RUNNING: frozenset(
        {RunStatus.WAITING, RunStatus.SUSPENDED, RunStatus.COMPENSATING}
        | {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}
    ),
    RunStatus.WAITING: frozenset(
        {RunStatus.RUNNING, RunStatus.SUSPENDED, RunStatus.COMPENSATING}
        | {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}
    ),
    RunStatus.SUSPENDED: frozenset(
        {RunStatus.RUNNING, RunStatus.WAITING, RunStatus.COMPENSATING}
        | {RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.COMPENSATED}
    ),
    RunStatus.COMPENSATING: frozenset(
        {RunStatus.COMPENSATED, RunStatus.FAILED, RunStatus.SUSPENDED}
    ),
    RunStatus.SUCCEEDED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
    RunStatus.COMPENSATED: frozenset(),
}

STEP_MOVES: Mapping[StepStatus, frozenset[StepStatus]] = {
    StepStatus.PENDING: frozenset(
        {StepStatus.READY, StepStatus.SKIPPED, StepStatus.CANCELLED, StepStatus.FAILED}
    ),
    StepStatus.READY: frozenset(
        {StepStatus.RUNNING, StepStatus.WAITING, StepStatus.SUCCEEDED}
        | {StepStatus.FAILED, StepStatus.CANCELLED}
    ),
    StepStatus.RUNNING: frozenset(
        {StepStatus.WAITING, StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.CANCELLED}
    ),
    StepStatus.WAITING: frozenset(
        {StepStatus.READY, StepStatus.WAITING, StepStatus.SUCCEEDED}
        | {StepStatus.FAILED, StepStatus.CANCELLED}
    ),
    StepStatus.SUCCEEDED: frozenset(),
    StepStatus.FAILED: frozenset(),
    StepStatus.SKIPPED: frozenset(),
    StepStatus.CANCELLED: frozenset(),
}
