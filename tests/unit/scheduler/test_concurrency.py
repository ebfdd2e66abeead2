"""`concurrency`: runs of one key wait for each other, are skipped, or make way."""

from collections.abc import Sequence
from typing import TypeVar

import pytest

from headrace_core.ids import RunId, StepKey, partition_of, run_limit_of, slot_of, slot_of_limit
from headrace_core.partition.state import RunLimit
from headrace_core.run.apply import apply
from headrace_core.run.events import RunAdmitted, RunCancelRequested, StepAssigned
from headrace_core.run.freeze import freeze_run, thaw_run
from headrace_core.run.status import CancelCause, RunStatus
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide import concurrency
from headrace_scheduler.domain.decide.start_action import child_of
from headrace_scheduler.domain.decision import Reason
from headrace_scheduler.domain.recovery import effects_of_run
from tests.support.flow_run import compiled
from tests.support.partitions import PARTITIONS, Partitions
from tests.support.run_harness import EXECUTOR, TENANT

MINUTE_MS = 60_000
Kind = TypeVar("Kind", RunAdmitted, RunCancelRequested)


def flow_of(rest: str, steps: str = "go: {wait: {event: {topic: go, key: all}}}") -> Plan:
    return compiled(
        "flow: v1\nname: sync\ninputs: {shop: {type: string, default: a}}\n"
        f"concurrency: {{key: '${{{{ inputs.shop }}}}', {rest}}}\nsteps:\n  {steps}\n"
    )


class World(Partitions):
    """Partitions in which runs of one flow stay open until they are told to end."""

    def begin(self, plan: Plan, shop: str = "a", slot: int = 0) -> RunId:
        return self.start(plan, {"shop": shop}, slot)

    def end(self, run: RunId) -> None:
        assert self.signal(run, "go") is None
        assert self.runs[run].status is RunStatus.SUCCEEDED

    def cancel(self, run: RunId) -> None:
        command = cmd.CancelRun(
            run=run, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="bob"
        )
        assert self.take(partition_of(slot_of(run), PARTITIONS), command) is None

    def are(self, runs: Sequence[RunId]) -> list[str]:
        return [self.runs[run].status.text for run in runs]

    def limit(self, shop: str = "a") -> RunLimit | None:
        key = run_limit_of(TENANT, "sync", shop)
        return self.owned[partition_of(slot_of_limit(key), PARTITIONS)].state.run_limits.get(key)

    def reason(self, run: RunId) -> str:
        asked = self.event(run, RunCancelRequested)
        assert asked.cause is CancelCause.CONCURRENCY
        return str(self.opened(run, asked.reason))

    def event(self, run: RunId, kind: type[Kind]) -> Kind:
        return next(event for event in self.events[run] if isinstance(event, kind))


def world_of(*plans: Plan) -> World:
    return World({plan.hash: plan for plan in plans})


def test_runs_of_one_key_wait_for_their_turn_and_go_in_the_order_of_asking() -> None:
    plan = flow_of("limit: 2")
    world = world_of(plan)
    runs = [world.begin(plan, slot=slot) for slot in (0, 700, 300, 900)]
    other = world.begin(plan, shop="b")
    assert world.are(runs) == ["waiting", "waiting", "queued", "queued"]
    assert world.are([other]) == ["waiting"]
    world.end(runs[1])
    assert world.are(runs) == ["waiting", "succeeded", "waiting", "queued"]
    world.end(runs[0])
    world.end(runs[2])
    world.end(runs[3])
    assert world.limit() is None


def test_a_run_beyond_the_limit_is_skipped_and_says_why() -> None:
    plan = flow_of("limit: 1, on_conflict: skip")
    world = world_of(plan)
    first, second = world.begin(plan), world.begin(plan, slot=500)
    assert world.are([first, second]) == ["waiting", "cancelled"]
    assert "1 run is open with this key" in world.reason(second)
    world.end(first)
    assert world.are([world.begin(plan, slot=500)]) == ["waiting"]


def test_the_newest_run_takes_the_place_of_the_oldest_once_that_has_ended() -> None:
    plan = flow_of("limit: 1, on_conflict: cancel_running", "go: {uses: worker.go@1}")
    world = world_of(plan)
    first = world.begin(plan)
    assign(world, first)
    second = world.begin(plan, slot=500)
    assert world.runs[first].cancel is CancelCause.CONCURRENCY
    assert world.are([first, second]) == ["running", "queued"]
    third = world.begin(plan, slot=900)
    assert world.are([first, second, third]) == ["running", "cancelled", "queued"]
    assert str(third) in world.reason(second)
    confirm_cancelled(world, first)
    assert world.are([first, second, third]) == ["cancelled", "cancelled", "running"]


def assign(world: World, run: RunId) -> None:
    """As the loop does: an executor has the step, so that cancelling it takes its word."""
    assigned = StepAssigned(step=StepKey("go"), attempt=1, executor=EXECUTOR, token=1)
    apply(world.runs[run], assigned)


def confirm_cancelled(world: World, run: RunId) -> None:
    done = cmd.CompleteStep(
        run=run, step=StepKey("go"), attempt=1, token=1, outcome=cmd.Outcome.CANCELLED
    )
    assert world.take(partition_of(slot_of(run), PARTITIONS), done) is None


