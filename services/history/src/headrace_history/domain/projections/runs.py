"""The run's row: what lists and searches need, and where its journal ends.

The row equals the fold of the same turns wherever both say something.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from headrace_core.ids import PlanHash, RunId, StepKey, TenantId
from headrace_core.run import events as ev
from headrace_core.run.status import RunStatus
from headrace_history.domain.turns import Digest, JournalTurn


@dataclass(slots=True)
class RunRow:
    """Counts are of events: an item of a fan-out counts like a step, `attempts` is assignments."""

    run: RunId
    tenant: TenantId
    status: RunStatus = RunStatus.QUEUED
    sequence: int = 0
    offset: int = -1
    chain: bytes = b""
    time_ms: int = 0
    flow: str = ""
    version: int = 0
    plan: PlanHash = PlanHash("")
    trigger: str = ""
    started_by: str = ""
    priority: int = 0
    parent: RunId | None = None
    parent_step: StepKey | None = None
    started_ms: int = 0
    ended_ms: int | None = None
    error_type: str = ""
    failed_step: StepKey | None = None
    attempts: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0

    def columns(self) -> tuple[object, ...]:
        """The values in the order of COLUMNS, as they are now."""
        return _VALUES(self)

    @property
    def ended(self) -> bool:
        return self.ended_ms is not None


COLUMNS = tuple(name for name in RunRow.__slots__ if name != "tenant")
_VALUES: Callable[[RunRow], tuple[object, ...]] = attrgetter(*COLUMNS)


def project(row: RunRow, turn: JournalTurn, digest: Digest) -> None:
    """Take one turn into the row."""
    counts = digest.counts
    row.sequence += counts.events
    row.offset, row.chain, row.time_ms = turn.offset, turn.chain, turn.time_ms
    row.attempts += counts.assigned
    row.succeeded += counts.succeeded
    if counts.rarer:
        row.failed += counts.failed
        row.skipped += counts.skipped
        row.cancelled += counts.cancelled
    for event in digest.marks:
        take = _TAKES.get(type(event))
        if take is not None:
            take(row, event)


def _started(row: RunRow, event: ev.RunStarted) -> None:
    row.status = RunStatus.QUEUED if event.limit_key else RunStatus.RUNNING
    row.started_ms = row.time_ms
    row.flow, row.version, row.plan = event.flow, event.version, event.plan
    row.trigger, row.started_by, row.priority = (
        event.trigger,
        event.started_by,
        event.priority,
    )
    if event.parent is not None:
        row.parent, row.parent_step = event.parent.run, event.parent.step


def _forked(row: RunRow, event: ev.RunForked) -> None:
    row.status = RunStatus.QUEUED if event.limit_key else RunStatus.RUNNING
    row.started_ms = row.time_ms
    row.flow, row.version, row.plan = event.flow, event.version, event.plan
    row.trigger, row.started_by, row.priority = "fork", event.started_by, event.priority


def _admitted(row: RunRow, event: ev.RunAdmitted) -> None:
    row.status = RunStatus.RUNNING


def _waiting(row: RunRow, event: ev.RunWaiting) -> None:
    row.status = RunStatus.WAITING


def _resumed(row: RunRow, event: ev.RunResumed) -> None:
    if event.failure is not None:
        row.status, row.error_type = RunStatus.COMPENSATING, event.failure.type
        return
    if row.status is RunStatus.SUSPENDED:
        row.error_type, row.failed_step = "", None
    row.status = RunStatus.RUNNING


def _parked(row: RunRow, event: ev.RunParked) -> None:
    row.status, row.error_type = RunStatus.SUSPENDED, event.incident.type


def _suspended(row: RunRow, event: ev.RunSuspended) -> None:
    row.status, row.error_type = RunStatus.SUSPENDED, event.incident.type
    row.failed_step = event.step


def _repaired(row: RunRow, event: ev.StepRepaired) -> None:
    if event.failed:
        row.failed -= 1


def _succeeded(row: RunRow, event: ev.RunSucceeded) -> None:
    row.status, row.ended_ms = RunStatus.SUCCEEDED, row.time_ms


def _failed(row: RunRow, event: ev.RunFailed) -> None:
    row.status, row.ended_ms = RunStatus.FAILED, row.time_ms
    row.error_type, row.failed_step = event.error.type, event.step


def _cancelled(row: RunRow, event: ev.RunCancelled) -> None:
    row.status, row.ended_ms = RunStatus.CANCELLED, row.time_ms


def _compensating(row: RunRow, event: ev.RunCompensating) -> None:
    row.status = RunStatus.COMPENSATING
    row.error_type, row.failed_step = event.error.type, event.step


def _compensated(row: RunRow, event: ev.RunCompensated) -> None:
    row.status, row.ended_ms = RunStatus.COMPENSATED, row.time_ms


_TAKES: Mapping[type[ev.RunEvent], Callable[[RunRow, Any], None]] = {
    ev.RunStarted: _started,
    ev.RunForked: _forked,
    ev.RunAdmitted: _admitted,
    ev.RunWaiting: _waiting,
    ev.RunResumed: _resumed,
    ev.RunSuspended: _suspended,
    ev.StepRepaired: _repaired,
    ev.RunParked: _parked,
    ev.RunSucceeded: _succeeded,
    ev.RunFailed: _failed,
    ev.RunCancelled: _cancelled,
    ev.RunCompensating: _compensating,
    ev.RunCompensated: _compensated,
}
