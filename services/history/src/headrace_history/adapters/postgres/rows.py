"""Rows of a tenant's schema as the domain's values."""

import asyncpg

from headrace_core.ids import LetterId, PlanHash, RunId, StepKey, TenantId
from headrace_core.payload import Stored
from headrace_core.run.events import StepError
from headrace_core.run.status import RunStatus
from headrace_history.domain.projections.approvals import ApprovalRow
from headrace_history.domain.projections.letters import Decided, LetterRow
from headrace_history.domain.projections.runs import RunRow


def run_row(tenant: TenantId, row: asyncpg.Record) -> RunRow:
    return RunRow(
        run=RunId(row["run"]),
        tenant=tenant,
        status=RunStatus(row["status"]),
        sequence=row["sequence"],
        offset=row["off"],
        chain=row["chain"],
        time_ms=row["time_ms"],
        flow=row["flow"],
        version=row["version"],
        plan=PlanHash(row["plan"]),
        trigger=row["trigger"],
        started_by=row["started_by"],
        priority=row["priority"],
        parent=RunId(row["parent"]) if row["parent"] is not None else None,
        parent_step=StepKey(row["parent_step"]) if row["parent_step"] is not None else None,
        started_ms=row["started_ms"],
        ended_ms=row["ended_ms"],
        error_type=row["error_type"],
        failed_step=StepKey(row["failed_step"]) if row["failed_step"] is not None else None,
        attempts=row["attempts"],
        succeeded=row["succeeded"],
        failed=row["failed"],
        skipped=row["skipped"],
        cancelled=row["cancelled"],
    )


def approval_row(row: asyncpg.Record) -> ApprovalRow:
    return ApprovalRow(
        step=StepKey(row["step"]),
        requested_ms=row["requested_ms"],
        request=Stored(row["request"]),
        expires_at_ms=row["expires_at_ms"],
        decision=row["decision"],
        closed_ms=row["closed_ms"],
        answer=Stored(row["answer"]),
    )


def letter_row(tenant: TenantId, row: asyncpg.Record) -> LetterRow:
    letter = LetterId(row["letter"])
    decided = None
    if row["decided_ms"] is not None:
        decided = Decided(
            tenant=tenant,
            letter=letter,
            status=row["status"],
            decided_ms=row["decided_ms"],
            decided_by=row["decided_by"],
            as_run=RunId(row["as_run"]) if row["as_run"] is not None else None,
            reason=Stored(row["reason"]),
        )
    return LetterRow(
        letter=letter,
        run=RunId(row["run"]),
        step=StepKey(row["step"]),
        attempt=row["attempt"],
        flow=row["flow"],
        version=row["version"],
        plan=PlanHash(row["plan"]),
        operation=row["operation"],
        error=StepError(type=row["error_type"], message=Stored(row["error_message"])),
        added_ms=row["added_ms"],
        decided=decided,
    )
