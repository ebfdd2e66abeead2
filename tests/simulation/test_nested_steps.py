"""Groups, passes and nested items through the whole loop in virtual time: dispatch, takeovers."""

import asyncio
from collections.abc import Sequence

import pytest

from headrace_core.ids import RunId
from headrace_core.run.events import RunEvent, RunSucceeded, StepAssigned, StepSucceeded
from tests.simulation.world.small_world import SmallWorld
from tests.simulation.world.virtual_loop import run_virtually
from tests.support.flow_run import compiled

NESTED = compiled(
    """
flow: v1
name: nested
inputs: {rows: {type: array}}
steps:
  each:
    foreach: {in: inputs.rows, as: row, max_parallel: 2}
    group:
      read: {foreach: {in: row, as: cell}, uses: data.echo@1, with: {value: "${{ cell }}"}}
      ask:
        needs: [read]
        uses: data.echo@1
        with: {value: "${{ row }}"}
        repeat: {until: "false", max: 2, delay: 1s}
        on_error: {output: 1}
      after: {needs: [ask], set: {n: "${{ steps.read.counts.succeeded }}"}}
    outputs: {n: "${{ steps.after.output.n }}"}
outputs: {n: "${{ steps.each.items.map(one, one.output.n) }}"}
"""
)
ROWS = [[1, 2, 3], [], [4]]
CALLS = {
    *("each[0]/read[0]", "each[0]/read[1]", "each[0]/read[2]", "each[2]/read[0]"),
    *(f"each[{row}]/ask#{number}" for row in range(3) for number in (1, 2)),
}


async def _ended(world: SmallWorld, run: RunId) -> list[RunEvent]:
    while not await world.ended(run):
        await _a_moment()
    return await world.events_of(run)


async def _a_moment() -> None:
    await asyncio.sleep(0.005)


def _calls(events: Sequence[RunEvent]) -> list[str]:
    """Calls that have succeeded; what a step recovered from is none of its own."""
    succeeded = (event.step for event in events if isinstance(event, StepSucceeded))
    return [step for step in succeeded if step in CALLS]


def test_every_call_at_any_depth_is_made_and_ends_once() -> None:
    async def scenario() -> None:
        world = SmallWorld(NESTED)
        await world.start()
        events = await _ended(world, await world.begin("nested", {"rows": ROWS}))
        assert isinstance(events[-1], RunSucceeded)
        assert sorted(_calls(events)) == sorted(CALLS)
        await world.stop()

    run_virtually(scenario())


@pytest.mark.parametrize("after", [1, 3, 5, 7, 9])
def test_a_new_owner_goes_on_where_the_last_one_was_at_any_depth(after: int) -> None:
    async def scenario() -> None:
        world = SmallWorld(NESTED)
        await world.start()
        run = await world.begin("nested", {"rows": ROWS})
        while len(_calls(await world.events_of(run))) < after:
            await _a_moment()
        assert world.host is not None
        await world.host.crash()
        world.host.start()
        events = await _ended(world, run)
        assert isinstance(events[-1], RunSucceeded)
        assert sorted(_calls(events)) == sorted(CALLS)
        assigned = {event.step for event in events if isinstance(event, StepAssigned)}
        assert assigned == CALLS
        await world.stop()

    run_virtually(scenario())
