"""Rows, usage and approvals against the fold of the same events."""

from hypothesis import given
from hypothesis import strategies as st

from headrace_contracts.codec import encode_body
from headrace_core.ids import StepKey
from headrace_core.payload import Stored
from headrace_core.run import events as ev
from headrace_core.run.apply import apply_turn
from headrace_core.run.state import RunState
from headrace_core.run.status import RUN_TERMINAL, Repair, RunStatus, StepStatus
from headrace_history.adapters.record_reader import ProtobufRecords
from headrace_history.domain.projections import approvals, runs, usage
from headrace_history.domain.projections.approvals import ApprovalRow
from headrace_history.domain.projections.usage import UsageDelta, UsageKey
from headrace_history.domain.turns import digest_events
from tests.unit.history.recorded_runs import (
    DAY,
    TENANT,
    Turn,
    assigned,
    journal_turns,
    ready,
    run_of,
    sequential_run,
    started,
    succeeded,
    wandering_run,
)

RUN = run_of(1)


def fold_both(turns: list[Turn]) -> tuple[runs.RunRow, RunState]:
    row, state = runs.RunRow(RUN, TENANT), RunState(RUN, TENANT)
    for events, turn in zip(turns, journal_turns(RUN, turns), strict=True):
        runs.project(row, turn, digest_events(events))
        apply_turn(state, events, turn.time_ms, turn.chain)
        assert_row_equals_fold(row, state)
    return row, state


def assert_row_equals_fold(row: runs.RunRow, state: RunState) -> None:
    assert row.status is state.status
    assert row.ended == (state.status in RUN_TERMINAL)
    assert (row.sequence, row.chain, row.time_ms) == (state.sequence, state.chain, state.time_ms)
    assert (row.flow, row.version, row.plan) == (state.flow, state.version, state.plan)
    assert (row.trigger, row.started_by) == (state.trigger, state.started_by)
    assert (row.started_ms, row.ended_ms or 0) == (state.started_ms, state.ended_ms)
    assert row.failed_step == state.failed_step
    assert row.error_type == (state.error.type if state.error else "")
    for status, count in (
        (StepStatus.SUCCEEDED, row.succeeded),
        (StepStatus.FAILED, row.failed),
        (StepStatus.SKIPPED, row.skipped),
        (StepStatus.CANCELLED, row.cancelled),
    ):
        assert count == sum(step.status is status for step in state.steps.values())
    assert row.attempts == sum(step.attempt for step in state.steps.values())


@given(st.integers(0, 1 << 32))
def test_a_row_equals_the_fold_after_every_turn(seed: int) -> None:
    row, _ = fold_both(wandering_run(seed))
    assert row.ended


@given(st.integers(0, 1 << 32))
def test_a_digest_read_from_bytes_equals_that_of_the_decoded_events(seed: int) -> None:
    reader = ProtobufRecords()
    for events in wandering_run(seed):
        body = encode_body(events)
        assert reader.digest(body) == digest_events(events)
        assert reader.events(body) == events


def test_a_parked_run_is_suspended_with_its_incident() -> None:
    turns: list[Turn] = [
        (started(), ready("a"), assigned("a")),
        (ev.RunParked(incident=ev.StepError(type="engine.bug")),),
    ]
    row, _ = fold_both(turns)
    assert row.status is RunStatus.SUSPENDED
    assert row.error_type == "engine.bug"
    assert not row.ended


def test_a_suspended_run_names_its_failed_step_until_it_is_resumed() -> None:
    error = ev.StepError(type="http.500")
    failed = ev.StepFailed(step=StepKey("a"), error=error, attempt=1)
    turns: list[Turn] = [
        (started(), ready("a"), assigned("a")),
        (failed, ev.RunSuspended(incident=error, step=StepKey("a"))),
    ]
    row, _ = fold_both(turns)
    assert (row.status, row.error_type, row.failed_step) == (
        RunStatus.SUSPENDED,
        "http.500",
        StepKey("a"),
    )
    repaired = ev.StepRepaired(
        step=StepKey("a"), repair=Repair.RETRY, repaired_by="ann", failed=True
    )
    row, _ = fold_both([*turns, (repaired, ev.RunResumed(resumed_by="ann"), ready("a"))])
    assert (row.status, row.error_type, row.failed_step) == (RunStatus.RUNNING, "", None)


def test_a_run_that_is_parked_while_it_is_undone_goes_on_with_that() -> None:
    error = ev.StepError(type="http.500")
    failed = ev.StepFailed(step=StepKey("a"), error=error, attempt=1)
    turns: list[Turn] = [
        (started(), ready("a"), assigned("a")),
        (failed, ev.RunCompensating(error=error, step=StepKey("a"))),
        (ev.RunParked(incident=ev.StepError(type="engine.fault")),),
        (ev.RunResumed(resumed_by="ann", failure=error),),
    ]
    row, _ = fold_both(turns)
    assert (row.status, row.error_type, row.failed_step) == (
        RunStatus.COMPENSATING,
        "http.500",
        StepKey("a"),
    )