def test_a_queued_run_has_no_step_and_no_timeout_until_its_turn_comes() -> None:
    plan = compiled(
        "flow: v1\nname: sync\ntimeout: 10m\nconcurrency: {key: one, limit: 1}\n"
        "steps:\n  go: {wait: {event: {topic: go, key: all}}}\n"
    )
    world = world_of(plan)
    first, second = world.start(plan), world.start(plan, slot=500)
    queued = world.runs[second]
    assert not queued.steps and queued.timeout_at_ms is None
    assert list(effects_of_run(queued, plan)) == []
    world.now_ms += 5 * MINUTE_MS
    world.end(first)
    assert queued.timeout_at_ms == world.now_ms + 10 * MINUTE_MS
    assert world.event(second, RunAdmitted).timeout_at_ms == queued.timeout_at_ms
    world.pass_time(world.now_ms + 10 * MINUTE_MS)
    assert world.are([second]) == ["failed"]


def test_a_queued_run_that_is_cancelled_ends_at_once_and_leaves_the_queue() -> None:
    plan = flow_of("limit: 1")
    world = world_of(plan)
    first, second, third = (world.begin(plan, slot=slot) for slot in (0, 400, 800))
    world.cancel(second)
    assert world.are([first, second, third]) == ["waiting", "cancelled", "queued"]
    world.end(first)
    assert world.are([third]) == ["waiting"]


def test_a_place_that_is_granted_to_a_run_cancelled_meanwhile_goes_to_the_next() -> None:
    plan = flow_of("limit: 1")
    world = world_of(plan)
    away = (slot_of_limit(run_limit_of(TENANT, "sync", "a")) + 512) % 1_024
    first, second, third = (world.begin(plan, slot=slot) for slot in (0, away, 800))
    world.undelivered.add(partition_of(away, PARTITIONS))
    world.end(first)
    limit = world.limit()
    assert limit is not None and list(limit.holders) == [second]
    world.cancel(second)
    world.undelivered.clear()
    world.deliver()
    assert world.are([second, third]) == ["cancelled", "waiting"]


def test_a_queued_run_takes_no_signal_and_is_not_resumed() -> None:
    plan = flow_of("limit: 1")
    world = world_of(plan)
    world.begin(plan)
    queued = world.begin(plan)
    refused = world.signal(queued, "go")
    assert refused is not None and refused.reason is Reason.INVALID_STATE
    assert world.take(0, cmd.ContinueRun(run=queued)) is None
    assert world.are([queued]) == ["queued"]


def test_a_failed_run_frees_its_place_as_a_succeeded_one_does() -> None:
    plan = flow_of("limit: 1", "go: {fail: {message: no}}")
    world = world_of(plan)
    assert world.are([world.begin(plan), world.begin(plan)]) == ["failed", "failed"]
    assert world.limit() is None


def test_a_key_that_is_none_fails_the_run_and_asks_nobody() -> None:
    plan = compiled(
        "flow: v1\nname: sync\ninputs: {shop: {}}\n"
        "concurrency: {key: '${{ inputs.shop }}', limit: 1}\nsteps: {go: {set: {}}}\n"
    )
    world = world_of(plan)
    run = world.start(plan, {"shop": [1]})
    error = world.runs[run].error
    assert error is not None and error.type == "expr.error"
    assert "`concurrency.key` gave [1]" in world.opened(run, error.message)


def test_a_queue_that_is_full_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "QUEUED_MAX", 1)
    plan = flow_of("limit: 1")
    world = world_of(plan)
    runs = [world.begin(plan) for _ in range(3)]
    assert world.are(runs) == ["waiting", "queued", "cancelled"]
    assert "1 runs wait" in world.reason(runs[2])


def test_a_higher_limit_of_a_newer_version_lets_more_of_those_who_wait_begin() -> None:
    one, three = flow_of("limit: 1"), flow_of("limit: 3")
    world = world_of(one, three)
    runs = [world.begin(one), world.begin(one), world.begin(three), world.begin(three)]
    assert world.are(runs) == ["waiting", "waiting", "waiting", "queued"]


def test_a_called_flow_goes_by_its_limit_and_the_caller_waits_for_it() -> None:
    inner = flow_of("limit: 1")
    descriptor = FlowDescriptor(inner.flow, 1, inner.hash, inner.inputs)
    catalogue = Catalogue(flows={(inner.flow, "stable"): descriptor})
    outer = compiled("flow: v1\nname: outer\nsteps: {call: {uses: flow/sync@stable}}\n", catalogue)
    world = world_of(inner, outer)
    first = world.begin(inner, slot=900)
    caller = world.start(outer)
    child = child_of(caller, world.runs[caller].steps[StepKey("call")])
    assert world.are([caller, child]) == ["waiting", "queued"]
    world.end(first)
    world.end(child)
    assert world.are([caller]) == ["succeeded"]


def test_a_new_owner_folds_the_same_places_and_the_same_queue() -> None:
    plan = flow_of("limit: 1")
    world = world_of(plan)
    first, second = world.begin(plan), world.begin(plan, slot=500)
    for number, owned in world.owned.items():
        folded = world.refolded(number)
        assert folded.run_limits == owned.state.run_limits
        assert folded.outboxes == owned.state.outboxes
        owned.state = folded
    for run in (first, second):
        thawed = thaw_run(freeze_run(world.runs[run]))
        assert thawed == world.runs[run]
    world.end(first)
    assert world.are([second]) == ["waiting"]
