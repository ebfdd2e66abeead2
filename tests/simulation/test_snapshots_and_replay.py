"""The fold to any event is the same from whatever snapshot it starts, for runs under faults."""

import random

from headrace_core.run.apply import apply, apply_turn, set_time
from headrace_core.run.freeze import freeze_run, state_hash, thaw_run
from headrace_core.run.replay import replay
from headrace_core.run.state import RunState
from tests.invariants.facts import RunFacts, gather
from tests.simulation.world.campaign import LOG_ID, Campaign
from tests.simulation.world.scenario import draw_scenario
from tests.simulation.world.virtual_loop import run_virtually


def test_every_end_of_a_turn_may_be_a_snapshot() -> None:
    snapshots = 0
    for seed in range(6):
        campaign = Campaign(draw_scenario(seed))
        run_virtually(campaign.run())
        runs = gather(campaign.raw, LOG_ID).runs.values()
        snapshots += sum(check_snapshots(run) for run in runs)
    assert snapshots > 100


def test_every_event_is_reached_from_whatever_snapshot_lies_before_it() -> None:
    """Also one inside a turn, where the state is that of no end of a turn."""
    inside = 0
    for seed in range(3):
        campaign = Campaign(draw_scenario(seed))
        run_virtually(campaign.run())
        for run in gather(campaign.raw, LOG_ID).runs.values():
            inside += check_events(run, random.Random(run.run))
    assert inside > 100


def check_events(run: RunFacts, chance: random.Random) -> int:
    """Folds to every event from a snapshot drawn for it; answers how many lie inside a turn."""
    live, frozen = RunState(run.run, run.tenant), [freeze_run(RunState(run.run, run.tenant))]
    for turn in run.turns:
        apply_turn(live, turn.events, turn.time_ms, turn.chain)
        frozen.append(freeze_run(live))
    inside = 0
    for place, turn in enumerate(run.turns):
        for event in range(turn.sequence, turn.last_sequence + 1):
            begin = chance.randint(0, place)
            state = thaw_run(frozen[begin])
            for before in run.turns[begin:place]:
                apply_turn(state, before.events, before.time_ms, before.chain)
            if event == turn.last_sequence:
                apply_turn(state, turn.events, turn.time_ms, turn.chain)
            else:
                set_time(state, turn.time_ms)
                for one in turn.events[: event - turn.sequence + 1]:
                    apply(state, one)
                inside += 1
            expected = replay(run.run, run.tenant, run.turns, event)
            assert state_hash(state) == state_hash(expected)
    return inside


def check_snapshots(run: RunFacts) -> int:
    """Folds on from the frozen state at each end of a turn; answers how many there were."""
    live = RunState(run.run, run.tenant)
    hashes: list[str] = []
    frozen: list[bytes] = []
    for turn in run.turns:
        apply_turn(live, turn.events, turn.time_ms, turn.chain)
        hashes.append(state_hash(live))
        frozen.append(freeze_run(live))
    for begin, snapshot in enumerate(frozen):
        state = thaw_run(snapshot)
        for turn, expected in zip(run.turns[begin + 1 :], hashes[begin + 1 :], strict=True):
            apply_turn(state, turn.events, turn.time_ms, turn.chain)
            assert state_hash(state) == expected
    for turn, expected in zip(run.turns, hashes, strict=True):
        last = turn.sequence + len(turn.events) - 1
        assert state_hash(replay(run.run, run.tenant, run.turns, last)) == expected
    return len(frozen)
