"""Whatever comes in whichever order, over slow messages and new owners: never more runs of a key
than its limit, and none is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_core.ids import RunId, partition_of, run_limit_of, slot_of, slot_of_limit
from headrace_core.run.freeze import freeze_run, thaw_run
from headrace_core.run.status import RUN_TERMINAL, CancelCause, RunStatus
from headrace_core.workflow.plan import Plan
from headrace_scheduler.domain import commands as cmd
from tests.support.flow_run import compiled
from tests.support.partitions import PARTITIONS, Partitions
from tests.support.run_harness import TENANT

LIMIT = 2
SHOPS = ("a", "b")


def flow_of(on_conflict: str) -> Plan:
    rule = f"{{key: '${{{{ inputs.shop }}}}', limit: {LIMIT}, on_conflict: {on_conflict}}}"
    return compiled(
        f"flow: v1\nname: sync\ninputs: {{shop: {{type: string}}}}\nconcurrency: {rule}\n"
        "steps:\n  go: {wait: {event: {topic: go, key: all}}}\n"
    )


PLANS = {name: flow_of(name) for name in ("queue", "skip", "cancel_running")}
MOVES = st.one_of(
    st.tuples(st.just("start"), st.integers(0, 1_023)),
    st.tuples(st.just("end"), st.integers(0, 30)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("hold"), st.integers(0, PARTITIONS - 1)),
    st.tuples(st.just("release"), st.integers(0, PARTITIONS - 1)),
    st.tuples(st.just("take over"), st.integers(0, PARTITIONS - 1)),
)


class World(Partitions):
    def move(self, plan: Plan, runs: list[RunId], move: str, number: int) -> None:
        if move == "start":
            runs.append(self.start(plan, {"shop": SHOPS[number % 2]}, number))
        elif move == "hold":
            self.undelivered.add(number)
        elif move == "release":
            self.undelivered.discard(number)
            self.deliver()
        elif move == "take over":
            self.take_over(number)
        elif runs and move == "end":
            self.signal(runs[number % len(runs)], "go")
        elif runs:
            self.cancel(runs[number % len(runs)])

    def cancel(self, run: RunId) -> None:
        command = cmd.CancelRun(
            run=run, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="bob"
        )
        self.take(partition_of(slot_of(run), PARTITIONS), command)

    def take_over(self, number: int) -> None:
        """A new owner has nothing but the records and frozen runs."""
        owned = self.owned[number]
        owned.state = self.refolded(number)
        for run in owned.runs.awake():
            thawed = thaw_run(freeze_run(run))
            owned.runs.add(thawed)
            self.runs[run.run_id] = thawed
            self.take(number, cmd.ContinueRun(run=run.run_id))

    def open_runs(self, shop: str) -> list[RunId]:
        key = run_limit_of(TENANT, "sync", shop)
        return [
            run
            for run, state in self.runs.items()
            if state.limit_key == key
            and state.status not in RUN_TERMINAL
            and state.status is not RunStatus.QUEUED
        ]

    def holds_places(self) -> bool:
        keys = [run_limit_of(TENANT, "sync", shop) for shop in SHOPS]
        return any(
            key in self.owned[partition_of(slot_of_limit(key), PARTITIONS)].state.run_limits
            for key in keys
        )


@pytest.mark.parametrize("on_conflict", sorted(PLANS))
@given(moves=st.lists(MOVES, max_size=40))
def test_never_more_than_the_limit_and_none_is_forgotten(
    on_conflict: str, moves: list[tuple[str, int]]
) -> None:
    plan = PLANS[on_conflict]
    world, runs = World({plan.hash: plan}), list[RunId]()
    for move, number in moves:
        world.move(plan, runs, move, number)
        assert all(len(world.open_runs(shop)) <= LIMIT for shop in SHOPS)
    world.undelivered.clear()
    world.deliver()
    for _ in runs:
        for run in [*world.open_runs("a"), *world.open_runs("b")]:
            world.signal(run, "go")
    assert all(world.runs[run].status in RUN_TERMINAL for run in runs)
    assert not world.holds_places()