def test_a_childs_row_names_its_parent() -> None:
    parent = ev.Parent(run=run_of(2), step=StepKey("each[3]"), attempt=1)
    start = ev.RunStarted(
        flow="child",
        version=1,
        plan=started().plan,
        input=Stored(b""),
        trigger="",
        started_by="",
        parent=parent,
    )
    row, _ = fold_both([(start,)])
    assert (row.parent, row.parent_step) == (run_of(2), "each[3]")


def test_columns_are_the_values_of_that_moment() -> None:
    row, _ = fold_both(sequential_run(2))
    columns = dict(zip(runs.COLUMNS, row.columns(), strict=True))
    row.sequence = 999
    assert columns["sequence"] == 8
    assert columns["status"] is RunStatus.SUCCEEDED
    assert "tenant" not in columns


def test_usage_counts_runs_attempts_and_tokens_by_model() -> None:
    metered = ev.Usage(model="small", input_tokens=100, output_tokens=20, cost_micros=7)
    turns: list[Turn] = [
        (started(), ready("a"), assigned("a")),
        (
            ev.StepRetryScheduled(
                step=StepKey("a"),
                attempt=1,
                error=ev.StepError(type="http.503"),
                due_ms=1,
                usage=metered,
            ),
        ),
        (ready("a"), assigned("a", 2)),
        (ev.StepSucceeded(step=StepKey("a"), attempt=2, usage=metered),),
        (ev.RunSucceeded(output=Stored(b"")),),
    ]
    deltas: dict[UsageKey, UsageDelta] = {}
    pairs = zip(journal_turns(RUN, turns), map(digest_events, turns), strict=True)
    usage.project(deltas, "orders", pairs)
    assert deltas == {
        UsageKey(DAY, "orders", ""): UsageDelta(runs=1, attempts=2),
        UsageKey(DAY, "orders", "small"): UsageDelta(
            calls=2, input_tokens=200, output_tokens=40, cost_micros=14
        ),
    }


def test_usage_of_a_run_over_midnight_is_split_by_day() -> None:
    turns = sequential_run(2)
    stored = journal_turns(RUN, turns)
    stored[1].time_ms += 86_400_000
    deltas: dict[UsageKey, UsageDelta] = {}
    usage.project(deltas, "orders", zip(stored, map(digest_events, turns), strict=True))
    assert deltas[UsageKey(DAY, "orders", "")].attempts == 1
    assert deltas[UsageKey(DAY + 1, "orders", "")].attempts == 1


def test_an_escalated_approval_stays_open_and_shows_who_is_asked_now() -> None:
    escalated = ev.ApprovalEscalated(step=StepKey("a"), number=1, request=Stored(b"more"))
    open_ones: dict[StepKey, ApprovalRow] = {}
    approvals.project(open_ones, [ask("a")], 100)
    [row] = approvals.project(open_ones, [escalated], 200)
    assert (row.request, row.requested_ms, row.decision) == (b"more", 100, "")
    assert list(open_ones) == ["a"]


def ask(step: str) -> ev.ApprovalRequested:
    return ev.ApprovalRequested(step=StepKey(step), request=Stored(b"who"), expires_at_ms=900)


def test_an_approval_closes_with_the_first_decision() -> None:
    waiting: dict[StepKey, ApprovalRow] = {}
    assert [row.decision for row in approvals.project(waiting, [ask("a")], 100)] == [""]
    decided = ev.ApprovalDecided(step=StepKey("a"), decision="approved", answer=Stored(b"yes"))
    [row] = approvals.project(waiting, [decided, succeeded("a", attempt=0)], 200)
    assert (row.decision, row.answer, row.closed_ms) == ("approved", b"yes", 200)
    assert (row.requested_ms, row.request, row.expires_at_ms) == (100, b"who", 900)
    assert not waiting


def test_an_approval_whose_step_ends_without_a_decision_says_how() -> None:
    endings = {
        "expired": ev.StepSucceeded(step=StepKey("a"), port="expired"),
        "failed": ev.StepFailed(step=StepKey("a"), error=ev.StepError(type="timeout.deadline")),
        "cancelled": ev.StepCancelled(step=StepKey("a")),
    }
    for decision, ending in endings.items():
        waiting: dict[StepKey, ApprovalRow] = {}
        approvals.project(waiting, [ask("a")], 100)
        [row] = approvals.project(waiting, [ending], 300)
        assert (row.decision, row.closed_ms, row.answer) == (decision, 300, b"")
